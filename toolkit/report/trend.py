"""Show the figures of many runs over time, with the runs since which a figure has another level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from toolkit import number_format
from toolkit.analysis.change_detection.lasting_changes import MAX_FDR, MIN_RUNS, RunLevels, find_lasting_changes
from toolkit.analysis.timestamps import to_zone
from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint
from toolkit.masking import mask_text
from toolkit.records.call_record import Failure
from toolkit.report import table_columns
from toolkit.report.inputs import is_run, read_run
from toolkit.report.model import Cell, Fact, Figure, Part, Report, Section
from toolkit.report.run_result import RunResult
from toolkit.report.table_columns import Row, lacks
from toolkit.runs.comparability import different_settings, unusable_reason
from toolkit.runs.run_folder import SUMMARY_NAME, read_settings
from toolkit.runs.thresholds import Measure, Metric, RunFigures, parse_metric
from toolkit.runs.worsening import is_worse_if_higher
from toolkit.time_zone import UTC
from toolkit.validation import load_json

DEFAULT_METRICS = (
    *(f"{of}({endpoint}.caller_ms)" for endpoint in Endpoint for of in ("p50", "p99")),
    *("failed", "rate(send)"),
)
_MIN_POINTS = 0.1  # percentage points: a smaller change of a share is never important


@dataclass(frozen=True, slots=True)
class TrendRun:
    """One run of a trend.

    Attributes:
        name: the name of its folder.
        label: ``--label``, or the git commit; "" without one.
        started: the start of its first call; None if that is unknown.
        calls: the number of its calls; None if it is unknown.
        settings: those of run.json.
        values: the value of each metric; None without data.
        lack: the reason why the run is no data point; "" if it is one.

    """

    name: str
    label: str = ""
    started: pd.Timestamp | None = None
    calls: int | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    values: Mapping[str, float | None] = field(default_factory=dict)
    lack: str = ""


@dataclass(frozen=True, slots=True)
class Trend:
    """Runs in the order of time, their metrics by name, and the levels of each metric over the data points."""

    runs: Sequence[TrendRun]
    metrics: Mapping[str, Metric]
    levels: Mapping[str, RunLevels]

    @property
    def points(self) -> list[TrendRun]:
        """The runs that are data points."""
        return [run for run in self.runs if not run.lack]

    def frame(self) -> pd.DataFrame:
        """Return one row per run: run, label, started, calls, lack, and a column for each metric (float64)."""
        rows = [
            {"run": it.name, "label": it.label, "started": it.started, "calls": it.calls, "lack": it.lack, **it.values}
            for it in self.runs
        ]
        frame = pd.DataFrame(rows, columns=["run", "label", "started", "calls", "lack", *self.metrics])
        dtypes = {"started": "datetime64[ns, UTC]", "calls": "Int64", **dict.fromkeys(self.metrics, "float64")}
        return frame.astype(dtypes)

    def changes(self) -> pd.DataFrame:
        """Return one row per change of a level, in the order of time.

        Columns: metric, run, label, started (of the first run at the new level), before, after (float64, in the
        metric's unit), unit, ratio, p_corrected (float64), is_worse (bool).
        """
        columns = ["metric", "run", "label", "started", "before", "after", "unit", "ratio", "p_corrected", "is_worse"]
        rows, points = [], self.points
        for name, levels in self.levels.items():
            for change in levels.changes:
                first, metric = points[change.start], self.metrics[name]
                rows.append(
                    {
                        "metric": name,
                        "run": first.name,
                        "label": first.label,
                        "started": first.started,
                        "before": change.before,
                        "after": change.after,
                        "unit": metric.unit or "ms",
                        "ratio": change.after / change.before if change.before else math.nan,
                        "p_corrected": change.p_corrected,
                        "is_worse": (change.after > change.before) == is_worse_if_higher(metric),
                    }
                )
        frame = pd.DataFrame(rows, columns=columns).astype({"started": "datetime64[ns, UTC]"})
        return frame.sort_values(["started", "metric"], ignore_index=True)

    def series(self) -> pd.DataFrame:
        """Return one row per metric and run with a value, for the chart.

        Columns: metric, unit, number (of the run, from 1), run, label, value, level (float64; null for no data point),
        mark ("run", "burst" or "no data point").
        """
        columns = ["metric", "unit", "number", "run", "label", "value", "level", "mark"]
        rows = []
        for name, metric in self.metrics.items():
            point = 0
            for number, run in enumerate(self.runs, 1):
                level, mark = math.nan, "no data point"
                if not run.lack:
                    levels = self.levels[name]
                    level, mark = float(levels.levels[point]), "burst" if levels.is_burst[point] else "run"
                    point += 1
                if (value := run.values.get(name)) is not None:
                    rows.append((name, metric.unit or "ms", number, run.name, run.label, value, level, mark))
        return pd.DataFrame(rows, columns=columns)


def read_trend(sources: Iterable[str | Path], metrics: Sequence[str] = ()) -> Trend:
    """Read the runs in some folders, and find the lasting changes of their metrics.

    Runs that are not complete, that were saturated or whose load generator was the bottleneck are not data points.
    Neither are runs whose load differs from that of the latest complete run.

    Args:
        sources: folders of runs, or folders that contain such folders.
        metrics: metrics in the grammar of thresholds; by default p50 and p99 of both endpoints, failed calls and the
            rate of sends.

    Raises InputError for an invalid metric, and if there are no runs.

    Example: ``read_trend(["runs"]).changes()``.
    """
    parsed = {str(it): it for it in map(parse_metric, metrics or DEFAULT_METRICS)}
    folders = [folder for source in sources for folder in _run_folders(Path(source))]
    runs = [_read(folder, parsed) for folder in dict.fromkeys(folders)]
    runs = _mark_other_settings(_in_order(runs))
    points = [run for run in runs if not run.lack]
    if not metrics:  # those of the default ones that the runs have; all if they have none, to show what is missing
        had = {name: it for name, it in parsed.items() if any(run.values[name] is not None for run in points)}
        parsed = had or parsed
    values = {name: [math.nan if (it := run.values[name]) is None else it for run in points] for name in parsed}
    least = {name: _MIN_POINTS for name, metric in parsed.items() if metric.unit == "%"}
    return Trend(runs, parsed, find_lasting_changes(values, min_difference=least))


def build_trend(trend: Trend, name: str, timezone: str = UTC) -> Report:
    """Build the report on a trend."""
    frame, changes = (to_zone(it, timezone) for it in (trend.frame(), trend.changes()))
    points, runs = len(trend.points), len(trend.runs)
    finding = _finding(trend, changes)
    parts: list[Part] = [table_columns.table("trend_changes", changes, _CHANGES)] if len(changes) else []
    series = trend.series()
    parts += [Figure("trend", series, "Runs", _CHART_NOTE)] if len(series) else []
    note = (
        f"Changes of a level that lasts for {MIN_RUNS} runs or more, at a false-discovery rate of {MAX_FDR * 100:g} %."
    )
    shown = [
        table_columns.text("run"),
        table_columns.text("label", is_optional=True),
        table_columns.time("started"),
        table_columns.count("calls"),
        *(_value_column(name, metric) for name, metric in trend.metrics.items()),
        table_columns.text("lack", "no data point", is_optional=True),
    ]
    table = table_columns.table("trend", frame, shown, max_rows=max(1, runs))
    target = str(trend.runs[-1].settings.get("target") or number_format.MISSING)
    return Report(
        name=mask_text(name),
        when=_when(frame, timezone),
        target=mask_text(target),
        duration_s=0.0,
        facts=[Fact("runs", f"{runs:,}"), Fact("data points", f"{points:,}"), Fact("changes", f"{len(changes):,}")],
        remarks=[],
        sections=[
            Section("changes", "Changes", note, parts, finding=finding),
            Section("runs", "Runs", "Runs that cannot be compared are not data points of the chart.", [table]),
        ],
    )


_CHART_NOTE = (
    "A line is the level of the runs. A hollow point is a run of a burst, which does not count for the level. A cross"
    " is a run that cannot be compared."
)
_CHANGES = (
    table_columns.text("run", "since"),
    table_columns.text("label", is_optional=True),
    table_columns.time("started"),
    table_columns.text("metric"),
    table_columns.computed("before", lambda row: _measured(row["before"], row["unit"]), is_number=True),
    table_columns.computed("after", lambda row: _measured(row["after"], row["unit"]), is_number=True),
    table_columns.computed("change", lambda row: _change(row), is_number=True),
    table_columns.computed("p, corrected", lambda row: number_format.probability(row["p_corrected"]), is_number=True),
    table_columns.computed("", lambda row: "worse" if row["is_worse"] else "better"),
)


def _finding(trend: Trend, changes: pd.DataFrame) -> str:
    """Return the number of changed levels, the latest change, and the metrics with too few values."""
    if (points := len(trend.points)) < 2 * MIN_RUNS:
        return f"Changes are found from {2 * MIN_RUNS} comparable runs on: there are {points}."
    few = [name for name in trend.metrics if _count_values(trend, name) < 2 * MIN_RUNS]
    sentences = []
    if len(few) < len(trend.metrics):
        sentences.append(f"{number_format.plural(len(changes), 'level')} changed.")
    if len(changes):
        sentences.append(f"The latest: {_sentence(changes.to_dict('records')[-1])}")
    if few:
        sentences.append(f"Too few runs with a value of {', '.join(few)}: changes are found from {2 * MIN_RUNS} on.")
    return " ".join(sentences)


def _count_values(trend: Trend, name: str) -> int:
    return sum(run.values[name] is not None for run in trend.points)


def _run_folders(source: Path) -> list[Path]:
    """Return the folder of a run, or those that a folder contains, by name."""
    if is_run(source) or (source / SUMMARY_NAME).exists():
        return [source]
    found = [it for it in sorted(source.glob("*/")) if is_run(it) or (it / SUMMARY_NAME).exists()]
    if not found:
        raise InputError(f"{source} contains no runs: expected a folder of runs, e.g. runs")
    return found


def _read(folder: Path, metrics: Mapping[str, Metric]) -> TrendRun:
    name, nothing = mask_text(folder.resolve().name), dict.fromkeys(metrics)
    try:
        settings = read_settings(folder)
        summary = load_json(folder / SUMMARY_NAME) if settings else {}
        figures, started, calls = _read_summary(summary)
    except (InputError, ValueError, KeyError, TypeError, AttributeError):
        return TrendRun(name, values=nothing, lack=f"{SUMMARY_NAME} cannot be read")
    result: RunResult | None = None
    values: dict[str, float | None] = {}
    for text, metric in metrics.items():
        try:
            if figures is None:
                raise _NotSummarizedError
            values[text] = metric.value(figures)
        except _NotSummarizedError:
            try:
                result = result or read_run(folder)
                values[text] = metric.value(result.figures)
            except InputError:  # its calls are gone, and so are these figures
                values[text] = None
    if result is not None:
        started = started or (result.span[0] if result.span else None)
        calls = sum(result.outcomes.values())
    lack = unusable_reason(settings) or ("" if calls else "no calls")
    return TrendRun(name, str(settings.get("label") or ""), started, calls, settings, values, lack)


def _in_order(runs: Iterable[TrendRun]) -> list[TrendRun]:
    """Sort runs by their start; one without calls stays after the run before it, because names are times."""
    keyed, latest = [], pd.Timestamp(0, tz=UTC)
    for run in runs:
        latest = run.started or latest
        keyed.append((latest, run))
    return [run for _, run in sorted(keyed, key=lambda it: it[0])]


def _mark_other_settings(runs: Sequence[TrendRun]) -> list[TrendRun]:
    """Mark the runs whose load differs from that of the latest complete run."""
    complete = [run for run in runs if not run.lack]
    marked = []
    for run in runs:
        different = different_settings(run.settings, complete[-1].settings) if complete and not run.lack else []
        lack = run.lack or (f"other settings: {', '.join(different)}" if different else "")
        marked.append(TrendRun(run.name, run.label, run.started, run.calls, run.settings, run.values, lack))
    return marked


class _NotSummarizedError(Exception):
    """run.json does not have a figure, which must be computed from the calls."""


@dataclass(frozen=True, slots=True)
class _SummaryTimes:
    """The times of an endpoint's calls in run.json: a ``thresholds.TimeStatistics``."""

    times: Mapping[str, float | None]

    def percentile(self, percentile: float) -> float:
        return self._find(f"p{percentile:g}")

    def mean(self) -> float:
        return self._find("mean")

    def max(self) -> float:
        return self._find("max")

    def _find(self, name: str) -> float:
        if (value := self.times.get(name)) is None:
            raise _NotSummarizedError
        return float(value)


def _read_summary(summary: Mapping[str, Any]) -> tuple[RunFigures | None, pd.Timestamp | None, int | None]:
    """Return the figures, the start and the number of calls in a run.json.

    The figures are None if they must be computed from the calls: of a run without a result, with a warm-up, or with
    responses of an unknown return code.
    """
    if "endpoints" not in summary:
        return None, None, None
    settings, of = summary["settings"], summary["endpoints"]
    outcomes: dict[tuple[Endpoint, int | str], int] = {}
    for endpoint in Endpoint:
        outcomes |= {(endpoint, int(code)): calls for code, calls in of[endpoint]["return_codes"].items()}
        outcomes |= {(endpoint, str(error)): calls for error, calls in of[endpoint]["errors"].items()}
    started = pd.Timestamp(summary["started"]) if summary["started"] else None
    calls = int(summary["calls"])
    if settings.get("warm_up_s") or sum(outcomes.values()) != calls:
        return None, started, calls
    timed = {endpoint for endpoint, outcome in outcomes if outcome != Failure.CONNECT}
    rates = [(of[it]["calls"], of[it]["rate_per_s"]) for it in Endpoint if of[it]["rate_per_s"]]
    pacing = settings.get("pacing") or {}
    figures = RunFigures(
        summary["duration_s"],
        outcomes,
        {(it, measure): _SummaryTimes(of[it][measure]) for it in timed for measure in Measure},
        {it: of[it]["failed"] for it in Endpoint},
        rates[0][0] / rates[0][1] if rates else None,
        arrivals=int(pacing.get("due") or 0),
        dropped=int(pacing.get("dropped") or 0),
    )
    return figures, started, calls


def _value_column(name: str, metric: Metric) -> table_columns.Column:
    unit = metric.unit or "ms"
    return table_columns.computed(
        name, lambda row: number_format.MISSING if lacks(row, name) else _measured(row[name], unit), is_number=True
    )


def _measured(value: float, unit: str) -> str:
    return number_format.measured(value, unit, math.inf)


def _change(row: Row) -> str:
    return number_format.MISSING if lacks(row, "ratio") else f"{100 * (row['ratio'] - 1):+.3g} %"


def _sentence(row: Row) -> Cell:
    label = "" if lacks(row, "label") else f" ({row['label']})"
    levels = f"from {_measured(row['before'], row['unit'])} to {_measured(row['after'], row['unit'])}"
    return (
        f"{row['metric']} went {levels} since {row['run']}{label}, which is {'worse' if row['is_worse'] else 'better'}."
    )


def _when(frame: pd.DataFrame, timezone: str) -> str:
    first, last = frame["started"].min(), frame["started"].max()
    return number_format.MISSING if pd.isna(first) else f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} {timezone}"
