#!/usr/bin/env bash
# cargo for Windows on a Linux machine: `tests/windows/cargo.sh build --workspace`. A second toolchain, by its path, whose
# standard library comes as source: rustup's has none that C compilers of Debian can link with. The packages of part
# `windows` in tests/packages.txt; the results stand in `$BUTLER_WINDOWS_TARGET/x86_64-pc-windows-gnu`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

for program in /usr/bin/cargo /usr/bin/rustc x86_64-w64-mingw32-gcc x86_64-w64-mingw32-g++; do
  command -v "$program" >/dev/null || { echo "tests/windows/cargo.sh: no $program here; run tests/install.sh windows" >&2; exit 1; }
done
command=${1:?a command of cargo, with its arguments}; shift
# Rustup's cargo, if it started this, has said so in the environment; the flags are for this build alone.
unset RUSTUP_TOOLCHAIN RUSTC_WRAPPER CARGO
export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="${BUTLER_WINDOWS_TARGET:-$PWD/target/windows}"
exec /usr/bin/cargo "$command" -Zbuild-std=std,panic_unwind --target x86_64-pc-windows-gnu "$@"
