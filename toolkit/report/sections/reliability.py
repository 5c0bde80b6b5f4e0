"""Build the sections of errors, of the error budget and of suspected abuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from toolkit import number_format
from toolkit.analysis import burn_rates, error_budget, errors, guessers, suspects
from toolkit.analysis.reliability.errors import Payer
from toolkit.analysis.timestamps import round_width_s
from toolkit.api.wire import Endpoint
from toolkit.outcome_colours import CODE_UNKNOWN
from toolkit.records.call_record import short_key
from toolkit.report import result_tables, table_columns
from toolkit.report.inputs import ReportInputs
from toolkit.report.model import Figure, Part, Section
from toolkit.report.table_columns import Row

_ERRORS = (
    table_columns.text("endpoint"),
    table_columns.computed("outcome", lambda row: _outcome(row)),
    table_columns.computed("kind", lambda row: result_tables.badge(result_tables.kind_of(row))),
    table_columns.text("payer", "error budget"),
    table_columns.count("calls"),
    table_columns.share("calls_ratio", "share"),
    table_columns.count("mobiles"),
    table_columns.computed(
        f"busiest {table_columns.ZONE}",
        lambda row: f"{number_format.timestamp(row['busiest'])}: {row['busiest_calls']:,}",
    ),
    table_columns.time("first_seen", "first"),
    table_columns.time("last_seen", "last"),
    table_columns.text("example_request_ids", "example request ids"),
)
_BUDGET = (
    table_columns.time("since"),
    table_columns.time("until"),
    table_columns.count("calls"),
    table_columns.computed(
        "bad calls", lambda row: f"{row['bad']:,} (server {row['server']:,}, transport {row['transport']:,})"
    ),
    table_columns.count("unknown", "calls of unknown kind"),
    table_columns.number("allowed", "allowed bad calls"),
    table_columns.share("spent_ratio", "budget spent"),
)
_BURN = (
    table_columns.text("action"),
    table_columns.computed(
        "windows", lambda row: f"{number_format.duration(row['long_s'])} and {number_format.duration(row['short_s'])}"
    ),
    table_columns.number("threshold"),
    table_columns.number("burn_long", "burn rate now, long window"),
    table_columns.number("burn_short", "burn rate now, short window"),
    table_columns.number("worst_burn", "worst burn rate"),
    table_columns.time("worst_at", "worst at"),
    table_columns.time("first_fired", "first alert"),
    table_columns.duration("firing_s", "alert lasted"),
    table_columns.text("note", is_optional=True),
)
_SUSPECTS = (
    table_columns.text("prefix"),
    table_columns.number("score", "score of 100"),
    table_columns.count("sends"),
    table_columns.money("money", "cost of its messages"),
    table_columns.share("conversion_ratio", "conversion"),
    table_columns.share("conversion_ratio_elsewhere", "conversion of other prefixes"),
    table_columns.time("peak_at", "worst hour"),
    table_columns.count("peak_sends", "sends in the worst hour"),
    table_columns.number("conversion_score", "conversion score, of 40"),
    table_columns.number("burst_score", "burst score, of 30"),
    table_columns.number("runs_score", "consecutive numbers score, of 30"),
)
_GUESSERS = (
    table_columns.computed("mobile", lambda row: f"{row['prefix']}****"),
    table_columns.computed("key", lambda row: short_key(row["mobile_key"])),
    table_columns.money("money", "cost of its messages"),
    table_columns.count("failed", "failed attempts"),
    table_columns.count("messages"),
    table_columns.count("refused"),
    table_columns.count("got_in", "succeeded after guessing"),
    table_columns.count("most_per_minute", "most per minute"),
    table_columns.time("first_seen", "first"),
    table_columns.time("last_seen", "last"),
)


def build_errors(inputs: ReportInputs) -> Iterator[Section]:
    """Yield the errors with their time, payer and examples."""
    if inputs.total.codes.empty:
        return
    every_s = min(round_width_s(inputs.total.duration_s), 3_600)
    found = inputs.local(errors(inputs.calls, f"{every_s}s", inputs.options.timezone))
    if found.empty:
        yield Section("errors", "Errors", "Every call returned success.", found_nothing=True)
        return
    note = (
        "Every outcome except success. Mistakes of people and cancelled calls are charged to no error budget."
        f" The busiest time is the {number_format.duration(every_s)} with the most errors."
    )
    figure = Figure("errors", table_columns.masked(found), "Errors over time")
    provider = found.loc[found["payer"] == Payer.PROVIDER, "calls"].sum()
    failed = (
        number_format.share(provider / inputs.total.codes["calls"].sum()) + " of all calls" if provider else "No call"
    )
    finding = f"{failed} failed in the service or on the network"
    if unknown := found.loc[found["payer"] == Payer.UNKNOWN, "calls"].sum():
        ratio = number_format.share(unknown / inputs.total.codes["calls"].sum())
        finding += f", and {ratio} ended with a return code of unknown kind"
    table = table_columns.table("errors", found, _ERRORS, is_grouped=True)
    yield Section("errors", "Errors", note, [figure, table], finding=f"{finding}.")


def build_budget(inputs: ReportInputs) -> Iterator[Section]:
    """Yield the spent share of the error budget, and its burn rates."""
    slo = inputs.options.slo
    if slo is None or inputs.total.codes.empty:
        return
    budget, burns = (inputs.local(it(inputs.calls, slo)) for it in (error_budget, burn_rates))
    note = f"Objective: in any 30 days, {slo} of calls don't fail in the service or on the network."
    parts: list[Part] = [
        table_columns.pairs("error_budget", budget, _BUDGET),
        table_columns.table("burn_rates", burns, _BURN, note="A burn rate of 1 spends the budget in exactly 30 days."),
        Figure("burn_rates", burns, "Burn rates"),
    ]
    (row,) = budget.to_dict("records")
    spent = number_format.share(row["spent_ratio"])
    allowed = number_format.short_number(row["allowed"])
    finding = f"{row['bad']:,} calls failed and {slo} allows {allowed}: {spent} of the budget is spent"
    if row["unknown"]:
        highest = number_format.share(row["spent_ratio_high"])
        finding += f", or up to {highest} with {number_format.plural(row['unknown'], 'call')} of unknown kind"
    yield Section("budget", "Error budget", note, parts, finding=f"{finding}.")


def build_suspects(inputs: ReportInputs) -> Iterator[Section]:
    """Yield the prefixes that look like SMS pumping, and the mobiles whose codes were guessed."""
    if not (inputs.total.codes["endpoint"] == Endpoint.SEND.value).any():
        return
    priced: dict[str, Any] = {"prices": inputs.prices, "timezone": inputs.options.timezone}
    pumped, guessed = (inputs.local(it(inputs.calls, **priced)) for it in (suspects, guessers))
    guessed = guessed[guessed["flagged"]]
    notes: list[str] = []
    parts: list[Part] = []
    if pumped.empty:
        notes.append("No prefix looks like SMS pumping.")
    else:
        parts.append(table_columns.table("pumped", pumped, _SUSPECTS, title="Prefixes that look like SMS pumping"))
        parts.append(Figure("suspects", pumped, "Parts of the score"))
    if guessed.empty:
        notes.append("No mobile's codes look guessed.")
    else:
        parts.append(
            table_columns.table(
                *("guessed", guessed, _GUESSERS),
                title="Mobiles whose codes look guessed",
                note="smscode mobile-key prints the key of a mobile for the holder of the app's secret.",
            )
        )
    if parts and not inputs.prices.rows:
        notes.append("The cost of their messages is unknown: no price is known.")
    prefixes, mobiles = number_format.plural(len(pumped), "prefix", "es"), number_format.plural(len(guessed), "mobile")
    finding = (
        f"Suspected SMS pumping: {prefixes}{_cost(pumped)}. Suspected guessing: {mobiles}{_cost(guessed)}."
        if parts
        else ""
    )
    yield Section("suspects", "Suspected abuse", " ".join(notes), parts, finding=finding, found_nothing=not parts)


def _cost(found: pd.DataFrame) -> str:
    if found["money"].isna().any() or found.empty:
        return ""
    return f", whose messages cost {number_format.money(found['money'].sum(), found['currency'].iloc[0])}"


def _outcome(row: Row) -> str:
    if not table_columns.lacks(row, "return_code"):
        return f"{row['return_code']} {row['message']}".rstrip()
    return CODE_UNKNOWN if table_columns.lacks(row, "error") else str(row["error"])
