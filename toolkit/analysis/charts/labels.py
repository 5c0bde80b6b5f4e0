"""Labels: what rows and marks of a picture are called, and how their numbers read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit.analysis.percentiles import CALLER
from toolkit.codes import Kind, kind_of

if TYPE_CHECKING:
    from toolkit.analysis.charts.drawing import Row

NO_ANSWER = "no answer"
UNKNOWN = "unknown code"
TIMES = "times"
_LONGEST_ERROR = 40
_LEAST_SHARE = 0.0001
_UNITS_S = ((86_400, "d"), (3_600, "h"), (60, "min"))


def outcome(row: Row) -> str:
    """Name an outcome by number and message, or by its error."""
    if row["return_code"] is not None:
        return f"{row['return_code']} {row['message']}".rstrip()
    return shorten(row["error"] or "no outcome")


def kind(row: Row) -> str:
    """Name the kind of an outcome, also where a row has no ``kind``."""
    if row["return_code"] is None:
        return NO_ANSWER
    return str(row.get("kind") or kind_of(int(row["return_code"])) or UNKNOWN)


def subject(row: Row) -> str:
    """Name what is followed: an outcome, or a percentile of times, of an endpoint."""
    if row["measure"] == "share":
        return f"{row['endpoint']} {outcome(row)}"
    whose = " as the caller waited" if row["measure"] == CALLER else ""
    return f"{row['endpoint']} p{row['percentile']:g}{whose}"


def step(row: Row, before: Any, after: Any) -> str:
    """Word a subject's two values, shares or ms."""
    word = share if row["measure"] == "share" else milliseconds
    return f"{word(before)} → {word(after)}"


def shorten(text: str) -> str:
    """Return the begin of a long text."""
    return text if len(text) <= _LONGEST_ERROR else text[: _LONGEST_ERROR - 1] + "…"


def share(ratio: float | None) -> str:
    """Word a share, 0..1, as a percentage; nothing is rounded to none."""
    if ratio is None:
        return "–"
    return f"<{_LEAST_SHARE:.2%}" if 0 < ratio < _LEAST_SHARE else f"{ratio:.2%}"


def milliseconds(value: float | None) -> str:
    """Word a time in ms."""
    return "–" if value is None else f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def seconds(value: float) -> str:
    """Word a duration in its largest unit."""
    size, unit = next((it for it in _UNITS_S if value >= it[0]), (1, "s"))
    return f"{round(value / size, 1):g} {unit}"


def money(value: float | None, currency: str, sign: str = "") -> str:
    """Word money with its currency; ``sign`` "+" also shows that it is positive."""
    return "unknown" if value is None else f"{currency} {value:{sign},.2f}".lstrip().replace("-", "−")


def count(number: int, what: str) -> str:
    """Word a number of things that get an s where there are several."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


KIND_NAMES = [*(it.value for it in Kind), UNKNOWN, NO_ANSWER]
