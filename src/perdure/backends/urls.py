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
        raise ConfigurationError(
            "A sqlite:/// URL takes no parameters. Give "
            f"{plain!r}, without what follows the question mark. {otherwise}"
        )
    return plain.removeprefix("sqlite:///")
