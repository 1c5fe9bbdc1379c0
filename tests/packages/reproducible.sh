#!/usr/bin/env bash
# Builds one commit twice, in two folders with other names and other times, and compares what comes out byte by byte:
# `tests/packages/reproducible.sh [all | PACKAGE…]`. By default one plugin, which takes minutes; `all` makes the packages for Linux
# twice. Says what differs, and fails then.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

what=("${@:-butler-plugin-console}")
made=$(mktemp -d "${TMPDIR:-/tmp}/reproducible.XXXXXX"); trap 'rm -rf "$made"' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct); export SOURCE_DATE_EPOCH

build() { # FOLDER: a source tree of its own, with its own target folder
  local folder=$made/$1 out=$made/out-$1
  mkdir -p "$folder" "$out"
  # What is committed, at times that are not those of the other.
  git archive HEAD | tar -x --touch -C "$folder"
  cd "$folder"
  export CARGO_TARGET_DIR=$folder/target-$1
  if [ "${what[0]}" = all ]; then
    config/packages/build.sh linux --out "$out" >/dev/null
    tar -xzf "$out"/*.tar.gz -C "$out"
  else
    . config/packages/flags.sh
    reproducible_flags "$CARGO_TARGET_DIR"
    cargo build --release --locked --quiet $(printf -- '-p %s ' "${what[@]}")
    find "$CARGO_TARGET_DIR/release" -maxdepth 1 -type f \( -perm -100 -o -name '*.so' \) -exec cp {} "$out" \;
  fi
  cd "$made"
  rm -rf "$folder"
}

for folder in first a/second; do
  began=$SECONDS
  (umask "$([ "$folder" = first ] && echo 022 || echo 077)"; build "$folder")
  printf 'built in %s s\n' $((SECONDS - began))
done

cd "$made"
same=0 different=0
while read -r file; do
  if cmp -s "out-first/$file" "out-a/second/$file"; then
    same=$((same + 1))
  else
    different=$((different + 1))
    printf 'differs: %-60s %s bytes of %s\n' "$file" "$(cmp -l "out-first/$file" "out-a/second/$file" 2>/dev/null | wc -l)" "$(stat -c %s "out-first/$file")"
  fi
done < <({ cd out-first; find . -type f; cd ../out-a/second; find . -type f; } | sort -u)
printf '%s files are the same, %s differ\n' "$same" "$different"
[ "$same" -gt 0 ] && [ "$different" = 0 ]
