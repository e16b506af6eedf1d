"""The `perdure` command. It imports inward; nothing imports it but `python -m perdure`."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code.

    Args:
        argv: the arguments without the program's name. Default: those of this process.
    """
    from perdure.cli.entry import run  # noqa: PLC0415 - so that the demo's module imports little

    return run(argv)
