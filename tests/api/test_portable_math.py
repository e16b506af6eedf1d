"""The portable functions are close to the platform's, and use none of them."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from types import ModuleType

import pytest

from perdure.api import portable_math, randomness

# Whose result is exact or fixed by IEEE 754; everything else of `math` differs between platforms.
FIXED_EVERYWHERE = {"floor", "frexp", "inf", "isfinite", "ldexp", "pi", "sqrt", "tau"}


def spread(low: float, high: float, count: int = 2000) -> list[float]:
    """`count` numbers from low to high, evenly spaced on a logarithmic scale."""
    ratio = math.log(high) - math.log(low)
    return [low * math.exp(ratio * step / count) for step in range(count + 1)]


@pytest.mark.parametrize("x", [1.0, math.nextafter(1, 0), math.nextafter(1, 2), 5e-324, 1.7e308])
def test_log_at_its_corners(x: float) -> None:
    assert portable_math.log(x) == pytest.approx(math.log(x), rel=1e-15, abs=0)


def test_log_agrees_with_the_platform_to_a_few_last_places() -> None:
    for x in [*spread(1e-150, 1e150), *spread(0.5, 2)]:
        expected = math.log(x)
        assert abs(portable_math.log(x) - expected) <= 4 * math.ulp(expected), x


def test_exp_agrees_with_the_platform_to_a_few_last_places() -> None:
    for size in spread(1e-10, 700):
        for x in (size, -size):
            expected = math.exp(x)
            assert abs(portable_math.exp(x) - expected) <= 4 * math.ulp(expected), x


def test_exp_at_its_ends() -> None:
    assert portable_math.exp(0.0) == 1.0
    assert portable_math.exp(-745.0) == math.exp(-745.0) > 0
    assert portable_math.exp(-746.1) == 0.0
    assert portable_math.exp(-math.inf) == 0.0
    with pytest.raises(OverflowError):
        portable_math.exp(709.8)


def test_atan_agrees_with_the_platform_to_a_few_last_places() -> None:
    for x in [0.0, 1.0, *spread(1e-10, 1e20), *spread(0.5, 2)]:
        expected = math.atan(x)
        assert abs(portable_math.atan(x) - expected) <= 8 * math.ulp(expected), x


@pytest.mark.parametrize("module", [portable_math, randomness])
def test_no_platform_mathematics(module: ModuleType) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "math"
        for alias in node.names
    }
    assert imported <= FIXED_EVERYWHERE
    assert not any(
        isinstance(node, ast.Import)
        and any(alias.name in {"math", "cmath"} for alias in node.names)
        for node in ast.walk(tree)
    )
    # A power of floats is the C library's pow().
    assert not any(isinstance(node, ast.Pow) for node in ast.walk(tree))
