"""Questions: what a report tells, asked of some calls each by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from toolkit.forms.inputs.call_filter import Opened, Selection
from toolkit.price_list import Prices
from toolkit.report.inputs import Questions, Run, Subject, read_run, read_settings
from toolkit.report.model import Section
from toolkit.report.sections import Teller, billing, changes, rate_limits, reliability
from toolkit.runs.run_folder import SUMMARY_NAME
from toolkit.settings import load_prices

_COST = "Cost"
_TELLERS: Mapping[str, Teller] = {
    "What changed": changes.tell_changes,
    _COST: billing.tell_cost,
    "Errors": reliability.tell_errors,
    "Frequency limits": rate_limits.tell,
    "Suspects": reliability.tell_suspects,
}
QUESTIONS = tuple(_TELLERS)


def tell(question: str, opened: Opened, chosen: Selection) -> Iterator[Section]:
    """Answer one of QUESTIONS; raise SettingsError or InputError, of the cost alone, for prices that are none."""
    asked = Questions(prices=prices_of(opened)) if question == _COST else Questions()
    return _TELLERS[question](Subject(chosen.of(opened.calls), (), asked))


def compare(folder: Path, opened: Opened, chosen: Selection) -> Iterator[Section]:
    """Tell how the calls differ from those of another run that are chosen likewise, but at any time."""
    other, whenever = read_run(folder), replace(chosen, since_ns=None, until_ns=None)
    against = replace(other, calls=whenever.of(other.calls))
    return changes.tell_comparison(Subject(chosen.of(opened.calls), (), Questions(against)))


def prices_of(opened: Opened) -> Prices:
    """Return the prices of ``smscode.toml``, or else that of the first run that knows one.

    Raise SettingsError for those that are none, InputError for a run.json that is no JSON.
    """
    runs = tuple(Run(it.name, opened.calls, read_settings(it / SUMMARY_NAME)) for it in opened.folders)
    return Subject(opened.calls, runs, Questions(prices=load_prices())).prices
