"""Format the labels of rows and marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit import number_format
from toolkit.analysis.latency_percentiles import MEASURES
from toolkit.outcome_colours import CODE_UNKNOWN, ERROR, UNKNOWN, outcome_kind

if TYPE_CHECKING:
    from toolkit.analysis.charts.base import Row

LATENCY = "latency"
FAILED, CONVERSION, CALLS = "failed calls", "conversion", "calls"
_OTHER_MEASURES = {"failed": FAILED, "conversion": CONVERSION, "calls": CALLS}
_MAX_ERROR_LENGTH = 40


def outcome(row: Row) -> str:
    """Return the label of an outcome: its number and message, or its error."""
    if row["return_code"] is not None:
        return f"{row['return_code']} {row['message']}".rstrip()
    return shorten(row["error"] or CODE_UNKNOWN)


def kind(row: Row) -> str:
    """Return the name of an outcome's kind; the row needs no field ``kind``."""
    if row["return_code"] is None:
        return ERROR if row["error"] else str(row.get("kind") or UNKNOWN)
    return str(row.get("kind") or outcome_kind(int(row["return_code"])))


def change_kind(row: Row) -> str:
    """Return the kind of the outcome whose share changed, or the name of another measured quantity."""
    return kind(row) if row["measure"] == "share" else _OTHER_MEASURES.get(row["measure"], LATENCY)


def subject(row: Row) -> str:
    """Return the label of a measured quantity: the share of an outcome, or a percentile of a latency."""
    segment = f" ({row['dimension']} {row['value']})" if row.get("dimension") else ""
    if row["measure"] == "share":
        return f"{row['endpoint']} {outcome(row)}{segment}"
    if row["measure"] in _OTHER_MEASURES:
        return f"{row['endpoint'] or ''} {_OTHER_MEASURES[row['measure']]}{segment}".lstrip()
    return f"{row['endpoint']} p{row['percentile']:g} of {MEASURES[row['measure']]}"


def change(row: Row, before: Any, after: Any) -> str:
    """Return the label of two values of a quantity: shares, calls an hour, or latencies in ms."""
    if row["measure"] == "calls":
        return f"{number_format.short_number(before)} → {number_format.short_number(after)} an hour"
    if row["measure"] in ("share", *_OTHER_MEASURES):
        return f"{number_format.share(before)} → {number_format.share(after)}"
    texts = [number_format.MISSING if it is None else f"{number_format.milliseconds(it)} ms" for it in (before, after)]
    return " → ".join(texts)


def shorten(text: str) -> str:
    """Return the first letters of a long text."""
    return text if len(text) <= _MAX_ERROR_LENGTH else text[: _MAX_ERROR_LENGTH - 1] + "…"


def money(value: float | None, currency: str, sign: str = "") -> str:
    """Return an amount with its currency; ``sign`` "+" also marks positive amounts."""
    if value is None:
        return "unknown"
    return f"{number_format.amount_text(value, currency, sign)} {currency}".rstrip().replace("-", "−")
