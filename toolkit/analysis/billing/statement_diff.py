"""Disputes: how the lines of a statement differ from the records of the same messages, and what is in dispute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import pandas as pd

from toolkit.analysis.billing.pricing import TEXT, to_money
from toolkit.analysis.timestamps import to_utc


class Discrepancy(StrEnum):
    """What a statement may have other than the records."""

    NOT_BILLED = "missing in the statement"
    NOT_RECORDED = "missing in the records"
    SEGMENTS = "different segments"
    PRICE = "different price"
    AMOUNT = "wrong amount"  # that isn't segments times price
    TWICE = "billed twice"


_MONEY = ("money", "price", "amount", "billed_price", "billed_amount", "in_dispute")
_COLUMNS = (
    *("kind", "msg_id", "sent_at", "segments", "price", "amount"),
    *("billed_segments", "billed_price", "billed_amount", "in_dispute"),
)
_TYPES: Any = {"msg_id": TEXT, "sent_at": "int64", **dict.fromkeys(_COLUMNS[3:], "Int64")}


def compare_lines(lines: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """Return how lines and records of the same messages differ, with times in ns and money in millionths.

    One row per discrepancy, in the order of time; columns: those of ``Reconciliation``, but for the currency.
    """
    billed: dict[str, list[Any]] = {}
    of_line: Any
    for of_line in lines.sort_values(_LINE_ORDER).itertuples(index=False):
        billed.setdefault(of_line.msg_id, []).append(of_line)
    latest_first: Any = records.sort_values("started_ns", ascending=False).itertuples(index=False)
    recorded = {it.msg_id: it for it in latest_first}
    ids = dict.fromkeys([*billed, *recorded])
    rows = [row for msg_id in ids for row in _compare(billed.get(msg_id, []), recorded.get(msg_id))]
    rows.sort(key=lambda row: (row[2], row[1], row[0]))
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_TYPES)


_LINE_ORDER = ["sent_ns", "billed_segments", "billed_price", "billed_amount"]


def _compare(lines: list[Any], record: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the discrepancies of a message: of its lines, in the order of time, and of its record, None without one."""
    if not lines:
        yield _row(Discrepancy.NOT_BILLED, None, record, -record.amount_micros)
        return
    line = lines[0] if record is None else min(lines, key=lambda it: _differs(it, record))
    if record is None:
        yield _row(Discrepancy.NOT_RECORDED, line, None, line.billed_amount)
    else:
        yield from _compare_fields(line, record)
    yield from (_row(Discrepancy.TWICE, it, record, it.billed_amount) for it in lines if it is not line)


def _differs(line: Any, record: Any) -> bool:
    return any(_compare_fields(line, record))


def _compare_fields(line: Any, record: Any) -> Iterator[tuple[Any, ...]]:
    """Yield how a line differs; what is in dispute of it adds up to its amount less the record's."""
    is_known = not pd.isna(record.segments)
    units = record.units if is_known else line.billed_units
    if is_known and line.billed_segments != record.segments:
        yield _row(Discrepancy.SEGMENTS, line, record, (line.billed_units - units) * line.billed_price)
    if not pd.isna(record.price_micros) and line.billed_price != record.price_micros:
        yield _row(Discrepancy.PRICE, line, record, (line.billed_price - record.price_micros) * units)
    if wrong := line.billed_amount - line.billed_price * line.billed_units:
        yield _row(Discrepancy.AMOUNT, line, record, wrong)


def _row(kind: Discrepancy, line: Any, record: Any, in_dispute: Any) -> tuple[Any, ...]:
    it = line if record is None else record
    said = (None,) * 3 if record is None else (record.segments, record.price_micros, record.amount_micros)
    billed = (None,) * 3 if line is None else (line.billed_segments, line.billed_price, line.billed_amount)
    return kind.value, it.msg_id, line.sent_ns if record is None else record.started_ns, *said, *billed, in_dispute


# What is shown.

_KINDS = pd.CategoricalDtype([kind.value for kind in Discrepancy], ordered=True)
_PARTS = pd.CategoricalDtype(["records", *_KINDS.categories, "statement"], ordered=True)


def sum_up(found: pd.DataFrame, known: tuple[int, int | None], billed: tuple[int, int]) -> pd.DataFrame:
    """Make the summary of messages and money: of the records, of each kind of discrepancy, of the statement."""
    kinds = found.groupby("kind")["in_dispute"]
    rows = [(kind, int(kinds.size().get(kind, 0)), int(kinds.sum().get(kind, 0))) for kind in _KINDS.categories]
    summary = pd.DataFrame([("records", *known), *rows, ("statement", *billed)], columns=["part", "messages", "money"])
    return summary.astype({"money": "Int64"})


def show(frame: pd.DataFrame, currency: str | None) -> pd.DataFrame:
    """Return a frame with its columns as they are shown: names as categories, times and money."""
    readers = {
        "kind": _in_order(_KINDS),
        "part": _in_order(_PARTS),
        "sent_at": to_utc,
        **dict.fromkeys(_MONEY, to_money),
    }
    shown = frame.assign(**{name: read(frame[name]) for name, read in readers.items() if name in frame})
    return shown.assign(currency=pd.Categorical([currency] * len(frame)))


def _in_order(dtype: pd.CategoricalDtype) -> Callable[[pd.Series], pd.Series]:
    return lambda names: names.astype(dtype)
