"""Read the inputs of a report: the calls of one or more runs, and the options that add sections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

import narwhals as nw
import pandas as pd

from toolkit.analysis import Calls, read
from toolkit.analysis.billing.statement_file import StatementFormat
from toolkit.analysis.calls_table import collect, lazy
from toolkit.analysis.sources.read import NoCallsError
from toolkit.analysis.timestamps import NS_PER_S, parse_time_ns, to_zone
from toolkit.api.errors import InputError
from toolkit.masking import mask_text
from toolkit.price_list import PriceList, PriceRow, Unit
from toolkit.records.call_record import Failure
from toolkit.records.packed import PACKED_SUFFIX
from toolkit.records.parquet import PARQUET_PARTS
from toolkit.report.run_result import RunResult
from toolkit.report.run_windows import DUE_NS
from toolkit.runs.arrival_counts import read_arrival_counts
from toolkit.runs.begun_calls import read_begun
from toolkit.runs.check_results import read_check_results
from toolkit.runs.generator_state import read_generator_state
from toolkit.runs.run_folder import LOG_NAME, Cause, read_each_settings, read_expected, read_settings
from toolkit.runs.thresholds import Threshold
from toolkit.runs.worsening import Worsening
from toolkit.time_zone import UTC

MAX_UNREAD_RATIO = 0.01


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Options that add sections to a report.

    ``against``: the run to compare with. ``slo``: the objective whose error budget is reported, e.g. "99.9%".
    ``prices``: a price list; without rows, the price in the runs' settings. ``statement``: the provider's statement to
    reconcile with; ``statement_columns`` renames its columns, e.g. ``{"msg_id": "MessageId"}``. ``conditions``:
    thresholds for all calls together, besides the runs' own. ``worsenings``: conditions that compare the only run with
    ``against``. ``statement_format``: its delimiter, encoding, decimal
    sign and currency, as the file shows them if None. ``timezone``: of days, months, bills and times shown.
    ``max_unread_ratio``: the share of unread lines (0..1) above which no condition passes.
    """

    against: RunResult | None = None
    slo: str | None = None
    prices: PriceList = field(default_factory=PriceList)
    statement: Path | None = None
    statement_columns: Mapping[str, str] = field(default_factory=dict)
    conditions: tuple[Threshold, ...] = ()
    timezone: str = UTC
    max_unread_ratio: float = MAX_UNREAD_RATIO
    statement_format: StatementFormat | None = None
    worsenings: tuple[Worsening, ...] = ()


@dataclass(frozen=True)
class ReportInputs:
    """All calls of a report together, the runs that they belong to, the options, and the period.

    ``unfiltered`` are also the calls outside of the period, None if these are the same or not needed: the provider's
    clock may place a message on the other side of the period's ends.
    """

    calls: Calls
    runs: tuple[RunResult, ...]
    options: ReportOptions = field(default_factory=ReportOptions)
    since: str | None = None
    until: str | None = None
    unfiltered: Calls | None = None

    @property
    def name(self) -> str:
        """The runs' names; of more than three runs, the first three and the number of the others."""
        names = [run.name for run in self.runs]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    @cached_property
    def total(self) -> RunResult:
        """The figures of all calls together; those of the run if there is only one."""
        is_one = len(self.runs) == 1 and self.runs[0].calls is self.calls
        if is_one:
            return self.runs[0]
        expected: set[str] = set()
        for run in self.runs:
            given: Any = run.settings.get("expected") or ()
            expected.update(map(str, given))
        return RunResult(self.name, self.calls, {"expected": sorted(expected)})

    @cached_property
    def prices(self) -> PriceList:
        """The given prices, or else the price of the first run that has one in its settings."""
        if self.options.prices.rows:
            return self.options.prices
        own = (_price(run.settings) for run in self.runs)
        return next((prices for prices in own if prices), self.options.prices)

    @property
    def speed(self) -> float:
        """How many times faster than the records' clock the services' clocks ran. Raises InputError as find_speed."""
        return find_speed(it for run in self.runs for it in run.each_settings or [run.settings])

    def local(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a frame with its times in the report's time zone."""
        return to_zone(frame, self.options.timezone)


def read_inputs(
    sources: Sequence[str | Path],
    options: ReportOptions | None = None,
    *,
    since: str | None = None,
    until: str | None = None,
    **log_options: Any,
) -> ReportInputs:
    """Read runs, folders, files and globs; keep the calls that started at ``since`` or later and before ``until``.

    ``log_options``: other options of ``analysis.read``. A file without a call, such as an error log that a shell's
    pattern names too, is left out and named. Raises InputError if no source holds a call, and for an invalid run.json.
    """
    options = options or ReportOptions()
    found: list[tuple[str | Path, RunResult]] = []
    without_calls: list[NoCallsError] = []
    for source in sources:
        try:
            found.append((source, read_run(source, since, until, options.timezone, **log_options)))
        except NoCallsError as problem:
            if Path(source).is_dir():  # a run, whose settings and verdicts would be lost
                raise
            without_calls.append(problem)
    if not found and without_calls:
        raise without_calls[0]
    names = Counter(run.name for _, run in found)
    runs = [
        run if names[run.name] == 1 else replace(run, name=mask_text(f"{run.name} of {source}"))
        for source, run in found
    ]
    has_statement = options.statement is not None
    every = (
        read(*sources, timezone=options.timezone, **log_options)
        if len(sources) > 1 or (has_statement and (since or until))
        else None
    )
    calls = runs[0].calls if every is None or len(sources) == 1 else every.between(since, until, options.timezone)
    if len(runs) == 1:
        runs = [replace(runs[0], calls=calls)]
    return ReportInputs(calls, tuple(runs), options, since, until, every)


def read_run(
    source: str | Path,
    since: str | None = None,
    until: str | None = None,
    timezone: str = UTC,
    **log_options: Any,
) -> RunResult:
    """Read a run or other calls, with the settings and check results of the folder if it has any."""
    path, calls = Path(source), read(source, timezone=timezone, **log_options)
    settings, expected = dict(read_settings(path)), read_expected(path)
    if expected is not None:
        settings["expected"] = expected
    if settings.get("ended") == Cause.INCOMPLETE:  # killed: its processes have left their last counts
        try:
            for state in (read_arrival_counts(path), read_generator_state(path)):
                settings |= state.settings() if state else {}
        except (KeyError, TypeError, AttributeError) as problem:
            raise InputError(
                f"arrivals-*.json or generator-*.json in {path} is damaged: {problem!r}; remove it"
            ) from None
    if "unrecorded" not in settings and (unrecorded := count_unrecorded(path, calls)):
        settings["unrecorded"] = unrecorded
    kept = calls.between(since, until, timezone)
    skipped_s = (_first_due_ns(kept) - _first_due_ns(calls)) / NS_PER_S if since and len(kept) else 0.0
    for name in ("pacing", "generator"):
        counts: Any = settings.get(name)
        if (since or until) and isinstance(counts, Mapping) and counts.get("elapsed_s"):
            first_ns = _first_due_ns(calls)
            last_ns = first_ns + int(float(counts["elapsed_s"]) * NS_PER_S)
            begins_ns = max(first_ns, parse_time_ns(since, timezone)) if since else first_ns
            ends_ns = min(last_ns, parse_time_ns(until, timezone)) if until else last_ns
            settings[name] = {**counts, "elapsed_s": max(0.0, (ends_ns - begins_ns) / NS_PER_S)}
    each = read_each_settings(path)
    is_part = bool(since or until)
    return RunResult(run_name(calls, path), kept, settings, read_check_results(path), skipped_s, each, is_part)


def count_unrecorded(folder: Path, calls: Calls) -> dict[str, int]:
    """Return the number of begun calls that have no record, by endpoint; {} without any.

    Args:
        folder: the run's folder.
        calls: all of its recorded calls.
    """
    # A call without a connection has a record, but was never begun: no byte of it left.
    was_begun = nw.col("error").is_null() | (nw.col("error") != Failure.CONNECT.value)
    begun = read_begun(folder)
    lost = {it.value: n - len(calls.where(was_begun, endpoint=it.value)) for it, n in begun.items()}
    return {endpoint: n for endpoint, n in lost.items() if n > 0}


def _first_due_ns(calls: Calls) -> int:
    first = collect(lazy(calls).select(first=DUE_NS.min()))["first"].iloc[0]
    return 0 if pd.isna(first) else int(first)


def run_name(calls: Calls, path: Path) -> str:
    """Return the name that all calls have as their run, or else the name of the folder or file, masked."""
    names = [name for name in collect(lazy(calls).select("run").unique())["run"].dropna() if name]
    return mask_text(str(names[0]) if len(names) == 1 else path.resolve().name)


def is_run(path: Path) -> bool:
    """Return whether a path is the folder of one run, which may have recorded no call."""
    return any(any(path.glob(pattern)) for pattern in (PARQUET_PARTS, f"*{PACKED_SUFFIX}", LOG_NAME))


def settings_by_name(runs: Sequence[RunResult]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the name and settings of each run that has settings; the name is "" if there is only one run."""
    for run in runs:
        if run.settings:
            yield run.name if len(runs) > 1 else "", run.settings


def find_speed(settings: Iterable[Mapping[str, object]]) -> float:
    """Return how many times faster than the records' clock the services' clocks ran; 1 in runs that name no speed.

    Args:
        settings: The settings of each run.

    Raises InputError, with a text for the report, if the runs had different speeds or one is not a number above 0:
    then the windows of rate limits are unknown.

    >>> find_speed([{"speed": 60}, {"speed": 60.0}]), find_speed([{}])
    (60.0, 1.0)
    """
    speeds: list[Any] = [1.0 if it.get("speed") is None else it["speed"] for it in settings]
    for speed in speeds:
        if not isinstance(speed, int | float) or not 0 < speed < inf:
            raise InputError(f"Rules can't be inferred: the speed {speed!r} in run.json is not a number above 0.")
    if len(set(speeds)) > 1:
        raise InputError("Rules can't be inferred: the runs had different --speed. Report each run alone.")
    return float(speeds[0]) if speeds else 1.0


def _price(settings: Mapping[str, object]) -> PriceList | None:
    price, currency = settings.get("price_per_send"), settings.get("currency")
    if price is None or currency is None:
        return None
    try:
        return PriceList((PriceRow(date.min, Decimal(str(price)), str(currency)),), unit=Unit.SEND)
    except (InvalidOperation, InputError):
        return None
