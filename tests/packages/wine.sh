#!/usr/bin/env bash
# The zip under Wine: `wine.sh DIR`. The executable says its version, finds its plugins, checks the config that comes with it and
# says what is wrong with another. More of it runs by tests/windows/run.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tests/install.sh wine windows

packages=$(realpath "$1") folder=$(mktemp -d)
export WINEPREFIX="$folder/prefix" WINEDEBUG=-all
finish() { /usr/lib/wine/wineserver64 -k || true; /usr/lib/wine/wineserver64 -w || true; rm -rf "$folder"; }
trap finish EXIT
fail() { printf 'FAILED  %s\n' "$*"; exit 1; }

unzip -q "$packages"/butler-*-windows-x64.zip -d "$folder"
butler=$(echo "$folder"/butler-*-windows-x64)
# Wine lacks it; in no package.
x86_64-w64-mingw32-gcc -shared -o "$butler/bcryptprimitives.dll" tests/windows/programs/bcryptprimitives.c -ladvapi32
cd "$butler"
# One server for all calls; the prefix is made here, where nobody waits for what is said of it.
mkdir "$WINEPREFIX"
/usr/lib/wine/wineserver64 -p
# Into a file: Wine's own services keep it open, and a pipe would not end.
timeout 600 /usr/lib/wine/wine64 wineboot --init >"$folder/wineboot.log" 2>&1 || fail "no prefix of Wine: $(cat "$folder/wineboot.log")"
wine() { timeout 120 /usr/lib/wine/wine64 butler.exe "$@" </dev/null 2>&1 | tr -d '\r'; }

version=$(sed -n 's/.*butler-\(.*\)-windows-x64$/\1/p' <<<"$butler")
said=$(wine --version) || fail "--version: $said"
[ "$said" = "butler $version" ] || fail "it says '$said' instead of 'butler $version'"
echo "ok      $said"

listed=$(wine plugins list) || fail "plugins list: $listed"
for file in plugins/butler_plugin_*.dll; do
  name=$(basename "$file" .dll); name=${name#butler_plugin_}
  grep -qw -- "${name//_/-}" <<<"$listed" || fail "plugin $name is not listed: $listed"
done
echo "ok      $(ls plugins/*.dll | wc -l) plugins are found"

said=$(wine check -c config/minimal.yaml) || fail "the config that comes with it: $said"
grep -q '^ok  *instance console' <<<"$said" || fail "instance console is not checked: $said"
echo "ok      minimal.yaml is checked"

printf 'version: 1\r\nplugins:\r\n  - use: consle\r\n' >wrong.yaml
if said=$(wine check -c wrong.yaml); then fail "a config with a fault is taken: $said"; fi
grep -q 'console' <<<"$said" || fail "the name that was meant is not said: $said"
echo "ok      a config with a fault is refused"
