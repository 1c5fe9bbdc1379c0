# Sourced: what makes two builds of one commit the same, and keeps folders of the machine that builds out of the files.
# `reproducible_flags TARGET_DIR` sets the variables for cargo, for a source tree in the current folder.

reproducible_flags() {
  local root target registry sysroot std remap=() cc=() path
  root=$PWD target=$1
  registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
  sysroot=$("${RUSTC:-rustc}" --print sysroot)
  # Of what fits, rustc and the C compilers take the last.
  remap=("$HOME=home" "$root=butler" "$target=target" "$registry=crates" "$sysroot=rust")
  # The standard library as source: rustc names it by where it is here, wherever it was built.
  for std in "$sysroot/lib/rustlib/src/rust" /usr/src/rustc-*; do
    [ -d "$std" ] && remap+=("$std=rust") && path=$(realpath "$std") && [ "$path" != "$std" ] && remap+=("$path=rust")
  done
  # The name of the index in it differs between protocols of the registry.
  for path in "$registry"/*/; do [ -d "$path" ] && remap+=("${path%/}=crates"); done
  # Both forms bear blanks in paths.
  CARGO_ENCODED_RUSTFLAGS=$(printf -- '--remap-path-prefix=%s\x1f' "${remap[@]}")
  CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%$'\x1f'}
  for path in "${remap[@]}"; do cc+=("$(printf %q "-ffile-prefix-map=$path")"); done
  CC_SHELL_ESCAPED_FLAGS=1 CFLAGS="${cc[*]}" CXXFLAGS="${cc[*]}"
  # The same everywhere, so that nothing of this machine's settings gets in.
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} || return 1
  LC_ALL=C TZ=UTC CARGO_INCREMENTAL=0
  unset RUSTFLAGS
  export CARGO_ENCODED_RUSTFLAGS CC_SHELL_ESCAPED_FLAGS CFLAGS CXXFLAGS SOURCE_DATE_EPOCH LC_ALL TZ CARGO_INCREMENTAL
}
