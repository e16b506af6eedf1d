# Conveniences. `.ci/run` is what counts; it does not need just.
bin := ".venv/bin"

# Format, lint, types, imports, tests
default: format check test

format:
    {{bin}}/ruff check --fix
    {{bin}}/ruff format

check:
    {{bin}}/ruff check
    {{bin}}/ruff format --check
    {{bin}}/codespell
    {{bin}}/mypy
    {{bin}}/basedpyright --pythonpath {{bin}}/python
    {{bin}}/lint-imports

test *args:
    {{bin}}/python -m pytest {{args}}

cover:
    {{bin}}/coverage erase
    {{bin}}/coverage run -m pytest
    {{bin}}/coverage combine --quiet
    {{bin}}/coverage report

# Fails unless all of the core and the engine runs in the tests next to them.
cover-engine:
    BIN={{bin}} scripts/cover.sh

# All of it takes about an hour; `just bench --quick` a few minutes.
bench *args:
    {{bin}}/python -m benchmarks {{args}}

# Calls, statements, commits and trips beside the baseline; `just counts --write` renews it.
counts *args:
    {{bin}}/python -m benchmarks.counts {{args}}

# Small faults that the tests next to the code must see. All of it takes an hour; by part:
# `just mutation --group core`, `just mutation --file core/journal.py`.
mutation *args:
    {{bin}}/python -m tests.mutation {{args}}
