"""Compare the lines of a statement with the records of the same messages, and compute the amount in dispute."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pandas as pd

from toolkit.analysis.billing.pricing import TEXT, to_money
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import to_utc


class Discrepancy(StrEnum):
    """A kind of difference between a statement and the records."""

    NOT_BILLED = "missing in the statement"
    NOT_RECORDED = "missing in the records"
    SEGMENTS = "different segments"
    PRICE = "different price"
    AMOUNT = "wrong amount"  # not the segments times the price
    TWICE = "billed twice"
    REFUNDED = "refunded"  # a line with a negative amount


_MONEY = ("money", "price", "amount", "billed_price", "billed_amount", "in_dispute")
_COLUMNS = (
    *("kind", "msg_id", "sent_at", "segments", "price", "amount"),
    *("billed_segments", "billed_price", "billed_amount", "in_dispute"),
)
_TYPES: Any = {"msg_id": TEXT, "sent_at": "int64", **dict.fromkeys(_COLUMNS[3:], "Int64")}
_LINE_ORDER = ["sent_ns", "billed_segments", "billed_price", "billed_amount"]
_KINDS = pd.CategoricalDtype([kind.value for kind in Discrepancy], ordered=True)
ROUNDED = "rounding to cents"
_SUMMARY_ROWS = pd.CategoricalDtype(["records", *_KINDS.categories, ROUNDED, "statement"], ordered=True)


def find_discrepancies(
    lines: pd.DataFrame, records: pd.DataFrame, tolerance: int
) -> tuple[pd.DataFrame, tuple[int, int]]:
    """Return the discrepancies between lines and records, and the number and the sum of rounded amounts.

    Args:
        lines: Lines of a statement: msg_id, sent_ns, billed_segments, billed_units, billed_price, billed_amount.
        records: Accepted sends with prices: msg_id, started_ns, segments, units, price_micros, amount_micros.
        tolerance: The largest difference of an amount, in millionths, that rounding explains.

    Returns:
        One row per discrepancy in the order of time, with the columns of ``Reconciliation.discrepancies`` except the
        currency; times in ns, amounts in millionths.
    """
    lines_by_id: dict[str, list[Any]] = {}
    line: Any
    for line in lines.sort_values(_LINE_ORDER).itertuples(index=False):
        lines_by_id.setdefault(line.msg_id, []).append(line)
    latest_first: Any = records.sort_values("started_ns", ascending=False).itertuples(index=False)
    record_by_id = {record.msg_id: record for record in latest_first}  # of several, the first one in time
    ids = dict.fromkeys([*lines_by_id, *record_by_id])
    found = [row for it in ids for row in _compare_message(lines_by_id.get(it, []), record_by_id.get(it), tolerance)]
    rows = sorted((row for row in found if row[0] != ROUNDED), key=lambda row: (row[2], row[1], row[0]))
    rounded = [row[-1] for row in found if row[0] == ROUNDED]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_TYPES), (len(rounded), sum(rounded))


def _compare_message(of_message: list[Any], record: Any, tolerance: int) -> Iterator[tuple[Any, ...]]:
    """Yield the discrepancies of one message.

    The line that agrees with the record is the billed one; the others are billed twice.

    Args:
        of_message: The lines of the message in the order of time.
        record: Its record, or None.
        tolerance: As in ``find_discrepancies``.
    """
    lines = [it for it in of_message if it.billed_amount >= 0]
    refunds = [it for it in of_message if it.billed_amount < 0]
    yield from (_row(Discrepancy.REFUNDED, it, record, it.billed_amount) for it in refunds)
    if not lines:
        if record is not None and record.in_period:
            yield _row(Discrepancy.NOT_BILLED, None, record, -record.amount_micros)
        return

    def differences(line: Any) -> int:
        return sum(row[0] != ROUNDED for row in _compare_fields(line, record, tolerance))

    line = lines[0] if record is None else min(lines, key=differences)
    if record is None:
        yield _row(Discrepancy.NOT_RECORDED, line, None, line.billed_amount)
    else:
        yield from _compare_fields(line, record, tolerance)
    yield from (_row(Discrepancy.TWICE, it, record, it.billed_amount) for it in lines if it is not line)


def _compare_fields(line: Any, record: Any, tolerance: int) -> Iterator[tuple[Any, ...]]:
    """Yield the discrepancies of a line; their amounts in dispute add up to its amount less the record's amount."""
    is_known = not pd.isna(record.segments)
    units = record.units if is_known else line.billed_units
    if is_known and line.billed_segments != record.segments:
        yield _row(Discrepancy.SEGMENTS, line, record, (line.billed_units - units) * line.billed_price)
    if not pd.isna(record.price_micros) and line.billed_price != record.price_micros:
        yield _row(Discrepancy.PRICE, line, record, (line.billed_price - record.price_micros) * units)
    if excess := line.billed_amount - line.billed_price * line.billed_units:
        yield _row(ROUNDED if abs(excess) <= tolerance else Discrepancy.AMOUNT, line, record, excess)


def _row(kind: str, line: Any, record: Any, in_dispute: Any) -> tuple[Any, ...]:
    missing = (None,) * 3
    recorded = missing if record is None else (record.segments, record.price_micros, record.amount_micros)
    billed = missing if line is None else (line.billed_segments, line.billed_price, line.billed_amount)
    msg_id, sent_ns = (line.msg_id, line.sent_ns) if record is None else (record.msg_id, record.started_ns)
    return str(kind), msg_id, sent_ns, *recorded, *billed, in_dispute


def summarize(
    discrepancies: pd.DataFrame, recorded: tuple[int, int | None], rounded: tuple[int, int], billed: tuple[int, int]
) -> pd.DataFrame:
    """Return one row for the records, for each kind of discrepancy, for the rounding and for the statement.

    Args:
        discrepancies: The result of ``find_discrepancies``.
        recorded: The number and the amount (millionths, None without prices) of the recorded messages.
        rounded: The number of the lines with a rounded amount, and the sum of their differences.
        billed: The number and the amount of the lines.
    """
    groups = discrepancies.groupby("kind")["in_dispute"]
    counts, amounts = groups.size(), groups.sum()
    kinds = [(kind, int(counts.get(kind, 0)), int(amounts.get(kind, 0))) for kind in _KINDS.categories]
    rows = [("records", *recorded), *kinds, (ROUNDED, *rounded), ("statement", *billed)]
    return pd.DataFrame(rows, columns=["part", "messages", "money"]).astype({"money": "Int64"})


@returns_result
def to_public(frame: pd.DataFrame, currency: str | None, timezone: str) -> pd.DataFrame:
    """Convert a frame of this module for users: names to categories, times to timestamps, millionths to decimals."""
    frame = frame.astype(
        {name: type_ for name, type_ in {"kind": _KINDS, "part": _SUMMARY_ROWS}.items() if name in frame}
    )
    if "sent_at" in frame:
        frame = frame.assign(sent_at=to_utc(frame["sent_at"]).dt.tz_convert(timezone))
    money = {name: to_money(frame[name]) for name in _MONEY if name in frame}
    return frame.assign(**money, currency=pd.Categorical([currency] * len(frame)))
