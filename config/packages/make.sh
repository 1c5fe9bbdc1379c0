#!/usr/bin/env bash
# Makes packages of files that are built: `make.sh linux|linux-arm64|windows BUILT BILL OUT`. BUILT: the folder of cargo with the
# executable and the plugins; BILL: what bill.py wrote. linux: butler-VERSION-linux-x64.tar.gz and butler_VERSION_amd64.deb (or arm64);
# windows: butler-VERSION-windows-x64.zip. Those of other versions in OUT go. Names are sorted, owners, modes and times fixed: the same files make the same bytes.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022

platform=${1:?linux, linux-arm64 or windows} built=$(realpath "$2") bill=$(realpath "$3") out=$(realpath "${4:?OUT}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

fail() { echo "config/packages/make.sh: $*" >&2; exit 1; }
put() { install -D -m 644 "$1" "$2"; }

# The plugins of the workspace, whether built or not: what is missing is missed. Those of tests are elsewhere.
plugins() { for folder in plugins/*/; do basename "$folder" | tr - _; done; }

# Config, schemas and documents, so that links between them hold.
papers() {
  local to=$1 file
  for file in CHANGELOG.md LICENSE-APACHE LICENSE-MIT; do put "$file" "$to/$file"; done
  put config/packages/PACKAGE.md "$to/README.md"
  for file in config/README.md config/butler.yaml config/minimal.yaml config/systemd/butler.service schemas/*.json \
    plugin-api/README.md plugins/*/README.md; do put "$file" "$to/$file"; done
  while read -r file; do put "$file" "$to/$file"; done < <(find config/templates config/log4net config/sense -type f | sort)
  for file in butler.cdx.json THIRD-PARTY.txt; do put "$bill/$file" "$to/licenses/$file"; done
}

# Files of whoever unpacks get the modes of here: folders 755, files 644, executables 755.
programs() {
  local to=$1 begin=$2 end=$3 exe=$4 name
  install -D -m 755 "$built/$exe" "$to/$exe"
  mkdir -p "$to/plugins"
  for name in $(plugins); do
    [ -f "$built/${begin}butler_plugin_$name$end" ] || fail "$built has no ${begin}butler_plugin_$name$end: build the workspace"
    put "$built/${begin}butler_plugin_$name$end" "$to/plugins/${begin}butler_plugin_$name$end"
  done
}

same_times() { find "$1" -exec touch --no-dereference --date "@$epoch" {} +; }

tarball() {
  local name=butler-$version-linux-$1
  programs "$work/$name" lib .so butler
  papers "$work/$name"
  same_times "$work/$name"
  rm -f "$out"/butler-*-linux-"$1".tar.gz
  tar --create --directory "$work" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mtime="@$epoch" "$name" |
    gzip -n -9 >"$out/$name.tar.gz"
}

zipped() {
  local name=butler-$version-windows-x64
  programs "$work/$name" '' .dll butler.exe
  papers "$work/$name"
  same_times "$work/$name"
  rm -f "$out"/butler-*-windows-x64.zip
  # -X: no times and owners beside those of MS-DOS, which are in the zone that TZ names.
  (cd "$work" && find "$name" | sort | zip -q -9 -X "$out/$name.zip" -@)
}

# Which version of the C library the files need, by the symbols that they name.
glibc() {
  find "$1" -type f \( -name butler -o -name '*.so' \) -exec readelf --version-info --wide {} + |
    grep -o 'Name: GLIBC_[0-9.]*' | sort -uV | tail -1 | cut -d_ -f2
}

deb() {
  local root=$work/deb architecture=$1 size script
  programs "$root/usr/lib/butler" lib .so butler
  papers "$root/usr/share/butler"
  mkdir -p "$root/usr/bin" "$root/etc/butler" "$root/DEBIAN"
  ln -s ../lib/butler/butler "$root/usr/bin/butler"
  mkdir -p "$root/usr/lib/systemd/system"
  mv "$root/usr/share/butler/config/systemd/butler.service" "$root/usr/lib/systemd/system/butler.service"
  ln -s ../../../../lib/systemd/system/butler.service "$root/usr/share/butler/config/systemd/butler.service"
  put config/packages/debian/copyright "$root/usr/share/doc/butler/copyright"
  ln -s ../../butler/README.md "$root/usr/share/doc/butler/README.md"
  gzip -n -9 <CHANGELOG.md >"$root/usr/share/doc/butler/changelog.gz"
  # Secrets may lie below: for root alone, and for those to whom the unit gives what it needs.
  chmod 750 "$root/etc/butler"
  # Files alone: how large folders are differs between file systems.
  size=$(find "$root/usr" -type f -printf '%s\n' | awk '{ kB += int(($1 + 1023) / 1024) } END { print kB }')
  sed -e "s/@VERSION@/$version/" -e "s/@SIZE@/$size/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@GLIBC@/$(glibc "$root")/" \
    config/packages/debian/control.in >"$root/DEBIAN/control"
  for script in postinst prerm postrm; do install -m 755 "config/packages/debian/$script" "$root/DEBIAN/$script"; done
  (cd "$root" && find usr -type f | sort | xargs -d '\n' md5sum >DEBIAN/md5sums)
  same_times "$root"
  rm -f "$out"/butler_*_"$architecture".deb
  SOURCE_DATE_EPOCH=$epoch dpkg-deb --build --root-owner-group -Zxz --uniform-compression "$root" "$out/butler_${version}_$architecture.deb" >/dev/null
}

case $platform in
  linux) tarball x64; deb amd64 ;;
  linux-arm64) tarball arm64; deb arm64 ;;
  windows) zipped ;;
  *) fail "linux, linux-arm64 or windows, not '$platform'" ;;
esac
