"""Each code that an error of ours has is that of one error, also of those beside `errors.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import perdure.testing  # noqa: F401 - it defines some
from perdure.errors import PerdureError


def below(error: type[PerdureError]) -> Iterator[type[PerdureError]]:
    for each in error.__subclasses__():
        if each.__module__.startswith("perdure."):
            yield each
            yield from below(each)


def test_no_two_errors_share_a_code() -> None:
    codes = Counter(
        each.__dict__["code"] for each in {*below(PerdureError)} if "code" in vars(each)
    )
    assert len(codes) > 40
    assert [code for code, count in codes.items() if count > 1] == []
