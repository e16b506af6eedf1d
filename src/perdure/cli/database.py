"""The commands `db status`, `db upgrade` and `db sql`: the schema of one database."""

from __future__ import annotations

from perdure.backends.versions import Fit, HasSchema, SchemaStatus
from perdure.cli.failures import Exit, usage
from perdure.cli.locate import Source
from perdure.cli.output import Output
from perdure.drivers import make_backend
from perdure.engine.env import SystemEnv

_MEANINGS: dict[Fit, tuple[str, Exit]] = {
    "missing": (
        "there is no schema yet: perdure db upgrade, or the first use, makes it",
        Exit.FAILED,
    ),
    "old": ("old: perdure db upgrade, or the first use, upgrades it", Exit.FAILED),
    "fits": ("up to date", Exit.OK),
    "newer": ("newer than this perdure, which may use it all the same", Exit.OK),
    "too new to write": ("too new to be written by this perdure: upgrade perdure", Exit.DATABASE),
    "too new to read": ("too new for this perdure: upgrade perdure", Exit.DATABASE),
}


def status(out: Output, source: Source, *, as_json: bool) -> Exit:
    """Tell what the database has, what this perdure knows, and what that means."""
    found = _look(source)
    meaning, code = _MEANINGS[found.fit]
    if as_json:
        out.json(
            {
                "database": source.url,
                **found.found._asdict(),
                "known": found.known,
                "status": found.fit,
            }
        )
        return code
    out.pairs(
        [
            ("database", source.url),
            ("schema", str(found.found.schema_version)),
            ("readers from", str(found.found.min_reader)),
            ("writers from", str(found.found.min_writer)),
            ("this perdure", str(found.known)),
            ("status", meaning),
        ]
    )
    return code


def upgrade(out: Output, source: Source) -> Exit:
    """Make or upgrade the schema. A database that is too new is refused by opening it."""
    before = _look(source)
    backend = source.open_writer()
    try:
        backend.store_id()  # the first use migrates
    finally:
        backend.close()
    after = _look(source).found.schema_version
    if before.found.schema_version == after:
        out.message(f"Nothing to do: {source.url} has schema {after}.")
    else:
        out.message(f"{source.url} went from schema {before.found.schema_version} to {after}.")
    return Exit.OK


def sql(out: Output, source: Source) -> Exit:
    """Print the script of what is missing."""
    found = _look(source)
    if found.script:
        out.line(found.script)
    else:
        out.message(f"Nothing is missing: {source.url} has schema {found.found.schema_version}.")
    return Exit.OK


def _look(source: Source) -> SchemaStatus:
    backend = make_backend(source.settings, SystemEnv(), read_only=True)
    try:
        if not isinstance(backend, HasSchema):
            raise usage(
                f"{source.named_by} names {source.url}, which has no schema. Name a database with "
                "--url."
            )
        return backend.schema_status()
    finally:
        backend.close()
