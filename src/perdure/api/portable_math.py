"""log, exp and arctangent that give the same bits on every machine. Pure; no platform mathematics.

The C library's versions differ in the last bit between platforms and releases. A workflow that
moved to another machine would then replay to another value. Only operations whose result IEEE 754
fixes are used here: + - * / and the square root, and the exact frexp, ldexp and floor. Results are
within a few units in the last place, which is more than random variates need.

Any change here is a change of `perdure.api.randomness.ALGORITHM_VERSION`.
"""

from __future__ import annotations

from math import floor, frexp, ldexp, pi, sqrt

# log(2) in two parts: HIGH has 32 significant bits, so that a whole number times HIGH is exact.
_LN2_HIGH = 0.6931471803691238
_LN2_LOW = 1.9082149292705877e-10
_SQRT_HALF = 0.7071067811865476

# How many terms bring each series below 2**-56 at the end of the range it is used on.
_LOG_TERMS = 11
_EXP_TERMS = 15
_ATAN_TERMS = 9
_ATAN_HALVINGS = 3

_EXP_ARGUMENT_MIN = -746.0
"""Below it exp() is under half of the smallest float, so it is 0."""


def log(x: float) -> float:
    """The natural logarithm of a finite x > 0.

    x = m * 2**k with m in [sqrt(1/2), sqrt(2)), and log(m) = 2 atanh(s) with s = (m - 1)/(m + 1):
    the series 2 (s + s^3/3 + s^5/5 + ...), for which |s| < 0.172.
    """
    assert x > 0, x
    m, k = frexp(x)
    if m < _SQRT_HALF:
        m, k = 2 * m, k - 1
    s = (m - 1) / (m + 1)
    square = s * s
    total = 0.0
    for term in range(_LOG_TERMS, 0, -1):
        total = total * square + 2 / (2 * term + 1)
    # Small parts first, so that their bits are not lost beside the large one.
    return k * _LN2_HIGH + (2 * s + (s * square * total + k * _LN2_LOW))


def exp(x: float) -> float:
    """e**x for a finite x. Raises OverflowError when the result is above the largest float.

    x = k log(2) + r with |r| < 0.35, and e**r by its Taylor series.
    """
    if x < _EXP_ARGUMENT_MIN:
        return 0.0
    k = floor(x / (_LN2_HIGH + _LN2_LOW) + 0.5)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    total = 1.0
    for term in range(_EXP_TERMS, 0, -1):
        total = 1 + total * r / term
    return ldexp(total, k)


def atan(x: float) -> float:
    """The arctangent of a finite x >= 0, in radians.

    Above 1 the complement is taken. The half-angle formula tan(a/2) = x / (1 + sqrt(1 + x^2)),
    three times, brings x below 0.1, where the series x - x^3/3 + x^5/5 - ... is short.
    """
    assert x >= 0, x
    if x > 1:
        return pi / 2 - atan(1 / x)
    for _ in range(_ATAN_HALVINGS):
        x /= 1 + sqrt(1 + x * x)
    square = x * x
    total = 0.0
    for term in range(_ATAN_TERMS, -1, -1):
        total = 1 / (2 * term + 1) - total * square
    return ldexp(x * total, _ATAN_HALVINGS)
