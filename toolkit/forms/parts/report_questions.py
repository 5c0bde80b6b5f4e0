"""Build single sections of the report for the calls that a form shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from toolkit.forms.parts.call_filter import CallFilter, NamedCalls
from toolkit.price_list import PriceList
from toolkit.report.inputs import ReportInputs, ReportOptions, read_run
from toolkit.report.model import Section
from toolkit.report.run_result import RunResult
from toolkit.report.sections import SectionBuilder, billing, changes, rate_limits, reliability
from toolkit.runs.run_folder import read_settings
from toolkit.settings import load_prices, load_timezone

_COST, _ABUSE, _RATE_LIMITS = "Cost", "Suspected abuse", "Rate limits"
_BUILDERS: Mapping[str, SectionBuilder] = {
    "What changed": changes.build_changes,
    _COST: billing.build_cost,
    "Errors": reliability.build_errors,
    _RATE_LIMITS: rate_limits.build_rate_limits,
    _ABUSE: reliability.build_suspects,
}
QUESTIONS = (changes.PERIOD, *_BUILDERS)


def build_answer(question: str, opened: NamedCalls, chosen: CallFilter) -> Iterator[Section]:
    """Yield the sections that answer one of QUESTIONS.

    Raises SettingsError or InputError for invalid prices if the question is about cost or abuse.
    """
    if question == changes.PERIOD:
        return changes.build_period(chosen.apply(opened.calls), chosen.apply_elsewhere(opened.calls))
    options = ReportOptions(timezone=load_timezone())
    if question in (_COST, _ABUSE):
        options = replace(options, prices=prices_of(opened))
    runs = _runs_of(opened) if question == _RATE_LIMITS else ()
    return _BUILDERS[question](ReportInputs(chosen.apply(opened.calls), runs, options))


def build_comparison(folder: Path, opened: NamedCalls, chosen: CallFilter) -> Iterator[Section]:
    """Yield the comparison with another run; the same filters apply to it, except the period."""
    other, filters = read_run(folder), replace(chosen, since_ns=None, until_ns=None)
    against = replace(other, calls=filters.apply(other.calls))
    return changes.build_comparison(ReportInputs(chosen.apply(opened.calls), (), ReportOptions(against)))


def prices_of(opened: NamedCalls) -> PriceList:
    """Return the prices of ``smscode.toml``, or else the price of the first run that has one.

    Raises SettingsError for invalid prices, InputError for an invalid run.json.
    """
    return ReportInputs(opened.calls, _runs_of(opened), ReportOptions(prices=load_prices())).prices


def _runs_of(opened: NamedCalls) -> tuple[RunResult, ...]:
    return tuple(RunResult(it.name, opened.calls, read_settings(it)) for it in opened.folders)
