"""What failed, how much of the error budget that took, and who looks like an attacker."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit import number_format
from toolkit.analysis import burn_rates, error_budget, errors, guessers, suspects
from toolkit.analysis.reliability.errors import Payer
from toolkit.analysis.timestamps import round_width_s
from toolkit.api.wire import Endpoint
from toolkit.outcome_colours import ERROR
from toolkit.report import result_tables, table_columns
from toolkit.report.inputs import Subject
from toolkit.report.model import Figure, Part, Section
from toolkit.report.table_columns import Row

_ERRORS = (
    table_columns.text("endpoint"),
    table_columns.made("outcome", lambda row: _outcome(row)),
    table_columns.made("kind", lambda row: result_tables.badge(result_tables.kind_of(row))),
    table_columns.text("payer", "whose budget"),
    table_columns.count("calls"),
    table_columns.share("share"),
    table_columns.count("mobiles"),
    table_columns.made(
        "busiest (UTC)", lambda row: f"{number_format.timestamp(row['busiest'])}: {row['busiest_calls']:,}"
    ),
    table_columns.when("first_seen", "first"),
    table_columns.when("last_seen", "last"),
    table_columns.text("example_request_ids", "example request ids"),
)
_BUDGET = (
    table_columns.when("since"),
    table_columns.when("until"),
    table_columns.count("calls"),
    table_columns.made(
        "bad calls", lambda row: f"{row['bad']:,} (server {row['server']:,}, transport {row['transport']:,})"
    ),
    table_columns.measured("allowed", "allowed bad calls"),
    table_columns.share("spent_ratio", "spent of the budget"),
)
_BURN = (
    table_columns.text("action"),
    table_columns.made(
        "windows", lambda row: f"{number_format.duration(row['long_s'])} and {number_format.duration(row['short_s'])}"
    ),
    table_columns.measured("threshold"),
    table_columns.measured("burn_long", "burn now, long"),
    table_columns.measured("burn_short", "burn now, short"),
    table_columns.measured("worst_burn", "worst burn"),
    table_columns.when("worst_at", "worst at"),
    table_columns.when("first_fired", "first called"),
    table_columns.duration("firing_s", "calling for"),
)
_SUSPECTS = (
    table_columns.text("prefix"),
    table_columns.measured("score", "score of 100"),
    table_columns.count("sends"),
    table_columns.share("conversion"),
    table_columns.share("conversion_elsewhere", "elsewhere"),
    table_columns.when("peak_at", "worst hour"),
    table_columns.count("peak_sends", "sends in it"),
    table_columns.measured("conversion_score", "for conversion, of 40"),
    table_columns.measured("burst_score", "for its burst, of 30"),
    table_columns.measured("runs_score", "for runs, of 30"),
)
_GUESSERS = (
    table_columns.made("mobile", lambda row: f"{row['prefix']}****"),
    table_columns.count("failed", "failed tries"),
    table_columns.count("messages"),
    table_columns.count("refused"),
    table_columns.count("got_in", "got in"),
    table_columns.count("most_per_minute", "most a minute"),
    table_columns.when("first_seen", "first"),
    table_columns.when("last_seen", "last"),
)


def tell_errors(subject: Subject) -> Iterator[Section]:
    """Tell what failed, when, to whom, with examples."""
    if subject.codes.empty:
        return
    every_s = min(round_width_s(subject.duration_s), 3_600)
    found = errors(subject.calls, f"{every_s}s")
    if found.empty:
        yield Section("errors", "Errors", "Every call returned success.")
        return
    note = (
        "Every outcome that is no success; those of nobody's budget are people's mistakes and what they gave up."
        f" The busiest time is the {number_format.duration(every_s)} with most of them."
    )
    figure = Figure("errors", table_columns.masked(found), "When errors were seen")
    provider = found.loc[found["payer"] == Payer.PROVIDER, "calls"].sum()
    failed = number_format.share(provider / subject.codes["calls"].sum())
    finding = f"{failed} of all calls failed in the service or on the way to it."
    table = table_columns.table("errors", found, _ERRORS, is_grouped=True)
    yield Section("errors", "Errors", note, [figure, table], finding=finding)


def tell_budget(subject: Subject) -> Iterator[Section]:
    """Tell how much of the error budget is spent, and how fast it burned."""
    slo = subject.asked.slo
    if slo is None or subject.codes.empty:
        return
    budget, burns = error_budget(subject.calls, slo), burn_rates(subject.calls, slo)
    note = f"The promise: {slo} of calls fail neither in the service nor on the way to it, of any 30 days."
    parts: list[Part] = [
        table_columns.pairs("error_budget", budget, _BUDGET),
        table_columns.table("burn_rates", burns, _BURN, note="A burn rate of 1 spends the budget in just its 30 days."),
        Figure("burn_rates", burns, "Burn rates"),
    ]
    (row,) = budget.to_dict("records")
    spent = number_format.share(row["spent_ratio"])
    finding = f"{row['bad']:,} calls failed where {slo} allows {row['allowed']:,.0f}: {spent} of the budget."
    yield Section("budget", "Error budget", note, parts, finding=finding)


def tell_suspects(subject: Subject) -> Iterator[Section]:
    """Tell which prefixes look like SMS pumping, and whose codes were guessed at."""
    if not (subject.codes["endpoint"] == Endpoint.SEND.value).any():
        return
    pumped, guessed = suspects(subject.calls), guessers(subject.calls)
    pumped, guessed = pumped[pumped["flagged"]], guessed[guessed["flagged"]]
    notes: list[str] = []
    parts: list[Part] = []
    if pumped.empty:
        notes.append("No prefix looks like SMS pumping.")
    else:
        parts.append(table_columns.table("pumped", pumped, _SUSPECTS, title="Prefixes that look like SMS pumping"))
        parts.append(Figure("suspects", pumped, "What the score is of"))
    if guessed.empty:
        notes.append("No mobile's codes look guessed at.")
    else:
        parts.append(table_columns.table("guessed", guessed, _GUESSERS, title="Mobiles whose codes look guessed at"))
    finding = (
        f"Pumped: {number_format.plural(len(pumped), 'prefix', 'es')}."
        f" Guessed at: {number_format.plural(len(guessed), 'mobile')}."
        if parts
        else ""
    )
    yield Section("suspects", "Suspects", " ".join(notes), parts, finding=finding)


def _outcome(row: Row) -> str:
    known = result_tables.kind_of(row) != ERROR
    return f"{row['return_code']} {row['message']}".rstrip() if known else str(row["error"])
