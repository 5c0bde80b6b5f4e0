"""What failed, how much of the error budget that took, and who looks like an attacker."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.analysis import burn_rates, error_budget, errors, guessers, number_format, suspects
from toolkit.analysis.calls_table import bucket_s
from toolkit.analysis.reliability.errors import Payer
from toolkit.api.wire import Endpoint
from toolkit.report import columns, tables
from toolkit.report.columns import Row
from toolkit.report.subject import Subject
from toolkit.report.values import Figure, Part, Section

_ERRORS = (
    columns.text("endpoint"),
    columns.made("outcome", lambda row: _outcome(row)),
    columns.made("kind", lambda row: tables.badge(tables.kind_of(row))),
    columns.text("payer", "whose budget"),
    columns.count("calls"),
    columns.share("share"),
    columns.count("mobiles"),
    columns.made("busiest (UTC)", lambda row: f"{number_format.moment(row['busiest'])}: {row['busiest_calls']:,}"),
    columns.when("first_seen", "first"),
    columns.when("last_seen", "last"),
    columns.text("example_request_ids", "example request ids"),
)
_BUDGET = (
    columns.when("since"),
    columns.when("until"),
    columns.count("calls"),
    columns.made("bad calls", lambda row: f"{row['bad']:,} (server {row['server']:,}, transport {row['transport']:,})"),
    columns.measured("allowed", "allowed bad calls"),
    columns.share("spent_ratio", "spent of the budget"),
)
_BURN = (
    columns.text("action"),
    columns.made(
        "windows", lambda row: f"{number_format.duration(row['long_s'])} and {number_format.duration(row['short_s'])}"
    ),
    columns.measured("threshold"),
    columns.measured("burn_long", "burn now, long"),
    columns.measured("burn_short", "burn now, short"),
    columns.measured("worst_burn", "worst burn"),
    columns.when("worst_at", "worst at"),
    columns.when("first_fired", "first called"),
    columns.duration("firing_s", "calling for"),
)
_SUSPECTS = (
    columns.text("prefix"),
    columns.measured("score", "score of 100"),
    columns.count("sends"),
    columns.share("conversion"),
    columns.share("conversion_elsewhere", "elsewhere"),
    columns.when("peak_at", "worst hour"),
    columns.count("peak_sends", "sends in it"),
    columns.measured("conversion_score", "for conversion, of 40"),
    columns.measured("burst_score", "for its burst, of 30"),
    columns.measured("runs_score", "for runs, of 30"),
)
_GUESSERS = (
    columns.made("mobile", lambda row: f"{row['prefix']}****"),
    columns.count("failed", "failed tries"),
    columns.count("messages"),
    columns.count("refused"),
    columns.count("got_in", "got in"),
    columns.count("most_per_minute", "most a minute"),
    columns.when("first_seen", "first"),
    columns.when("last_seen", "last"),
)


def tell_errors(subject: Subject) -> Iterator[Section]:
    """Tell what failed, when, to whom, with examples."""
    if subject.codes.empty:
        return
    every_s = min(bucket_s(subject.duration_s), 3_600)
    found = errors(subject.calls, f"{every_s}s")
    if found.empty:
        yield Section("errors", "Errors", "Every call returned success.")
        return
    note = (
        "Every outcome that is no success; those of nobody's budget are people's mistakes and what they gave up."
        f" The busiest time is the {number_format.duration(every_s)} with most of them."
    )
    figure = Figure("errors", columns.masked(found), "When errors were seen")
    provider = found.loc[found["payer"] == Payer.PROVIDER, "calls"].sum()
    failed = number_format.share(provider / subject.codes["calls"].sum())
    finding = f"{failed} of all calls failed in the service or on the way to it."
    table = columns.table("errors", found, _ERRORS, is_grouped=True)
    yield Section("errors", "Errors", note, [figure, table], finding=finding)


def tell_budget(subject: Subject) -> Iterator[Section]:
    """Tell how much of the error budget is spent, and how fast it burned."""
    slo = subject.asked.slo
    if slo is None or subject.codes.empty:
        return
    budget, burns = error_budget(subject.calls, slo), burn_rates(subject.calls, slo)
    note = f"The promise: {slo} of calls fail neither in the service nor on the way to it, of any 30 days."
    parts: list[Part] = [
        columns.pairs("error_budget", budget, _BUDGET),
        columns.table("burn_rates", burns, _BURN, note="A burn rate of 1 spends the budget in just its 30 days."),
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
        parts.append(columns.table("pumped", pumped, _SUSPECTS, title="Prefixes that look like SMS pumping"))
        parts.append(Figure("suspects", pumped, "What the score is of"))
    if guessed.empty:
        notes.append("No mobile's codes look guessed at.")
    else:
        parts.append(columns.table("guessed", guessed, _GUESSERS, title="Mobiles whose codes look guessed at"))
    finding = (
        f"Pumped: {number_format.plural(len(pumped), 'prefix', 'es')}."
        f" Guessed at: {number_format.plural(len(guessed), 'mobile')}."
        if parts
        else ""
    )
    yield Section("suspects", "Suspects", " ".join(notes), parts, finding=finding)


def _outcome(row: Row) -> str:
    known = tables.kind_of(row) != tables.ERROR
    return f"{row['return_code']} {row['message']}".rstrip() if known else str(row["error"])
