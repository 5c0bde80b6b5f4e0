"""Labels: what rows and marks of a picture are called, and how their numbers read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit import number_format
from toolkit.analysis.latency_percentiles import MEASURES
from toolkit.outcome_colours import ERROR, outcome_kind

if TYPE_CHECKING:
    from toolkit.analysis.charts.base import Row

TIMES = "times"
_LONGEST_ERROR = 40


def outcome(row: Row) -> str:
    """Name an outcome by number and message, or by its error."""
    if row["return_code"] is not None:
        return f"{row['return_code']} {row['message']}".rstrip()
    return shorten(row["error"] or "no outcome")


def kind(row: Row) -> str:
    """Name the kind of an outcome, also where a row has no ``kind``."""
    if row["return_code"] is None:
        return ERROR
    return str(row.get("kind") or outcome_kind(int(row["return_code"])))


def subject(row: Row) -> str:
    """Name what is followed: an outcome, or a percentile of times, of an endpoint."""
    if row["measure"] == "share":
        return f"{row['endpoint']} {outcome(row)}"
    return f"{row['endpoint']} p{row['percentile']:g} of {MEASURES[row['measure']]}"


def step(row: Row, before: Any, after: Any) -> str:
    """Word a subject's two values, shares or ms."""
    word = number_format.share if row["measure"] == "share" else _milliseconds
    return f"{word(before)} → {word(after)}"


def shorten(text: str) -> str:
    """Return the begin of a long text."""
    return text if len(text) <= _LONGEST_ERROR else text[: _LONGEST_ERROR - 1] + "…"


def money(value: float | None, currency: str, sign: str = "") -> str:
    """Word money with its currency; ``sign`` "+" also shows that it is positive."""
    return "unknown" if value is None else f"{value:{sign},.2f} {currency}".rstrip().replace("-", "−")


def _milliseconds(value: float | None) -> str:
    return number_format.MISSING if value is None else f"{number_format.milliseconds(value)} ms"
