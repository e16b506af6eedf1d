"""Hypothesis strategies: what they make can be recorded, and comes back equal."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from perdure import Perdure
from perdure.errors import RegistrationError
from perdure.testing import strategies
from tests.values.support import round_trip

app = Perdure("memory://", name="strategies")
few = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@dataclasses.dataclass
class Parcel:
    weight: float
    labels: list[str]


@app.workflow
def send(parcel: Parcel, when: datetime | None, *, note: str = "", extra: Any = None) -> str:
    return f"{parcel}{when}{note}{extra}"


@few
@given(strategies.values())
def test_values_come_back(value: object) -> None:
    round_trip(Any, value)


@few
@given(strategies.json_values())
def test_json_values_come_back(value: object) -> None:
    round_trip(Any, value)


@few
@given(strategies.arguments(send))
def test_arguments_can_be_recorded(arguments: dict[str, Any]) -> None:
    assert {"parcel", "when"} <= arguments.keys() <= {"parcel", "when", "note", "extra"}
    call = send.definition.call((), arguments)
    back = send.definition.decode_call(call.arguments)
    assert send.definition.call_with(back).digest == call.digest


@few
@given(strategies.recordable(dict[str, tuple[int, ...]]))
def test_values_of_a_type_come_back(value: object) -> None:
    round_trip(dict[str, tuple[int, ...]], value)


def test_what_takes_no_keywords_is_refused() -> None:
    @app.task
    def by_place(one: int, /) -> None: ...

    with pytest.raises(RegistrationError, match="by position only"):
        strategies.arguments(by_place)
    with pytest.raises(RegistrationError, match="neither task nor workflow"):
        strategies.arguments(print)


def test_without_hypothesis_the_error_says_what_to_install() -> None:
    script = """
import sys
sys.modules["hypothesis"] = None
from perdure.errors import ConfigurationError
import perdure.testing
try:
    import perdure.testing.strategies
except ConfigurationError as error:
    assert "pip install hypothesis" in str(error)
else:
    raise SystemExit("it was imported")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
