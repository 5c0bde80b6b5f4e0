"""Wording: how numbers read. Nothing is rounded to all or to nothing that isn't."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from math import isinf

NONE = "–"
_LEAST_SHARE = 0.0001
_DURATIONS = (
    (3_600, (60, "min", 1, "s")),
    (48 * 3_600, (3_600, "h", 60, "min")),
    (float("inf"), (86_400, "days", 3_600, "h")),
)


def share(ratio: float | None) -> str:
    """Word a share, 0..1: "12.34 %", and for less than all but a trace "> 99.99 %"."""
    if ratio is None:
        return NONE
    if 0 < ratio < _LEAST_SHARE:
        return f"< {_LEAST_SHARE:.2%}".replace("%", " %")
    if 1 - _LEAST_SHARE < ratio < 1:
        return f"> {1 - _LEAST_SHARE:.2%}".replace("%", " %")
    return f"{ratio:.2%}".replace("%", " %")


def milliseconds(value: float) -> str:
    """Word a time in ms, without the unit, in three digits or more."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def duration(seconds: float) -> str:
    """Word a duration in one or two units: "850 ms", "12.3 s", "1 min 03 s", "1 h", "2 days 05 h"."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    unit_s, unit, part_s, part = next(units for limit_s, units in _DURATIONS if round(seconds) < limit_s)
    whole, rest = divmod(round(seconds / part_s), unit_s // part_s)
    return f"{whole:,} {unit}" + (f" {rest:02} {part}" if rest else "")


def measured(value: float) -> str:
    """Word a measured value, without the unit, in six digits, or in all where it would look whole and isn't."""
    text = f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    is_rounded = float(text.replace(",", "")) == round(value) != value
    return repr(value) if is_rounded else text


def moment(time: datetime) -> str:
    """Word a time, in UTC, to the second, or to the millisecond where it is within one."""
    return f"{time:%Y-%m-%d %H:%M:%S}" + (f".{time.microsecond // 1000:03}" if time.microsecond else "")


def rate(per_s: float | None) -> str:
    """Word a rate, without the unit."""
    if per_s is None:
        return NONE
    return f"{per_s:,.1f}" if per_s >= 9.995 else f"{per_s:,.2f}" if per_s >= 0.995 else f"{per_s:.3g}"


def money(amount: Decimal, currency: str) -> str:
    """Word money: to the hundredth, or as many places as it has if these are not all of it."""
    exact = f"{amount:,f}".rstrip("0") if amount % 1 else f"{amount:,.0f}"
    whole, _, places = exact.partition(".")
    return f"{whole}.{places:0<2} {currency}"


def plural(many: int, what: str, ending: str = "s") -> str:
    """Count things: "1 message", "1,200 messages"."""
    return f"{many:,} {what}{'' if many == 1 else ending}"


def digits(value: float, sign: str = "") -> str:
    """Word a number in three digits, or all that stand before its point; ``sign`` "+" shows that it is positive."""
    if isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:{sign},.3g}" if abs(value) < 999.5 else f"{value:{sign},.0f}"
