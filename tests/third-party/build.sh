#!/usr/bin/env bash
# Builds the plugins of strangers as their authors would: each in its own folder, by its own lock file, outside of
# Butler's workspace. With the compiler of the workspace and with Debian's: both builds must work in one host.
set -euo pipefail
target=$(realpath -m "${CARGO_TARGET_DIR:-$(dirname "${BASH_SOURCE[0]}")/../../target}")/third-party
cd "$(dirname "${BASH_SOURCE[0]}")"
# What a cargo around this one hands down would choose the compiler.
unset CARGO RUSTC RUSTDOC RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER

for program in /usr/bin/rustc /usr/bin/cargo; do
  [ -x $program ] || { echo "$program is missing: apt-get install rustc-web cargo-web" >&2; exit 1; }
done

# One target folder for each compiler: the plugins share the build of their dependencies.
build() {
  local compiler=$1 plugin=$2; shift 2
  (cd "butler-plugin-$plugin" && CARGO_TARGET_DIR="$target/$compiler" "$@" build --release --locked --quiet) \
    || { echo "butler-plugin-$plugin cannot be built by the compiler of $compiler; if only its lock file is stale: tests/third-party/freeze.sh --locks" >&2; exit 1; }
}
for plugin in ticker wire; do
  build workspace $plugin cargo
done
# No rustup in between: it would call the compiler of the workspace again.
for plugin in ticker wire heirloom; do
  build debian $plugin env RUSTC=/usr/bin/rustc /usr/bin/cargo
done
