#!/usr/bin/env bash
# Builds Butler for release and makes its packages: `config/packages/build.sh [linux|windows|all|linux-arm64] [--out DIR]`. `all`, which
# is what it does unless told otherwise, are linux and windows; DIR is target/packages unless told otherwise. What comes out: a zip
# for Windows, a tar.gz and a .deb for Linux, SHA256SUMS. Two runs for one commit with the same compilers make the same bytes; tests
# compare those for Linux. It needs part `packages` of tests/packages.txt, for Windows also part `windows`, for arm64 `rustup target
# add aarch64-unknown-linux-gnu` and Debian's gcc-aarch64-linux-gnu with libc6-dev-arm64-cross. `linux` and `all` are for x86_64.
set -euo pipefail
from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. config/packages/flags.sh

what=all out=$PWD/target/packages
while [ $# -gt 0 ]; do
  case $1 in
    linux | windows | all | linux-arm64) what=$1 ;;
    --out) out=$(cd "$from" && realpath -m "${2:?a folder}"); shift ;;
    *) echo "config/packages/build.sh: not '$1': [linux|windows|all|linux-arm64] [--out DIR]" >&2; exit 2 ;;
  esac
  shift
done
target=${CARGO_TARGET_DIR:-$PWD/target}
fail() { echo "config/packages/build.sh: $*" >&2; exit 1; }
# Before anything is built: that takes long.
needs=(cargo rustc cc git python3 dpkg-deb readelf)
case $what in windows | all) needs+=(zip /usr/bin/cargo /usr/bin/rustc x86_64-w64-mingw32-gcc x86_64-w64-mingw32-g++) ;; esac
for program in "${needs[@]}"; do
  command -v "$program" >/dev/null || fail "no $program here; \`tests/install.sh packages windows\` installs what comes from Debian, and rustup is at rustup.rs"
done
mkdir -p "$out"
# Of other versions and platforms.
if [ "$what" = all ]; then rm -f "$out"/butler{-*-{linux-*.tar.gz,windows-x64.zip},_*.deb} "$out/SHA256SUMS"; fi
bill=$(mktemp -d); trap 'rm -rf "$bill"' EXIT

linux() (
  [ "$(rustc -vV | sed -n 's/^host: //p')" = x86_64-unknown-linux-gnu ] || fail "linux is built on x86_64 only"
  reproducible_flags "$target"
  cargo build --release --workspace --locked
  python3 config/packages/bill.py x86_64-unknown-linux-gnu "$bill/linux"
  config/packages/make.sh linux "$target/release" "$bill/linux" "$out"
)

arm64() (
  reproducible_flags "$target"
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  cargo build --release --workspace --locked --target aarch64-unknown-linux-gnu
  python3 config/packages/bill.py aarch64-unknown-linux-gnu "$bill/arm64"
  config/packages/make.sh linux-arm64 "$target/aarch64-unknown-linux-gnu/release" "$bill/arm64" "$out"
)

# Its own target folder: the other toolchain.
windows() (
  export BUTLER_WINDOWS_TARGET=${BUTLER_WINDOWS_TARGET:-$target/windows}
  RUSTC=/usr/bin/rustc reproducible_flags "$BUTLER_WINDOWS_TARGET"
  # What is shipped: the rest is tests and what they need.
  tests/windows/cargo.sh build --release --workspace --locked --exclude e2e --exclude bench --exclude demo --exclude qlik-simulator --exclude 'test-plugin-*'
  RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo python3 config/packages/bill.py x86_64-pc-windows-gnu "$bill/windows"
  config/packages/make.sh windows "$BUTLER_WINDOWS_TARGET/x86_64-pc-windows-gnu/release" "$bill/windows" "$out"
)

case $what in linux | all) linux ;; esac
case $what in windows | all) windows ;; esac
case $what in linux-arm64) arm64 ;; esac
cd "$out"
shopt -s nullglob
sha256sum butler{-*-{linux-*.tar.gz,windows-x64.zip},_*.deb} >SHA256SUMS
ls -l
