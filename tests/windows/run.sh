#!/usr/bin/env bash
# The executable for Windows with its plugins under Wine, end to end: installs, builds, runs. Arguments go to the test runner.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CARGO_TERM_COLOR=never PATH="$PATH:/usr/sbin:/sbin"

tests/install.sh tests windows wine
tests/python.sh
export PATH="$PWD/target/venv/bin:$PATH"

began=$SECONDS
# Dependencies without optimisation: that is half of the time, and the tests wait for nothing that takes long.
tests/windows/cargo.sh build --config 'profile.dev.package."*".opt-level=0' --config 'profile.dev.debug=0' \
  --workspace --exclude e2e --exclude bench --exclude demo --exclude qlik-simulator
# The simulator and the tests themselves run here.
cargo build --workspace --features e2e/wine --test windows
printf '=== built in %s s\n' $((SECONDS - began))

made=$(mktemp -d)
export WINEPREFIX="$made/prefix" WINEDEBUG=-all BUTLER_WINDOWS_BUILD="$made/build"
finish() { /usr/lib/wine/wineserver64 -k || true; /usr/lib/wine/wineserver64 -w || true; rm -rf "$made"; }
trap finish EXIT

mkdir "$WINEPREFIX" "$BUTLER_WINDOWS_BUILD"
made_for_windows=${BUTLER_WINDOWS_TARGET:-target/windows}/x86_64-pc-windows-gnu/debug
for file in "$made_for_windows"/butler.exe "$made_for_windows"/butler_plugin_*.dll "$made_for_windows"/test_plugin_*.dll; do
  ln "$file" "$BUTLER_WINDOWS_BUILD" 2>/dev/null || cp "$file" "$BUTLER_WINDOWS_BUILD"
done
cc=x86_64-w64-mingw32-gcc
$cc -shared -o "$BUTLER_WINDOWS_BUILD/bcryptprimitives.dll" tests/windows/programs/bcryptprimitives.c -ladvapi32
for program in sc service; do
  $cc -Wall -o "$BUTLER_WINDOWS_BUILD/$program.exe" "tests/windows/programs/$program.c"
done

# One server for all tests: it would end with the last program, and start again with the next. The first program, whichever, makes
# the prefix. `wineboot` would make it twice over: two service control managers, and each knows half of the services.
/usr/lib/wine/wineserver64 -p
began=$SECONDS
/usr/lib/wine/wine64 cmd.exe /c exit
printf '=== prefix made in %s s\n' $((SECONDS - began))

began=$SECONDS
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --config-file tests/windows/nextest.toml --workspace --features e2e/wine --test windows --no-fail-fast --status-level pass "$@"
else
  # One at a time: it does not know which are services. Arguments are names of tests.
  cargo test --workspace --features e2e/wine --test windows -- --test-threads 1 "$@"
fi
printf '=== tested in %s s\n' $((SECONDS - began))
