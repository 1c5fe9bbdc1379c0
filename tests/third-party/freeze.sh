#!/usr/bin/env bash
# Copies the plugin API to frozen-api, as it would be published: the test subject for "a plugin built against an older
# version keeps working". Run it when a major version is frozen, never for a minor one, and commit the result.
# With --locks it only brings the lock files of the plugins here up to date with their dependencies.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [ "${1:-}" != --locks ]; then
  folder=$(mktemp -d)
  trap 'rm -r "$folder"' EXIT
  # `cargo package` resolves what Cargo.toml takes from the workspace.
  CARGO_TARGET_DIR="$folder" cargo package --manifest-path ../../plugin-api/Cargo.toml \
    --no-verify --allow-dirty --exclude-lockfile --offline --quiet
  rm -rf frozen-api
  mkdir frozen-api
  tar -xf "$folder"/package/butler-plugin-api-*.crate --strip-components 1 -C frozen-api
  rm -rf frozen-api/{Cargo.toml.orig,.cargo_vcs_info.json,tests,examples,benches}
  # Its own tests stay behind, with what only they need.
  awk '/^\[/ { skip = /^\[\[(test|example|bench)\]\]/ || /^\[dev-dependencies/ } !skip' frozen-api/Cargo.toml >frozen-api/Cargo.new
  mv frozen-api/Cargo.new frozen-api/Cargo.toml
fi
# The versions of Butler's own lock file, as far as the plugin needs them.
for plugin in butler-plugin-*; do
  [ -f "$plugin/Cargo.lock" ] || cp ../../Cargo.lock "$plugin/Cargo.lock"
  cargo metadata --manifest-path "$plugin/Cargo.toml" --format-version 1 >/dev/null
done
sed -n 's/^version = /frozen-api is version /p' frozen-api/Cargo.toml | head -1
