"""Reconciling: where a provider's statement and the records differ, message by message, and what is in dispute.

The engine finds the messages that differ at all; of these alone lines and records are fetched, and compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import pandas as pd

from toolkit.analysis.billing.cost import as_number, sends_of
from toolkit.analysis.billing.pricing import DAY_NS, needs_carrier, price
from toolkit.analysis.billing.statement import Statement, open_statement
from toolkit.analysis.billing.statement_diff import compare_lines, show, sum_up
from toolkit.analysis.calls_table import IS_SUCCESS, IntoCalls, LazyTable, collect, lazy
from toolkit.analysis.carriers import locate
from toolkit.analysis.native_ops import to_engine
from toolkit.analysis.timestamps import parse_time_ns
from toolkit.api.errors import InputError
from toolkit.price_list import Prices, Unit

MOST_DISCREPANCIES = 1_000_000  # beyond, it is another app's statement, or another month's


@dataclass(frozen=True, slots=True, eq=False)
class Reconciliation:
    """What came of it.

    discrepancies: one row per discrepancy, in the order of sent_at; columns: kind (category); msg_id (string); sent_at
    (of the record, or else of the line, UTC, datetime64[ns, UTC]); segments, price, amount (what the records and the
    prices say, Int64, decimal, decimal, null where unknown); billed_segments, billed_price, billed_amount (what the
    line says, null without one); in_dispute (decimal, positive where the provider asks too much, null where nobody
    knows); currency (category).

    summary: from what the records say to what the statement does; one row for the records, each kind and the statement;
    columns: part (category), messages (the lines, of the statement, int64), money (decimal, in dispute for a kind, of
    those that have a price for the records, null for them without prices), currency (category).
    """

    discrepancies: pd.DataFrame
    summary: pd.DataFrame


def reconcile(
    calls: IntoCalls,
    statement: Any,
    prices: Prices | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    since: str | pd.Timestamp | None = None,
    until: str | pd.Timestamp | None = None,
) -> Reconciliation:
    """Compare the provider's statement, a path to CSV or a frame, with the accepted sends, by msg_id.

    The statement's header is ``msg_id,sent_at,segments,price,amount,currency``; ``columns`` says what it calls them
    otherwise, as ``{"msg_id": "MessageId"}``. Times are in UTC where they don't say; money is read to the millionth.
    The period, for what is missing in it, is the UTC month of most lines, unless ``since`` and ``until`` say. Without
    ``prices`` the statement's are taken; segments that neither a record nor a template knows aren't compared, and count
    as 1 where one is missing. A line without a record may be a send whose answer never arrived: ``cost`` counts those.

    Raise InputError for a statement of which a line can't be read, in two currencies or in another one than the prices,
    or with which more than a million messages differ.
    """
    table, prices = lazy(calls, "msg_id"), prices or Prices()
    with open_statement(statement, columns, table) as bill:
        if prices.currency and bill.currency and prices.currency != bill.currency:
            raise InputError(f"the statement is in {bill.currency} and the prices are in {prices.currency}")
        period_ns = _period_of(bill, since, until)
        records = _records_of(table, bill, period_ns, prices)
        lines, found = _pick_differing(_with_units(bill.lines, prices), records)
        counted = records.filter(nw.col("counted") == 1).with_columns(money=nw.col("amount_micros").fill_null(0))
        known = collect(counted.select(messages=nw.len(), money=nw.col("money").sum())).fillna(0).iloc[0]
    currency, found_rows = bill.currency or prices.currency, compare_lines(lines, found)
    recorded = int(known["money"]) if prices.rows else None
    summary = sum_up(found_rows, (int(known["messages"]), recorded), (bill.count, bill.amount))
    return Reconciliation(show(found_rows, currency), show(summary, currency))


def _period_of(bill: Statement, since: str | pd.Timestamp | None, until: str | pd.Timestamp | None) -> tuple[int, int]:
    if bill.month is None and (since is None or until is None):
        raise InputError("the statement has no lines: say with since and until of which period it is")
    month = pd.Timestamp(bill.month or "1970-01")
    next_month = month + pd.DateOffset(months=1)
    return parse_time_ns(month if since is None else since), parse_time_ns(next_month if until is None else until)


def _records_of(table: LazyTable, bill: Statement, period_ns: tuple[int, int], prices: Prices) -> LazyTable:
    """Return the accepted sends that a line may be of, with what they cost; counted is 1 for those of the period."""
    started, (start, end) = nw.col("started_ns"), period_ns
    first = min(start, start if bill.first_ns is None else bill.first_ns) - DAY_NS
    last = max(end, end if bill.last_ns is None else bill.last_ns) + DAY_NS
    sends = sends_of(table).filter(IS_SUCCESS, ~nw.col("msg_id").is_null(), started >= first, started < last)
    if needs_carrier(prices):
        sends = locate(sends, "carrier")
    counted = as_number((started >= start) & (started < end))
    wanted = ["msg_id", "started_ns", "counted", "segments", "units", "price_micros", "amount_micros"]
    return price(sends, prices).with_columns(nw.col("msg_id").cast(nw.String), counted=counted).select(wanted)


def _with_units(lines: LazyTable, prices: Prices) -> LazyTable:
    units = nw.lit(1, nw.Int64) if prices.unit is Unit.SEND else nw.col("billed_segments")
    return lines.with_columns(billed_units=units)


# In the engine: which messages differ at all.

_UNKNOWN_SEGMENTS, _UNKNOWN_PRICE = 10**6, 10**15  # far more than there can be


def _pick_differing(lines: LazyTable, records: LazyTable) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the lines and the records of the messages that differ."""
    tally = nw.concat([_tally_lines(lines), _tally_records(records)])
    sums = tally.group_by("msg_id").agg(nw.col("billed", "recorded", "counted", "segments", "price").sum())
    ids = collect(sums.filter(~_is_fine()).select("msg_id").head(MOST_DISCREPANCIES + 1))
    if len(ids) > MOST_DISCREPANCIES:
        many = f"more than {MOST_DISCREPANCIES:,} messages differ"
        raise InputError(f"{many}: the statement seems to be of another app or period than the calls")
    placed = to_engine(ids, lines)
    return collect(lines.join(placed, on="msg_id", how="semi")), collect(records.join(placed, on="msg_id", how="semi"))


def _tally_lines(lines: LazyTable) -> LazyTable:
    is_right = nw.col("billed_amount") == nw.col("billed_price") * nw.col("billed_units")
    return lines.select(
        "msg_id",
        billed=2 - as_number(is_right),  # a wrong amount counts twice, so that it isn't fine
        recorded=nw.lit(0, nw.Int64),
        counted=nw.lit(0, nw.Int64),
        segments=nw.col("billed_segments"),
        price=nw.col("billed_price"),
    )


def _tally_records(records: LazyTable) -> LazyTable:
    return records.select(
        "msg_id",
        billed=nw.lit(0, nw.Int64),
        recorded=nw.lit(1, nw.Int64),
        counted=nw.col("counted"),
        segments=-nw.col("segments").fill_null(_UNKNOWN_SEGMENTS),
        price=-nw.col("price_micros").fill_null(_UNKNOWN_PRICE),
    )


def _is_fine() -> nw.Expr:
    """Tell of the sums of a message whether a line and a record say the same, or it is none of the period."""
    segments, price = nw.col("segments"), nw.col("price")
    is_one = (nw.col("billed") == 1) & (nw.col("recorded") == 1)
    has_segments = (segments == 0) | (segments < -_UNKNOWN_SEGMENTS // 2)
    has_price = (price == 0) | (price < -_UNKNOWN_PRICE // 2)
    return (is_one & has_segments & has_price) | ((nw.col("billed") == 0) & (nw.col("counted") == 0))
