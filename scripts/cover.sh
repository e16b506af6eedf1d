#!/usr/bin/env bash
# Fails unless each line and branch of the core and the engine runs in the tests next to them. Of
# tests that run on several state backends, in memory: what a backend does is the contract's.
# Usage: scripts/cover.sh [PERCENT], of lines and branches; default: all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${BIN:-.venv/bin}
least=${1:-100}
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
export COVERAGE_FILE=$data/coverage

"$bin"/coverage run -m pytest -q -k "not postgres and not thousand and (audit or not sqlite)" \
    tests/core tests/engine tests/executor tests/executors tests/api tests/servers tests/worker \
    tests/bad_input tests/backends/test_audit.py
"$bin"/coverage combine --quiet
"$bin"/coverage report --include='*/perdure/core/*,*/perdure/engine/*' --precision=2 \
    --fail-under="$least"
