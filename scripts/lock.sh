#!/usr/bin/env bash
# Makes requirements/constraints.txt again from pyproject.toml: exact versions for every supported
# Python and platform, without hashes (pip refuses hashes beside an editable install) and without
# download hosts (they belong to whoever installs). Needs uv: `pip install uv`.
#
# Versions already in the file are kept; `scripts/lock.sh --upgrade` takes the newest ones.
set -euo pipefail
cd "$(dirname "$0")/.."

out=requirements/constraints.txt
uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras \
    --no-header --no-emit-index-url --no-emit-find-links --quiet "$@" --output-file "$out"

if grep -nE '://' "$out"; then
    echo "lock: $out names a URL, see above; nothing of the kind may be committed" >&2
    exit 1
fi
