"""What messages cost, what they will have cost, and whether the provider asks for as much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import pandas as pd

from toolkit import number_format
from toolkit.analysis import Reconciliation, cost, forecast, forecast_by_day, reconcile
from toolkit.api.wire import Endpoint
from toolkit.report import table_columns
from toolkit.report.inputs import Subject
from toolkit.report.model import Figure, Part, Section, Table
from toolkit.report.table_columns import Column, Row, lacks

_DAY, _APP, _TEMPLATE, _CARRIER = "day", "app_key", "temp_id", "carrier"
_SUMS = ["sends", "accepted", "segments", "billed", "unpriced", "verified", "wasted", "resent", "refused"]
_MONEY = ["money", "wasted_money", "resent_money"]
_TOTALS = (
    table_columns.count("accepted", "messages accepted"),
    table_columns.count("segments"),
    table_columns.money("money", "cost"),
    table_columns.count("verified_users", "verified users"),
    table_columns.money("money_per_verified_user", "cost per verified user"),
    table_columns.count("verified", "messages with a right code"),
    table_columns.share("conversion"),
    table_columns.made("wasted: no right code", lambda row: _with_money(row, "wasted"), is_number=True),
    table_columns.made("resent within 5 minutes", lambda row: _with_money(row, "resent"), is_number=True),
    table_columns.count("refused", "refused or never sent, free"),
    table_columns.count("possibly_charged", "outcome unknown, possibly charged"),
    table_columns.count("unpriced", "segments without a price"),
)
_OF_A_GROUP = (
    table_columns.count("accepted", "messages"),
    table_columns.count("segments"),
    table_columns.money("money", "cost"),
    table_columns.share("conversion"),
    table_columns.count("wasted"),
    table_columns.money("wasted_money", "wasted cost"),
    table_columns.count("resent"),
    table_columns.count("refused"),
)
_FORECAST = (
    table_columns.when("as_of", "as of"),
    table_columns.made("to date", lambda row: table_columns.sum_of(row, "money"), is_number=True),
    table_columns.made("by the end", lambda row: _span(row), is_number=True),
    table_columns.made("messages by the end", lambda row: _messages(row), is_number=True),
    table_columns.when("until", "the end"),
    table_columns.count("whole_days", "days that it stands on"),
)
_NO_PRICE = "No price is known: write [[prices]] in smscode.toml, or name a file of them with smscode report --prices."


def tell_cost(subject: Subject) -> Iterator[Section]:
    """Tell what was sent and what it cost, in all and by day, template and carrier, and what the month will cost."""
    if not (subject.codes["endpoint"] == Endpoint.SEND.value).any():
        return
    total = cost(subject.calls, subject.prices, by=())
    groups = cost(subject.calls, subject.prices)
    parts: list[Part] = [table_columns.pairs("cost", total, _TOTALS)]
    parts += [_group(groups, by, title) for by, title in _groupings(groups)]
    if groups["money"].notna().any() and groups[_DAY].nunique() > 1:
        parts.append(Figure("cost", groups, "Cost by day", "UTC days."))
    yield Section("cost", "Cost", "" if subject.prices.rows else _NO_PRICE, parts, finding=_spent(total))
    if subject.prices.rows and groups[_DAY].nunique() > 1:
        yield _forecast(subject)


def tell_statement(subject: Subject) -> Iterator[Section]:
    """Tell how the provider's statement differs from the records."""
    if subject.asked.statement is None:
        return
    prices = subject.prices if subject.prices.rows else None
    found = reconcile(
        subject.calls,
        subject.asked.statement,
        prices,
        columns=subject.asked.statement_columns or None,
    )
    summary = [table_columns.text("part"), table_columns.count("messages"), table_columns.money("money")]
    each = [
        table_columns.text("kind"),
        table_columns.money("in_dispute"),
        table_columns.money("amount", "recorded"),
        table_columns.money("billed_amount", "billed"),
        table_columns.made("segments", _segments, is_number=True),
        table_columns.when("sent_at", "sent"),
        table_columns.text("msg_id", "message id"),
    ]
    note = f"{subject.asked.statement.name} against the records, message by message."
    note += "" if prices else f" {_NO_PRICE} Only messages and segments are compared."
    parts: list[Part] = [
        table_columns.table("statement", found.summary, summary),
        *([Figure("reconcile", found.summary, "From the records to the statement")] if prices else []),
        table_columns.table("discrepancies", found.discrepancies, each, title="Messages in dispute"),
    ]
    yield Section("statement", "The provider's statement", note, parts, finding=_dispute(found))


def _groupings(groups: pd.DataFrame) -> Iterator[tuple[list[str], str]]:
    """Yield by what costs are told, and under which title: by what there is more than one of."""
    many = [[_DAY], [_APP, _TEMPLATE], [_CARRIER]]
    for by, title in zip(many, ("By day", "By app and template", "By carrier"), strict=True):
        if len(groups[by].drop_duplicates()) > 1:
            yield by, title


def _group(groups: pd.DataFrame, by: Sequence[str], title: str) -> Table:
    keys = {
        _DAY: table_columns.day(_DAY),
        _APP: table_columns.text(_APP, "app"),
        _TEMPLATE: table_columns.text(_TEMPLATE, "template"),
        _CARRIER: table_columns.text(_CARRIER),
    }
    shown: list[Column] = [*(keys[name] for name in by), *_OF_A_GROUP]
    return table_columns.table(f"cost_by_{'_and_'.join(by)}", _sum(groups, by), shown, title=title)


def _sum(groups: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Add up what ``cost`` gives in groups; users, who may be in several of them, are left out."""
    found = groups.groupby(list(by), observed=True, dropna=False)
    sums = found[_SUMS].sum().join(found[_MONEY].sum(min_count=1))
    sums[_MONEY] = sums[_MONEY].mask((sums["billed"] == 0) & (sums["unpriced"] > 0))
    sums["conversion"] = sums["verified"] / sums["accepted"].where(sums["accepted"] > 0)
    return sums.assign(currency=groups["currency"].iloc[0]).reset_index()


def _forecast(subject: Subject) -> Section:
    found = forecast(subject.calls, subject.prices)
    reason = str(found["reason"].iloc[0])
    if reason or found["money_forecast"].isna().any():
        return Section("forecast", "Forecast", f"There is none: {reason or 'nothing sent has a price'}.")
    (row,) = found.to_dict("records")
    by_day = forecast_by_day(subject.calls, subject.prices)
    figure = Figure("forecast", by_day, "Cost to date", "With what is to come by weekdays, and its 95 % interval.")
    note = "The interval holds the sum in 95 of 100 months like those behind."
    note += (
        f" {number_format.plural(row['unpriced'], 'segment')} without a price are in no sum." if row["unpriced"] else ""
    )
    finding = f"By {row['until']:%Y-%m-%d} it will have cost {_span(row)}."
    return Section(
        "forecast", "Forecast", note, [table_columns.pairs("forecast", found, _FORECAST), figure], finding=finding
    )


def _spent(total: pd.DataFrame) -> str:
    (row,) = total.to_dict("records")
    if lacks(row, "money"):
        return ""
    told = f"{row['accepted']:,} messages cost {table_columns.sum_of(row, 'money')}"
    if row["unpriced"]:
        told += f", without {number_format.plural(row['unpriced'], 'segment')} that no price is known of"
    return f"{told}; {table_columns.sum_of(row, 'wasted_money')} of it verified nobody."


def _dispute(found: Reconciliation) -> str:
    many = len(found.discrepancies)
    if not many:
        return "It is what the records say."
    disputed = sum(map(Decimal, found.discrepancies["in_dispute"].dropna().astype(str)), Decimal(0))
    money = number_format.money(abs(disputed), str(found.summary["currency"].iloc[0]))
    return f"{number_format.plural(many, 'message')} in dispute: {money} too {'much' if disputed >= 0 else 'little'}."


def _with_money(row: Row, name: str) -> str:
    count = f"{row[name]:,}"
    money = table_columns.sum_of(row, f"{name}_money")
    return count if money == number_format.MISSING or lacks(row, "money") else f"{count} ({money})"


def _segments(row: Row) -> str:
    recorded, billed = (
        number_format.MISSING if lacks(row, name) else str(row[name]) for name in ("segments", "billed_segments")
    )
    return recorded if recorded == billed else f"{recorded}, billed {billed}"


def _span(row: Row) -> str:
    middle, low, high = (f"{row[name]:,.2f}" for name in ("money_forecast", "money_low", "money_high"))
    return f"{middle} {row['currency']} ({low} to {high})"


def _messages(row: Row) -> str:
    return f"{row['messages_forecast']:,} ({row['messages_low']:,} to {row['messages_high']:,})"
