#!/usr/bin/env bash
# Installs Debian packages by parts of tests/packages.txt, those that are missing: `tests/install.sh tests windows`. As root
# or with sudo. Fails, and says why, when one cannot be installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "tests/install.sh: $*" >&2; exit 1; }
[ $# -gt 0 ] || fail "which parts of tests/packages.txt? $(sed -n 's/^# \[\([a-z]*\)\].*/\1/p' tests/packages.txt | paste -sd' ')"

packages=()
for part in "$@"; do
  grep -q "^# \[$part\]" tests/packages.txt || fail "no part '$part' in tests/packages.txt"
  while read -r package; do packages+=("$package"); done < <(
    awk -v head="# [$part]" '/^# \[/ { on = index($0, head) == 1; next } on && NF && !/^#/ { print $1 }' tests/packages.txt)
done
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)

if ! command -v dpkg-query >/dev/null; then
  echo "tests/install.sh: not a Debian system; these, or what they contain, must be here already: ${packages[*]}" >&2
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

root=(); [ "$(id -u)" = 0 ] || root=(sudo)
echo "tests/install.sh: installing ${missing[*]}"
"${root[@]}" apt-get update -qq || fail "apt-get cannot read the lists of packages"
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
  fail "not installed: ${missing[*]}"
