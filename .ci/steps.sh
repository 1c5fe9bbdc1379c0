# Sourced: `step NAME COMMAND…` runs a step and goes on when it fails; `finish` prints the minutes of each and ends with 1 when one
# has failed.

times=()
failed=0
step() {
  local name=$1 began=$SECONDS; shift
  printf '\n=== %s\n' "$name"
  if ! "$@"; then failed=1; times+=("FAILED  $name"); else times+=("$(awk -v s=$((SECONDS - began)) 'BEGIN { printf "%5.1f min", s / 60 }')  $name"); fi
}

finish() {
  printf '\n'; printf '%s\n' "${times[@]}"
  exit $failed
}
