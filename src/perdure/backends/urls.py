"""What a database URL says, for all that take one."""

from __future__ import annotations

from perdure.errors import ConfigurationError


def file_of(url: str, otherwise: str) -> str:
    """The path in a `sqlite:///` URL, which is all that it may hold.

    Args:
        url: begins with `sqlite:///`.
        otherwise: a sentence that tells how to set what parameters might set.

    Raises:
        ConfigurationError: it has parameters. Taken for a part of the name, they would make
            another, empty database.
    """
    plain, mark, _ = url.partition("?")
    if mark:
        # Behind the name of another database there may be a password.
        shown = "sqlite:///..." if "@" in plain else plain
        raise ConfigurationError(
            f"A sqlite:/// URL takes no parameters. Give {shown!r}, without what follows the "
            f"question mark. {otherwise}"
        )
    return plain.removeprefix("sqlite:///")
