#!/usr/bin/env bash
# Tests the packages that config/packages/build.sh makes: `tests/packages/run.sh [DIR]`, target/packages unless told otherwise.
# As root. What needs mounts gets a mount namespace of its own, so the machine stays as it is.
set -euo pipefail
given=${1:+$(realpath "$1")}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="$PATH:/usr/sbin:/sbin" PYTHONDONTWRITEBYTECODE=1

packages=${given:-$(realpath target/packages)}
[ "$(id -u)" = 0 ] || { echo "tests/packages/run.sh: run it as root: it installs a package, in a root of its own" >&2; exit 2; }
ls "$packages"/butler* >/dev/null || { echo "tests/packages/run.sh: no packages in $packages; run config/packages/build.sh" >&2; exit 2; }
tests/install.sh packages windows wine
tests/python.sh
python=$PWD/target/venv/bin/python
export MACHINE_MOUNTS; MACHINE_MOUNTS=$(readlink /proc/self/ns/mnt)
scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT

failed=0
part() { # NAME COMMAND…
  local name=$1; shift
  printf '\n--- %s\n' "$name"
  "$@" || { failed=1; echo "FAILED: $name"; }
}
alone() { mkdir "$scratch/$1"; unshare --mount --propagation private "$python" "tests/packages/$1.py" "$packages" "$scratch/$1"; }

part 'what is in the packages' "$python" tests/packages/content.py "$packages" "$scratch"
part 'the packages once more, of the same files' tests/packages/again.sh "$packages"
part 'the .deb: installed, run, upgraded, removed, purged' alone installed
part 'the tar.gz: another user, a read-only root' alone archive
part 'the Dockerfile, without an engine' alone container
part 'the zip, under Wine' tests/packages/wine.sh "$packages"
exit $failed
