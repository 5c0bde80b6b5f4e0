"""Build the sections of cost, of the forecast and of the provider's statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from toolkit import number_format
from toolkit.analysis import Discrepancy, Reconciliation, cost, forecast, forecast_by_day, reconcile
from toolkit.api.wire import Endpoint
from toolkit.report import table_columns
from toolkit.report.inputs import ReportInputs
from toolkit.report.model import Figure, Part, Section, Table
from toolkit.report.table_columns import Column, Row, lacks

_DAY, _APP, _TEMPLATE, _CARRIER = "day", "app_key", "temp_id", "carrier"
_SUMS = ["sends", "accepted", "segments", "billed", "unpriced", "refused"]
_NULLABLE_SUMS = ["verified", "wasted", "resent", "money", "wasted_money", "resent_money"]
_MONEY = ["money", "wasted_money", "resent_money"]
_TOTALS = (
    table_columns.count("accepted", "messages accepted"),
    table_columns.count("segments"),
    table_columns.money("money", "cost"),
    table_columns.count("verified_users", "verified users"),
    table_columns.unit_price("money_per_verified_user", "cost per verified user"),
    table_columns.count("verified", "messages verified"),
    table_columns.share("conversion_ratio", "conversion"),
    table_columns.computed("wasted: never verified", lambda row: _with_money(row, "wasted"), is_number=True),
    table_columns.computed("resent within 5 minutes", lambda row: _with_money(row, "resent"), is_number=True),
    table_columns.count("refused", "refused or never sent: free"),
    table_columns.count("possibly_charged", "outcome unknown: possibly charged"),
    table_columns.count("unpriced", "segments without a price"),
)
_GROUP_COLUMNS = (
    table_columns.count("accepted", "messages"),
    table_columns.count("segments"),
    table_columns.money("money", "cost"),
    table_columns.share("conversion_ratio", "conversion"),
    table_columns.count("wasted"),
    table_columns.money("wasted_money", "wasted cost"),
    table_columns.count("resent"),
    table_columns.count("refused"),
)
_FORECAST = (
    table_columns.time("as_of", "as of"),
    table_columns.computed("to date", lambda row: table_columns.money_of(row, "money"), is_number=True),
    table_columns.computed("by the end of the month", lambda row: _interval(row), is_number=True),
    table_columns.computed(
        "messages by the end of the month",
        lambda row: f"{row['messages_forecast']:,} ({row['messages_low']:,} to {row['messages_high']:,})",
        is_number=True,
    ),
    table_columns.time("until", "end of the month"),
    table_columns.count("whole_days", "days it is based on"),
)
_NO_PRICE = "No price is known: add [[prices]] to smscode.toml, or pass a file: smscode report --prices FILE."


def build_cost(inputs: ReportInputs) -> Iterator[Section]:
    """Yield the cost in total and by day, template and carrier, and the forecast for the month."""
    if not (inputs.total.codes["endpoint"] == Endpoint.SEND.value).any():
        return
    zone = inputs.options.timezone
    total = cost(inputs.calls, inputs.prices, by=(), timezone=zone)
    groups = cost(inputs.calls, inputs.prices, timezone=zone)
    parts: list[Part] = [table_columns.pairs("cost", total, _TOTALS)]
    for by, title in (([_DAY], "By day"), ([_APP, _TEMPLATE], "By app and template"), ([_CARRIER], "By carrier")):
        if len(groups[by].drop_duplicates()) > 1:
            parts.append(_group_table(groups, by, title))
    if groups["money"].notna().any() and groups[_DAY].nunique() > 1:
        parts.append(Figure("cost", groups, "Cost by day", f"Days in {zone}."))
    notes = [*([] if inputs.prices.rows else [_NO_PRICE]), *_unknown_counts(total)]
    finding, is_unpriced = _cost_finding(total, groups[_DAY]), not inputs.prices.rows
    yield Section("cost", "Cost", " ".join(notes), parts, finding=finding, found_nothing=is_unpriced)
    if inputs.prices.rows and groups[_DAY].nunique() > 1:
        yield _forecast(inputs)


def build_statement(inputs: ReportInputs) -> Iterator[Section]:
    """Yield the differences between the provider's statement and the records."""
    if inputs.options.statement is None:
        return
    prices = inputs.prices if inputs.prices.rows else None
    found = reconcile(
        inputs.unfiltered or inputs.calls,
        inputs.options.statement,
        prices,
        columns=inputs.options.statement_columns or None,
        since=inputs.since,
        until=inputs.until,
        timezone=inputs.options.timezone,
        given=inputs.options.statement_format,
    )
    summary = [table_columns.text("part"), table_columns.count("messages"), table_columns.money("money")]
    each = [
        table_columns.text("kind"),
        table_columns.unit_price("in_dispute"),
        table_columns.unit_price("amount", "recorded"),
        table_columns.unit_price("billed_amount", "billed"),
        table_columns.computed("segments", _segments, is_number=True),
        table_columns.time("sent_at", "sent"),
        table_columns.text("msg_id", "message id"),
    ]
    note = f"{inputs.options.statement.name} against the records, message by message."
    is_complete = bool(found.summary["money"].notna().all())
    if not prices:
        note += f" {_NO_PRICE} Only messages and segments are compared."
    elif not is_complete:
        note += " A message has no known price, so the records have no total."
    parts: list[Part] = [
        table_columns.table("statement", found.summary, summary),
        *([Figure("reconcile", found.summary, "From the records to the statement")] if is_complete else []),
        table_columns.table("discrepancies", found.discrepancies, each, title="Messages in dispute"),
    ]
    yield Section("statement", "The provider's statement", note, parts, finding=_statement_finding(found))


def _group_table(groups: pd.DataFrame, by: Sequence[str], title: str) -> Table:
    """Return the table of costs by some columns. Verified users are left out: one may be in several groups."""
    found = groups.groupby(list(by), observed=True, dropna=False)
    sums = found[_SUMS].sum().join(found[_NULLABLE_SUMS].sum(min_count=1))
    sums[_MONEY] = sums[_MONEY].mask((sums["billed"] == 0) & (sums["unpriced"] > 0))
    accepted = sums["accepted"].where(sums["accepted"] > 0)
    sums["conversion_ratio"] = sums["verified"].astype("float64") / accepted
    frame = sums.assign(currency=groups["currency"].iloc[0]).reset_index()
    keys = {
        _DAY: table_columns.day(_DAY),
        _APP: table_columns.text(_APP, "app"),
        _TEMPLATE: table_columns.text(_TEMPLATE, "template"),
        _CARRIER: table_columns.text(_CARRIER),
    }
    columns: list[Column] = [*(keys[name] for name in by), *_GROUP_COLUMNS]
    return table_columns.table(f"cost_by_{'_and_'.join(by)}", frame, columns, title=title)


def _forecast(inputs: ReportInputs) -> Section:
    found = forecast(inputs.calls, inputs.prices, timezone=inputs.options.timezone)
    reason = str(found["reason"].iloc[0])
    if reason or found["money_forecast"].isna().any():
        return Section("forecast", "Forecast", f"No forecast: {reason or 'no message has a price'}.")
    (row,) = found.to_dict("records")
    by_day = forecast_by_day(inputs.calls, inputs.prices, timezone=inputs.options.timezone)
    figure = Figure("forecast", by_day, "Cost to date", "The rest of the month is forecast with a 95 % interval.")
    note = "In 95 of 100 months like the recorded ones, the cost is within the interval."
    note += (
        f" {number_format.plural(row['unpriced'], 'segment')} without a price are not included."
        if row["unpriced"]
        else ""
    )
    last_day = row["until"] - pd.Timedelta(hours=1)
    finding = (
        f"{_period(row['since'], row['as_of'])}: {table_columns.money_of(row, 'money')}."
        f" By the end of {last_day:%Y-%m-%d}: {_interval(row)}."
    )
    return Section(
        "forecast", "Forecast", note, [table_columns.pairs("forecast", found, _FORECAST), figure], finding=finding
    )


def _unknown_counts(total: pd.DataFrame) -> Iterator[str]:
    (row,) = total.to_dict("records")
    if lacks(row, "verified"):
        yield "The records of sends have no message ids, so it is unknown which messages were verified."
    if lacks(row, "resent"):
        yield "The records have no keys of mobiles, so users and resent messages are unknown."


def _cost_finding(total: pd.DataFrame, days: pd.Series) -> str:
    (row,) = total.to_dict("records")
    if lacks(row, "money") or not row["accepted"]:
        return ""
    period = _period(days.min(), days.max())
    finding = (
        f"{period}, {number_format.plural(row['accepted'], 'message')} cost {table_columns.money_of(row, 'money')}"
    )
    if row["unpriced"]:
        finding += f", not counting {number_format.plural(row['unpriced'], 'segment')} without a price"
    if lacks(row, "wasted_money"):
        return f"{finding}; how much of it was never verified is unknown."
    return f"{finding}; {table_columns.money_of(row, 'wasted_money')} of it was never verified."


def _period(first: pd.Timestamp, last: pd.Timestamp) -> str:
    """Return the days from a first to a last one as text."""
    days = [f"{day:%Y-%m-%d}" for day in (first, last)]
    return f"On {days[0]}" if days[0] == days[1] else f"From {days[0]} to {days[1]}"


def _statement_finding(found: Reconciliation) -> str:
    is_refund = found.discrepancies["kind"] == Discrepancy.REFUNDED.value
    disputes, refunds = found.discrepancies[~is_refund], found.discrepancies[is_refund]
    refunded = f" {number_format.plural(len(refunds), 'line')} of it are refunds." if len(refunds) else ""
    if disputes.empty:
        return f"The statement matches the records.{refunded}"
    disputed = disputes["in_dispute"].sum()
    money = number_format.money(abs(disputed), str(found.summary["currency"].iloc[0]))
    messages = number_format.plural(len(disputes), "message")
    return f"{messages} in dispute: {money} too {'much' if disputed >= 0 else 'little'} was billed.{refunded}"


def _with_money(row: Row, name: str) -> str:
    if lacks(row, name):
        return number_format.MISSING
    count = f"{row[name]:,}"
    money = table_columns.money_of(row, f"{name}_money")
    return count if money == number_format.MISSING or lacks(row, "money") else f"{count} ({money})"


def _segments(row: Row) -> str:
    recorded, billed = (
        number_format.MISSING if lacks(row, name) else str(row[name]) for name in ("segments", "billed_segments")
    )
    return recorded if recorded == billed else f"{recorded}, billed {billed}"


def _interval(row: Row) -> str:
    names, currency = ("money_forecast", "money_low", "money_high"), str(row["currency"] or "")
    middle, low, high = (number_format.amount_text(row[name], currency) for name in names)
    return f"{middle} {currency} ({low} to {high})"
