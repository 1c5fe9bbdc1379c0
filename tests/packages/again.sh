#!/usr/bin/env bash
# The packages for Linux once more, of the files in the tar.gz, as a machine with other habits makes them: `again.sh DIR`. They must
# be the same byte by byte: nothing of the time, the user, the folder or the order of files is in them.
set -euo pipefail
packages=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
made=$(mktemp -d); trap 'rm -rf "$made"' EXIT
umask 077
export TZ=Pacific/Auckland LC_ALL=C.UTF-8

mkdir "$made/built" "$made/bill" "$made/out"
tar -xzf "$packages"/butler-*-linux-x64.tar.gz --strip-components=1 -C "$made"
mv "$made/butler" "$made"/plugins/*.so "$made/built"
mv "$made"/licenses/* "$made/bill"
# The tar.gz has one time for all that is in it.
SOURCE_DATE_EPOCH=$(stat -c %Y "$made/LICENSE-MIT") config/packages/make.sh linux "$made/built" "$made/bill" "$made/out"
for file in "$made"/out/*; do
  cmp "$file" "$packages/$(basename "$file")" || { echo "FAILED  $(basename "$file") is another"; exit 1; }
  echo "ok      $(basename "$file") is the same"
done
