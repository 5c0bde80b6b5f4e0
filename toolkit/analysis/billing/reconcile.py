"""Reconcile a provider's statement with the records, message by message.

Statement and records may have many millions of rows, but few differ. The engine therefore finds the differing
messages first, and only their lines and records are fetched and compared one by one.

How the engine finds them: each line and each record becomes one row of integers, and the rows are summed by message.
Columns of records are negative, so that equal values cancel out. A message is in order if the sums are 1 line, 1 record
and 0 for segments and price:

    msg_id    billed   recorded   segments   price
    a  line   1        0          2          45000
    a  record 0        1          -2         -45000
    a  sum    1        1          0          0          in order
    b  line   1        0          1          45000
    b  record 0        1          -2         -45000
    b  sum    1        1          -1         0          different segments

An unknown value of a record is replaced by a number far below all real sums, so that the sum shows that it is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import pandas as pd

from toolkit.analysis.billing.pricing import add_prices, as_number, needs_carrier, select_sends
from toolkit.analysis.billing.statement import Statement, open_statement
from toolkit.analysis.billing.statement_diff import find_discrepancies, summarize, to_public
from toolkit.analysis.billing.statement_file import StatementFormat
from toolkit.analysis.calls_table import IS_SUCCESS, IntoCalls, LazyTable, collect, lazy_messages
from toolkit.analysis.carriers import locate
from toolkit.analysis.native_ops import to_engine
from toolkit.analysis.timestamps import NS_PER_DAY, parse_time_ns
from toolkit.api.errors import InputError
from toolkit.price_list import PriceList, Unit
from toolkit.time_zone import UTC

_HALF_A_CENT = 5_000  # millionths
_ROUNDED = (nw.len().alias("lines"), nw.col("rounded_micros").sum())
_UNKNOWN_SEGMENTS, _UNKNOWN_PRICE = 10**6, 10**15  # far beyond all real values


@dataclass(frozen=True, slots=True, eq=False)
class Reconciliation:
    """The result of ``reconcile``.

    Attributes:
        discrepancies: One row per discrepancy in the order of ``sent_at``, with these columns:

            - kind (category): a ``Discrepancy``
            - msg_id (string)
            - sent_at (datetime64[ns, timezone]): of the record, or of the line if there is no record
            - segments (Int64), price, amount (float64): by records and price list, null if unknown
            - billed_segments (Int64), billed_price, billed_amount (float64): by the line, null without a line
            - in_dispute (float64): positive if the provider bills too much, null if unknown
            - currency (category)

        summary: From the records to the statement: one row for the records, for each kind of discrepancy and for the
            statement, with these columns:

            - part (category): "records", a ``Discrepancy``, "rounding to cents" or "statement"
            - messages (int64): messages, or lines of the statement
            - money (float64): for a discrepancy, the amount in dispute; for the records, null if a message has no known
              price
            - currency (category)
    """

    discrepancies: pd.DataFrame
    summary: pd.DataFrame


def reconcile(
    calls: IntoCalls,
    statement: Any,
    prices: PriceList | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    since: str | pd.Timestamp | None = None,
    until: str | pd.Timestamp | None = None,
    timezone: str = UTC,
    given: StatementFormat | None = None,
    max_discrepancies: int = 1_000_000,
) -> Reconciliation:
    """Compare a provider's statement with the accepted sends, by msg_id.

    A line without a record may be a send whose response never arrived; ``cost`` counts such sends in
    ``possibly_charged``.

    Args:
        calls: Calls with ``msg_id``.
        statement: The path of a CSV or XLSX file, or a frame. Columns: msg_id, sent_at, segments, price, amount and
            currency; a file may have other usual names. Times without an offset are in ``timezone``. Amounts are read
            to the millionth. If none has more than two decimal places, a difference of rounding is not a discrepancy.
        prices: The price list; without it, prices are not compared. Segments that neither the record nor the template
            knows are not compared either; they count as 1 if the message is missing in the statement.
        columns: Other names of the columns, such as ``{"msg_id": "MessageId"}``.
        since: The start of the billing period, in which every recorded message must have a line. Default: the start of
            the month of most lines.
        until: The end of the billing period. Default: the end of the same month.
        given: The form of the file: delimiter, encoding, decimal sign, currency. Default: as the file shows it.
        timezone: The time zone of the statement, of months and of the prices' first days, e.g. Asia/Shanghai.
        max_discrepancies: The number of differing messages that are compared one by one in memory. A larger number
            means that the statement is of another app or another month.

    Returns:
        The discrepancies and a summary.

    Raises:
        InputError: A line can't be read, the statement has two currencies or another one than the price list, or more
            than ``max_discrepancies`` messages differ.

    >>> reconcile(calls, "statement-2026-11.csv", prices).summary  # doctest: +SKIP
    """
    table, prices = lazy_messages(calls, "return_code", "msg_id"), prices or PriceList()
    with open_statement(statement, columns, table, timezone, given or StatementFormat()) as bill:
        if prices.currency and bill.currency and prices.currency != bill.currency:
            raise InputError(
                f"the statement is in {bill.currency}, but the prices are in {prices.currency}: give prices in"
                f" {bill.currency}"
            )
        period_ns = _billing_period(bill, since, until, timezone)
        records = _select_records(select_sends(table, timezone), bill, period_ns, prices)
        billed_units = nw.lit(1, nw.Int64) if prices.unit is Unit.SEND else nw.col("billed_segments")
        tolerance = _HALF_A_CENT if bill.is_rounded else 0
        every_line = bill.lines.with_columns(billed_units=billed_units).with_columns(
            rounded_micros=nw.col("billed_amount") - nw.col("billed_price") * nw.col("billed_units")
        )
        is_right = (nw.col("rounded_micros").abs() <= tolerance) & (nw.col("billed_amount") >= 0)
        every_line = every_line.with_columns(is_right=as_number(is_right))
        lines, differing = _select_differing(every_line, records, max_discrepancies)
        in_order = collect(every_line.filter(nw.col("is_right") == 1, nw.col("rounded_micros") != 0).select(_ROUNDED))
        money = nw.col("amount_micros")
        in_period = records.filter(nw.col("in_period") == 1).with_columns(unpriced=as_number(money.is_null()))
        sums = in_period.select(messages=nw.len(), money=money.sum(), unpriced=nw.col("unpriced").sum())
        recorded = collect(sums).fillna(0).iloc[0]
    currency = bill.currency or prices.currency
    discrepancies, compared = find_discrepancies(lines, differing, tolerance)
    separate = lines[(lines["is_right"] == 1) & (lines["rounded_micros"] != 0)]["rounded_micros"]
    count, micros = (int(it) for it in in_order.fillna(0).iloc[0])
    rounded = (count - len(separate) + compared[0], micros - int(separate.sum()) + compared[1])
    amount = int(recorded["money"]) if prices.rows and not recorded["unpriced"] else None
    summary = summarize(discrepancies, (int(recorded["messages"]), amount), rounded, (bill.count, bill.amount))
    return Reconciliation(to_public(discrepancies, currency, timezone), to_public(summary, currency, timezone))


def _billing_period(
    bill: Statement, since: str | pd.Timestamp | None, until: str | pd.Timestamp | None, timezone: str
) -> tuple[int, int]:
    if bill.month is None and (since is None or until is None):
        raise InputError("the statement has no lines: give its period with since and until")
    month = pd.Timestamp(bill.month or "1970-01")
    next_month = month + pd.DateOffset(months=1)
    start, end = month if since is None else since, next_month if until is None else until
    return parse_time_ns(start, timezone), parse_time_ns(end, timezone)


def _select_records(sends: LazyTable, bill: Statement, period_ns: tuple[int, int], prices: PriceList) -> LazyTable:
    """Return the accepted sends that may have a line, with their prices; ``in_period`` is 1 in the billing period.

    They start up to a day before the first line or after the last line, because the provider's clock may differ.
    """
    started, (start, end) = nw.col("started_ns"), period_ns
    first = min(start, start if bill.first_ns is None else bill.first_ns) - NS_PER_DAY
    last = max(end, end if bill.last_ns is None else bill.last_ns) + NS_PER_DAY
    sends = sends.filter(IS_SUCCESS, ~nw.col("msg_id").is_null(), started >= first, started < last)
    if needs_carrier(prices):
        sends = locate(sends, "carrier")
    in_period = as_number((started >= start) & (started < end))
    columns = ["msg_id", "started_ns", "in_period", "segments", "units", "price_micros", "amount_micros"]
    priced = add_prices(sends, prices)
    return priced.with_columns(nw.col("msg_id").cast(nw.String), in_period=in_period).select(columns)


def _select_differing(
    lines: LazyTable, records: LazyTable, max_discrepancies: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the lines and the records of the messages that differ; raise InputError if these are too many."""
    zero = nw.lit(0, nw.Int64)
    line_rows = lines.select(
        "msg_id",
        billed=2 - nw.col("is_right"),  # a line with a wrong amount and a refund count as 2, so that they differ
        recorded=zero,
        in_period=zero,
        segments=nw.col("billed_segments"),
        price=nw.col("billed_price"),
    )
    record_rows = records.select(
        "msg_id",
        billed=zero,
        recorded=nw.lit(1, nw.Int64),
        in_period=nw.col("in_period"),
        segments=-nw.col("segments").fill_null(_UNKNOWN_SEGMENTS),
        price=-nw.col("price_micros").fill_null(_UNKNOWN_PRICE),
    )
    summed = nw.col("billed", "recorded", "in_period", "segments", "price").sum()
    sums = nw.concat([line_rows, record_rows]).group_by("msg_id").agg(summed)
    segments, price = nw.col("segments"), nw.col("price")
    is_billed_once = (nw.col("billed") == 1) & (nw.col("recorded") == 1)
    same_segments = (segments == 0) | (segments < -_UNKNOWN_SEGMENTS // 2)
    same_price = (price == 0) | (price < -_UNKNOWN_PRICE // 2)
    is_of_other_period = (nw.col("billed") == 0) & (nw.col("in_period") == 0)
    in_order = (is_billed_once & same_segments & same_price) | is_of_other_period
    ids = collect(sums.filter(~in_order).select("msg_id").head(max_discrepancies + 1))
    if len(ids) > max_discrepancies:
        raise InputError(
            f"more than {max_discrepancies:,} messages differ: the statement seems to be of another app or period"
        )
    differing = to_engine(ids, lines)
    return (
        collect(lines.join(differing, on="msg_id", how="semi")),
        collect(records.join(differing, on="msg_id", how="semi")),
    )
