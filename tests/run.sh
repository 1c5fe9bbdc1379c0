#!/usr/bin/env bash
# The test command: installs what the tests need and runs all of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Some systems keep programs for administrators out of the path.
export PATH="$PATH:/usr/sbin:/sbin"
tests/install.sh tests
tests/python.sh
export PATH="$PWD/target/venv/bin:$PATH"

# Plugins are dynamic libraries: cargo does not know that the tests load them.
cargo build --workspace
tests/third-party/build.sh
if cargo nextest --version >/dev/null 2>&1; then
  # One more than there are cores: tests wait a good part of their time.
  export NEXTEST_TEST_THREADS=${NEXTEST_TEST_THREADS:-$(($(nproc) + 1))}
  cargo nextest run --workspace --no-fail-fast "$@"
  cargo test --workspace --doc
else
  cargo test --workspace "$@"
fi
