"""The commands `db status`, `db upgrade` and `db sql`: the schema of each database."""

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
    """Tell what each database has, what this perdure knows, and what that means.

    The exit code is that of the worst one.
    """
    servers = source.each()
    found = [(server, _look(server)) for server in servers]
    if as_json:
        rows = [
            {
                "database": server.url,
                **status.found._asdict(),
                "known": status.known,
                "status": status.fit,
            }
            for server, status in found
        ]
        out.json(rows[0] if len(rows) == 1 else rows)
    else:
        for server, status in found:
            _tell(out, server, status)
    return max(_MEANINGS[status.fit][1] for _, status in found)


def _tell(out: Output, source: Source, status: SchemaStatus) -> None:
    out.pairs(
        [
            ("database", source.url),
            ("schema", str(status.found.schema_version)),
            ("readers from", str(status.found.min_reader)),
            ("writers from", str(status.found.min_writer)),
            ("this perdure", str(status.known)),
            ("status", _MEANINGS[status.fit][0]),
        ]
    )


def upgrade(out: Output, source: Source) -> Exit:
    """Make or upgrade each schema. A database that is too new is refused by opening it."""
    for server in source.each():
        _upgrade(out, server)
    return Exit.OK


def _upgrade(out: Output, source: Source) -> None:
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


def sql(out: Output, source: Source) -> Exit:
    """Print the script of what is missing, for each database."""
    servers = source.each()
    for server in servers:
        found = _look(server)
        if not found.script:
            out.message(
                f"Nothing is missing: {server.url} has schema {found.found.schema_version}."
            )
            continue
        if len(servers) > 1:
            out.line(f"-- {server.url}")
        out.line(found.script)
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
