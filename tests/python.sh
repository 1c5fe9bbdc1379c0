#!/usr/bin/env bash
# Python's packages for the tests, in target/venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! { target/venv/bin/check-jsonschema --version && target/venv/bin/python -c 'import aiosmtpd, openapi_spec_validator, schemathesis'; } >/dev/null 2>&1; then
  python3 -m venv target/venv
  target/venv/bin/pip install --quiet --requirement tests/requirements.txt
fi
