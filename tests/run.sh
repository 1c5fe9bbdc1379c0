#!/usr/bin/env bash
# The test command: installs what the tests need and runs all of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Some systems keep programs for administrators out of the path.
export PATH="$PATH:/usr/sbin:/sbin"
present() {
  for program in cc faketime influxd mkfs.ext4 mosquitto mosquitto_sub mount net node prometheus-alertmanager promtool python3 smbd smbpasswd sqlite3; do command -v "$program" >/dev/null || return 1; done
  # The second compiler, by its path: rustup's proxies may stand before it.
  for program in rustc cargo; do [ -x "/usr/bin/$program" ] || return 1; done
  [ -f /usr/share/javascript/handlebars/handlebars.js ] || return 1
  python3 -c 'import ensurepip' 2>/dev/null
}
if ! present; then
  mapfile -t packages < <(grep -v '^#' tests/packages.txt)
  root=(); [ "$(id -u)" = 0 ] || root=(sudo)
  "${root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
if ! { target/venv/bin/check-jsonschema --version && target/venv/bin/python -c 'import aiosmtpd, openapi_spec_validator, schemathesis'; } >/dev/null 2>&1; then
  python3 -m venv target/venv
  target/venv/bin/pip install --quiet --requirement tests/requirements.txt
fi
export PATH="$PWD/target/venv/bin:$PATH"

# Plugins are dynamic libraries: cargo does not know that the tests load them.
cargo build --workspace
tests/third-party/build.sh
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --no-fail-fast "$@"
  cargo test --workspace --doc
else
  cargo test --workspace "$@"
fi
