"""Measure a run once: its outcomes, latency, cost, verdicts and check results.

run.json, the report, the shell and the forms all show the figures of one ``RunResult``. Each figure is computed when it
is first used, and kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from toolkit import number_format
from toolkit.analysis import Calls, from_frame, latency, return_codes, span
from toolkit.analysis.calls_table import collect
from toolkit.analysis.latency_percentiles import MEASURES, PERCENTILES, TAIL, percentile_column
from toolkit.analysis.source_record import SourceRecord
from toolkit.api.return_codes import Kind
from toolkit.api.wire import Endpoint
from toolkit.atomic_write import write_atomically
from toolkit.json_numbers import exact
from toolkit.masking import Json, mask, mask_text
from toolkit.outcome_colours import status_outcome
from toolkit.records.call_record import Failure, is_failed, may_cost, parse_expected
from toolkit.report import junit, verdicts
from toolkit.report.exit_reasons import ExitReason, incomplete_text, is_inconclusive, run_reasons, unrecorded_text
from toolkit.report.model import RunEnd, RunVerdict
from toolkit.report.run_windows import DUE_NS, measure_windows
from toolkit.report.source_remarks import reading_remarks, unread_remarks
from toolkit.report.table_columns import masked
from toolkit.runs import run_folder
from toolkit.runs.check_results import CheckRecord
from toolkit.runs.exit_codes import worst
from toolkit.runs.run_folder import ANSWERED, Cause
from toolkit.runs.thresholds import Measure, ResponseTime, RunFigures, Threshold, Verdict

Summary: TypeAlias = dict[str, Json]

_REMARKS = {
    Cause.INTERRUPTED: "The run was interrupted{by}.",
    Cause.REFUSED: "The run was ended early because every further call would have been refused: {because}",
    Cause.MISSED: "The run was ended early by a threshold that failed: {because}",
    Cause.BUDGET: "The run was ended early because its budget was spent: {because}",
}
_CAUSES = {
    Failure.CONNECT.value: "could not connect",
    Failure.TIMEOUT.value: "timed out",
    Failure.RESET.value: "were cut off by the target",
    Failure.PROTOCOL.value: "got a response that isn't the API's",
    Kind.SERVER.value: "failed in the server",
    Kind.RATE.value: "were over a rate limit",
    Kind.ACCOUNT.value: "were refused because of the account",
    Kind.REQUEST.value: "were refused as wrong requests",
    "": "got an unknown return code",
}


@dataclass(frozen=True, eq=False)
class RunResult:
    """The calls of a run with its name, settings (not masked) and check results, and the figures of these calls.

    ``skipped_s`` is the time at the start of the run that ``--since`` left out. ``each_settings`` are those of all runs
    in a folder of runs. ``is_part``: only the calls of a period are included.

    >>> from toolkit.analysis import read
    >>> result = RunResult("friday", read("runs/20261129T232015Z"))  # doctest: +SKIP
    >>> result.codes, result.latency, result.summary["spent"]  # doctest: +SKIP
    """

    name: str
    calls: Calls
    settings: Mapping[str, object] = field(default_factory=dict)
    checks: Sequence[CheckRecord] = ()
    skipped_s: float = 0.0
    each_settings: Sequence[Mapping[str, object]] = ()
    is_part: bool = False

    def __post_init__(self) -> None:
        if is_inconclusive(self.settings):
            object.__setattr__(self, "checks", tuple(it.inconclusive() for it in self.checks))

    @property
    def sources(self) -> tuple[SourceRecord, ...]:
        """How the text files of the calls were read."""
        return self.calls.sources if isinstance(self.calls, Calls) else ()

    @cached_property
    def codes(self) -> pd.DataFrame:
        """The frame of ``analysis.return_codes``."""
        return return_codes(self.calls)

    @cached_property
    def outcomes(self) -> dict[tuple[Endpoint, int | str], int]:
        """Count the calls by endpoint and outcome: the return code, else the error, else the HTTP status in a word."""
        counts: dict[tuple[Endpoint, int | str], int] = {}
        for row in self.codes.to_dict("records"):
            outcome = outcome_of(row)
            key = Endpoint(row["endpoint"]), outcome
            counts[key] = counts.get(key, 0) + int(row["calls"])
        return counts

    @cached_property
    def unknown(self) -> dict[tuple[Endpoint, int], int]:
        """Count the responses whose return code is unknown, by endpoint and HTTP status."""
        rows = self.codes[self.codes["return_code"].isna() & self.codes["error"].isna()].to_dict("records")
        return {
            (Endpoint(row["endpoint"]), int(row["http_status"])): int(row["calls"])
            for row in rows
            if not pd.isna(row["http_status"])
        }

    @cached_property
    def failures(self) -> dict[tuple[Endpoint, str], int]:
        """Count the failed calls by endpoint and cause: a ``Failure``, a ``Kind``, or "" for an unknown return code.

        ``call_record.is_failed`` decides, with the ``expected`` outcomes of the settings.
        """
        given: Any = self.settings.get("expected") or ()
        expected = parse_expected(given)
        counts: dict[tuple[Endpoint, str], int] = {}
        for row in _plain_rows(self.codes):
            if is_failed(row["return_code"], row["kind"], row["error"], expected):
                key = Endpoint(row["endpoint"]), str(row["error"] or row["kind"] or "")
                counts[key] = counts.get(key, 0) + int(row["calls"])
        return counts

    @cached_property
    def failed(self) -> dict[Endpoint, int]:
        """Count the failed calls of each endpoint."""
        return {it: sum(calls for (of, _), calls in self.failures.items() if of is it) for it in Endpoint}

    @cached_property
    def reasons(self) -> list[ExitReason]:
        """The reasons for the exit code, masked, the one that decides first; an empty list if nothing was wrong."""
        outcomes = {outcome for _, outcome in self.outcomes}
        return run_reasons(self.settings, outcomes, self.duration_s, self.verdicts, self.checks, is_part=self.is_part)

    @property
    def end(self) -> RunEnd:
        """The run as JUnit shows it."""
        return RunEnd(self.name, sum(self.outcomes.values()), self.duration_s, self.reasons)

    @cached_property
    def remarks(self) -> list[str]:
        """The remarks at the head of the report: how the calls were read and how the run ended, masked."""
        read = (*unread_remarks(self.sources), *reading_remarks(self.sources))
        return [mask_text(it) for it in (*read, *_remarks(self))]

    @cached_property
    def span(self) -> tuple[pd.Timestamp, pd.Timestamp] | None:
        """The start of the first call and the end of the last one, UTC; None without calls."""
        return span(self.calls)

    @property
    def duration_s(self) -> float:
        """The time from the start of the first call to the end of the last one; 0 without calls."""
        return (self.span[1] - self.span[0]).value / 1e9 if self.span else 0.0

    @property
    def sending_s(self) -> float:
        """The time in which calls were due, without the wait for the last responses.

        It is the span of the schedule's arrivals so far, or the time that users had to begin journeys, also if a target
        that hung answered no call at its end. For calls from other sources it is ``duration_s``.
        """
        if span_s := self._elapsed_s("pacing"):
            return span_s
        limit_s, span_s = self.settings.get("duration_s"), max(self.duration_s, self._elapsed_s("generator"))
        return min(span_s, limit_s) if isinstance(limit_s, int | float) and limit_s > 0 else self.duration_s

    def _elapsed_s(self, name: str) -> float:
        """Return the time that the counts of the arrivals or the state of the load generator cover; 0 if unknown."""
        counts: Any = self.settings.get(name)
        return float(counts.get("elapsed_s") or 0.0) if isinstance(counts, Mapping) else 0.0

    @cached_property
    def latency(self) -> pd.DataFrame:
        """The frame of ``analysis.latency``."""
        return self._percentiles_at(PERCENTILES)

    @cached_property
    def tail(self) -> pd.DataFrame:
        """The frame of ``analysis.latency`` at the percentiles of the tail chart."""
        return self._percentiles_at(TAIL)

    @cached_property
    def thresholds(self) -> list[Threshold]:
        """The thresholds of the settings. Raises InputError if they are invalid."""
        return verdicts.read_thresholds(self.settings)

    @cached_property
    def figures(self) -> RunFigures:
        """The figures that thresholds are compared with: those of the calls that were due after the warm-up."""
        if self.warm_up_s:
            return self.after_warm_up.figures
        read = [source for source in self.sources if source.calls]
        timed = {endpoint for endpoint, outcome in self.outcomes if outcome != Failure.CONNECT}
        if not all(source.holds_latency for source in read):
            timed &= set(map(Endpoint, self.latency["endpoint"]))
        times = {(endpoint, it): _Times(self, endpoint, it) for endpoint in timed for it in Measure}
        pacing: Any = self.settings.get("pacing")
        counts = pacing if isinstance(pacing, Mapping) else {}
        arrivals, dropped = (int(counts.get(name) or 0) for name in ("due", "dropped"))
        return RunFigures(
            self.duration_s,
            self.outcomes,
            times,
            self.failed,
            self.sending_s,
            arrivals=arrivals,
            dropped=dropped,
            unknown=self.unknown,
            holds_codes=all(source.holds_codes for source in read),
            holds_failures=all(source.holds_failures for source in read),
            windows=self._measure_windows,
        )

    @property
    def warm_up_s(self) -> float:
        """The time at the start of the calls that no threshold counts: what ``--since`` leaves of the run's warm-up."""
        warm_up_s = self.settings.get("warm_up_s")
        return max(0.0, float(warm_up_s) - self.skipped_s) if isinstance(warm_up_s, int | float) else 0.0

    @cached_property
    def after_warm_up(self) -> RunResult:
        """The run without the calls that were due in its warm-up."""
        if not (warm_up_s := self.warm_up_s):
            return self
        calls = self.calls if isinstance(self.calls, Calls) else from_frame(self.calls)
        due = collect(calls.table.select(first=DUE_NS.min()))["first"].iloc[0]
        from_ns = 0 if pd.isna(due) else int(due) + round(warm_up_s * 1e9)
        settings = {**self.settings, "warm_up_s": 0}
        for name in ("pacing", "generator"):
            if isinstance(counts := self.settings.get(name), Mapping):
                settings[name] = {**counts, "elapsed_s": max(0.0, self._elapsed_s(name) - warm_up_s)}
        if isinstance(limit_s := self.settings.get("duration_s"), int | float):
            settings["duration_s"] = limit_s - warm_up_s
        return replace(self, calls=calls.where(from_ns <= DUE_NS), settings=settings)

    def _measure_windows(self, window_s: float) -> list[RunFigures]:
        given: Any = self.settings.get("expected") or ()
        about = {"holds_codes": self.figures.holds_codes, "holds_failures": self.figures.holds_failures}
        return measure_windows(self.calls, window_s, self.sending_s, parse_expected(given), about)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """The verdicts on the thresholds of the settings. Raises InputError if a threshold is invalid."""
        return verdicts.judge_run(self.thresholds, self.figures, self.settings) if self.thresholds else []

    @property
    def charged_messages(self) -> int:
        """Count the sends that may have been billed: all except those refused for free and those never sent.

        Sends that a killed process had begun are among them, although they are in no record.
        """
        given: Any = self.settings.get("unrecorded") or {}
        return int(given.get(Endpoint.SEND.value, 0)) + sum(
            int(row["calls"])
            for row in _plain_rows(self.codes)
            if may_cost(Endpoint(row["endpoint"]), row["kind"], row["error"])
        )

    @cached_property
    def summary(self) -> Summary:
        """Return the content of run.json: JSON without NaN, with masked settings. See docs/reference/run-json.md."""
        codes = masked(self.codes)
        price = _read_price(self.settings.get("price_per_send"))
        return {
            "schema": run_folder.SCHEMA,
            "exit_code": worst(it.code for it in self.reasons).value,
            "exit_reasons": [it.text for it in self.reasons],
            "remarks": list(self.remarks),
            "settings": exact(mask(self.settings)),
            "started": self.span and self.span[0].isoformat(),
            "ended": self.span and self.span[1].isoformat(),
            "duration_s": self.duration_s,
            "calls": int(codes["calls"].sum()),
            "endpoints": {
                it.value: self._summarize_endpoint(it, codes[codes["endpoint"] == it.value]) for it in Endpoint
            },
            "spent": {
                "messages": self.charged_messages,
                "cost": None if price is None else f"{self.charged_messages * price:f}",
                "currency": None if price is None else str(self.settings.get("currency")),
            },
            "verdicts": [verdicts.as_json(verdict) for verdict in self.verdicts],
            "checks": [exact(check.model_dump(mode="json")) for check in self.checks],
        }

    def time_ms(self, endpoint: Endpoint, measure: Measure, name: str, *percentile: float) -> float:
        """Return a time of an endpoint's calls by its column's name in ``analysis.latency``, such as "max_ms"."""
        frame = self._percentiles
        if name not in frame:
            frame = latency(self.calls, at=percentile)
        row = frame[(frame["endpoint"] == endpoint.value) & (frame["measure"] == measure.value)]
        return float(row[name].iloc[0])

    @cached_property
    def _percentiles(self) -> pd.DataFrame:
        """Every percentile of every figure, so that the times are sorted only once."""
        metrics = [threshold.metric for threshold in self.thresholds]
        own = [
            float(it.statistic[1:]) for it in metrics if isinstance(it, ResponseTime) and it.statistic.startswith("p")
        ]
        return latency(self.calls, at=list(dict.fromkeys([*PERCENTILES, *TAIL, *own])))

    def _percentiles_at(self, percentiles: Sequence[float]) -> pd.DataFrame:
        names = [percentile_column(percentile) for percentile in percentiles]
        return self._percentiles[["endpoint", "measure", "calls", *names, "mean_ms", "max_ms", "error_ratio"]]

    def _summarize_endpoint(self, endpoint: Endpoint, codes: pd.DataFrame) -> Summary:
        calls = int(codes["calls"].sum())
        failed = self.failed[endpoint]
        summary: Summary = {
            "calls": calls,
            "failed": failed,
            "rate_per_s": calls / self.sending_s if self.sending_s else None,
        }
        for name, by in (("return_codes", "return_code"), ("errors", "error")):
            counts = codes.groupby(by, observed=True)["calls"].sum()
            summary[name] = {str(outcome): int(count) for outcome, count in counts.items()}
        names = {f"p{it:g}": percentile_column(it) for it in PERCENTILES} | {"max": "max_ms"}
        for measure in MEASURES:
            times = self.latency
            times = times[(times["endpoint"] == endpoint.value) & (times["measure"] == measure)]
            summary[measure] = {name: float(times[it].iloc[0]) if len(times) else None for name, it in names.items()}
        return summary


@dataclass(frozen=True, slots=True)
class _Times:
    """The times of one endpoint's calls: a ``thresholds.TimeStatistics``."""

    result: RunResult
    endpoint: Endpoint
    measure: Measure

    def percentile(self, percentile: float) -> float:
        return self.result.time_ms(self.endpoint, self.measure, percentile_column(percentile), percentile)

    def mean(self) -> float:
        return self.result.time_ms(self.endpoint, self.measure, "mean_ms")

    def max(self) -> float:
        return self.result.time_ms(self.endpoint, self.measure, "max_ms")


def outcome_of(row: Mapping[Any, Any]) -> int | str:
    """Return the outcome of a row of ``analysis.return_codes``."""
    if not pd.isna(row["return_code"]):
        return int(row["return_code"])
    return (
        status_outcome(None if pd.isna(row["http_status"]) else int(row["http_status"]))
        if pd.isna(row["error"])
        else str(row["error"])
    )


def save(result: RunResult, folder: Path) -> None:
    """Write run.json to a run's folder, and junit.xml if there is anything to judge. Each appears whole."""
    if result.verdicts or result.checks or result.reasons:
        name = folder.resolve().name
        judged = [RunVerdict(name, verdict) for verdict in result.verdicts]
        xml = junit.render(
            name, judged, result.duration_s, result.checks, [replace(result.end, run=name)], result.remarks
        )
        write_atomically(folder / junit.FILE_NAME, xml)
    text = json.dumps(result.summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / run_folder.SUMMARY_NAME, text)


def describe_failures(result: RunResult) -> str:
    """Describe how many calls failed and why, the most frequent cause first; "" if none did."""
    total, failed = sum(result.outcomes.values()), sum(result.failed.values())
    if not failed:
        return ""
    causes: Counter[str] = Counter()
    for (_, cause), calls in result.failures.items():
        causes[cause] += calls
    listed = ", ".join(f"{calls:,} {_CAUSES.get(cause, cause)}" for cause, calls in causes.most_common())
    return f"{number_format.share(failed / total)} of {number_format.plural(total, 'call')} failed: {listed}"


def describe_saturation(result: RunResult) -> str:
    """Describe how arrivals had to wait for the target; "" if few had to."""
    saturation = result.settings.get("saturation")
    return f"The target was saturated: {saturation}" if saturation else ""


def _remarks(result: RunResult) -> Iterator[str]:
    settings = result.settings
    ended = settings.get("ended")
    if ended is not None and (failures := describe_failures(result)):  # other calls have no expected outcomes
        yield f"{failures}."
    if ended == Cause.INCOMPLETE:
        yield f"{incomplete_text(result.duration_s, settings).capitalize()}."
    elif ended in _REMARKS:
        because = settings.get("ended_because")
        yield _REMARKS[Cause(str(ended))].format(because=because, by=f" by {because}" if because else "")
    if unrecorded := unrecorded_text(settings):
        yield f"Nothing passes, because {unrecorded}."
    if (at_end := settings.get("target_at_end")) not in (None, ANSWERED):
        yield f"The target could not be reached at the end of the run: {at_end}"
    if bottleneck := settings.get("bottleneck"):
        yield f"The load generator was the bottleneck, so nothing passes: {bottleneck}"
    if saturation := describe_saturation(result):
        yield saturation


def _plain_rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the rows of a frame, with None for null."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def _read_price(price: object) -> Decimal | None:
    try:
        return None if price is None else Decimal(str(price))
    except InvalidOperation:
        return None
