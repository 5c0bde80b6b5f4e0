"""Subject: what a report is about, the calls of one run or more, and what is asked of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from toolkit.analysis import Calls, duration_s, read, return_codes, span
from toolkit.analysis.calls_table import collect, lazy
from toolkit.api.errors import InputError
from toolkit.masking import mask_text
from toolkit.price_list import PriceRow, Prices, Unit
from toolkit.records.packed import PACKED_SUFFIX
from toolkit.records.parquet import PARQUET_PARTS
from toolkit.runs.check_results import Claim, read_claims
from toolkit.runs.run_folder import LOG_NAME, SCHEMA, SUMMARY_NAME
from toolkit.runs.thresholds import Threshold


@dataclass(frozen=True, slots=True)
class Run:
    """Calls by a name, with the settings that they were made with, which may hold secrets, and what was claimed."""

    name: str
    calls: Calls
    settings: Mapping[str, object] = field(default_factory=dict)
    claims: Sequence[Claim] = ()


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked beside what every report tells.

    ``against``: the run to compare with. ``slo``: the promise whose error budget is to be told, as "99.9%". ``prices``:
    a price list; without rows, that of the runs' settings. ``statement``: the provider's, to reconcile with, and
    what it calls its columns where they aren't named as ``analysis.reconcile`` does. ``conditions``: what must hold
    beside the runs' own thresholds.
    """

    against: Run | None = None
    slo: str | None = None
    prices: Prices = field(default_factory=Prices)
    statement: Path | None = None
    statement_columns: Mapping[str, str] = field(default_factory=dict)
    conditions: tuple[Threshold, ...] = ()


@dataclass(frozen=True)
class Subject:
    """What a report is about: all calls together, the runs that they are of, what is asked, and the period."""

    calls: Calls
    runs: tuple[Run, ...]
    asked: Questions = field(default_factory=Questions)
    since: str | None = None
    until: str | None = None

    @property
    def name(self) -> str:
        """The run's name, or those of the first ones."""
        names = [run.name for run in self.runs]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    @cached_property
    def codes(self) -> pd.DataFrame:
        """``analysis.return_codes``."""
        return return_codes(self.calls)

    @cached_property
    def duration_s(self) -> float:
        """From the first start to the last end."""
        return duration_s(self.calls)

    @cached_property
    def span(self) -> tuple[pd.Timestamp, pd.Timestamp] | None:
        """When the first call started and the last one ended."""
        return span(self.calls)

    @cached_property
    def prices(self) -> Prices:
        """The prices that were given, or else that of the first run that knows one."""
        if self.asked.prices.rows:
            return self.asked.prices
        own = (_price(run.settings) for run in self.runs)
        return next((prices for prices in own if prices), self.asked.prices)


def read_subject(
    sources: Sequence[str | Path],
    asked: Questions | None = None,
    *,
    since: str | None = None,
    until: str | None = None,
    **how: Any,
) -> Subject:
    """Read what a report is about: runs, folders, files and globs, their calls from ``since`` on and before ``until``.

    ``how``: what ``analysis.read`` is to know of logs. Raise InputError for what holds no calls, or is no JSON.
    """
    asked = asked or Questions()
    if asked.statement and (since or until):
        raise InputError("a statement is of its whole month: leave since and until out")
    runs = tuple(_name_apart([read_run(source, since, until, **how) for source in sources], sources))
    calls = runs[0].calls if len(runs) == 1 else read(*sources, **how).between(since, until)
    return Subject(calls, runs, asked, since, until)


def read_run(source: str | Path, since: str | None = None, until: str | None = None, **how: Any) -> Run:
    """Read a run, or other calls, whose name is that of the run that they tell, or of the folder or file."""
    path, calls = Path(source), read(source, **how)
    settings = read_settings(path / SUMMARY_NAME)
    return Run(_name(calls, path), calls.between(since, until), settings, read_claims(path))


def _name_apart(runs: Sequence[Run], sources: Sequence[str | Path]) -> Iterator[Run]:
    """Yield runs, those of one name by where they are."""
    names = Counter(run.name for run in runs)
    for run, source in zip(runs, sources, strict=True):
        yield run if names[run.name] == 1 else replace(run, name=mask_text(f"{run.name} of {source}"))


def is_run(path: Path) -> bool:
    """Tell whether a path is the folder of one run, be it one that recorded no call."""
    return any(any(path.glob(pattern)) for pattern in (PARQUET_PARTS, f"*{PACKED_SUFFIX}", LOG_NAME))


def read_settings(path: Path) -> Mapping[str, object]:
    """Return the settings that a run.json holds, none where there is no such file; raise InputError for no JSON."""
    if not path.exists():
        return {}
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise InputError(f"{path} is not JSON, mend or remove it: {problem}") from problem
    if not isinstance(run, dict) or run.get("schema", SCHEMA) != SCHEMA:
        raise InputError(f"{path} is not a run.json of schema {SCHEMA}: it is of another version, or of another tool")
    settings = run.get("settings", {})
    if not isinstance(settings, dict):
        raise InputError(f"{path} has settings that are no object: mend or remove it")
    return settings


def settings_by_name(runs: Sequence[Run]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the settings of each run that has any, by its name where there is more than one."""
    for run in runs:
        if run.settings:
            yield run.name if len(runs) > 1 else "", run.settings


def _name(calls: Calls, path: Path) -> str:
    names = [name for name in collect(lazy(calls).select("run").unique())["run"].dropna() if name]
    return mask_text(str(names[0]) if len(names) == 1 else path.resolve().name)


def _price(settings: Mapping[str, object]) -> Prices | None:
    """Return what a run's sends cost, None where nobody said."""
    price, currency = settings.get("price_per_send"), settings.get("currency")
    if price is None or currency is None:
        return None
    try:
        return Prices((PriceRow(date.min, Decimal(str(price)), str(currency)),), unit=Unit.SEND)
    except (InvalidOperation, InputError):
        return None
