"""Filter calls, and compute the figures that a form shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import narwhals as nw
import pandas as pd

from toolkit.analysis import Calls, duration_s, from_frame, latency, over_time, return_codes, span
from toolkit.analysis.calls_table import IntoCalls, collect
from toolkit.analysis.latency_percentiles import TAIL
from toolkit.analysis.native_ops import with_own_connection
from toolkit.analysis.timestamps import round_width_s
from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind
from toolkit.api.wire import Endpoint
from toolkit.outcome_colours import Outcome
from toolkit.price_list import PriceList
from toolkit.report.table_columns import without_formulas
from toolkit.settings import load_timezone

MAX_DOWNLOAD = 1_000_000  # calls
_MAX_BUCKETS = 120


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Conditions on calls; None matches all calls.

    ``outcome`` is a return code or the name of an error. ``prefix`` is the first digits of a mobile. ``since_ns`` and
    ``until_ns`` limit the start of calls, in ns since 1970.
    """

    endpoint: Endpoint | None = None
    kind: Kind | None = None
    outcome: Outcome | None = None
    temp_id: int | None = None
    prefix: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None

    def apply(self, calls: Calls) -> Calls:
        """Return the calls that match all conditions."""
        return calls.where(*self._conditions())

    def apply_elsewhere(self, calls: Calls) -> Calls:
        """Return the calls of all times but this period that match the other conditions; none without a period."""
        outside = [
            *([] if self.since_ns is None else [nw.col("started_ns") < self.since_ns]),
            *([] if self.until_ns is None else [nw.col("started_ns") >= self.until_ns]),
        ]
        others = replace(self, since_ns=None, until_ns=None).apply(calls)
        return others.where(nw.any_horizontal(*(outside or [nw.col("started_ns").is_null()]), ignore_nulls=True))

    def _conditions(self) -> list[nw.Expr]:
        outcome = "error" if isinstance(self.outcome, str) else "return_code"
        conditions = [
            (self.endpoint, nw.col("endpoint") == str(self.endpoint)),
            (self.kind, nw.col("kind") == str(self.kind)),
            (self.outcome, nw.col(outcome) == self.outcome),
            (self.temp_id, nw.col("temp_id") == self.temp_id),
            (self.prefix, nw.col("prefix").str.starts_with(self.prefix or "")),
            (self.since_ns, nw.col("started_ns") >= (self.since_ns or 0)),
            (self.until_ns, nw.col("started_ns") < (self.until_ns or 0)),
        ]
        return [condition for value, condition in conditions if value is not None]


@dataclass(frozen=True, slots=True, eq=False)
class NamedCalls:
    """Calls with a name, and the folders of the runs that they belong to."""

    calls: Calls
    name: str
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class FilterChoices:
    """The values that occur in calls, as options of the filters."""

    outcomes: tuple[Outcome, ...]
    templates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CallFigures:
    """Figures of calls: frames of ``analysis``. ``span_ns``: first start and last end in ns since 1970, or None."""

    codes: pd.DataFrame
    over_time: pd.DataFrame
    latency: pd.DataFrame
    tail: pd.DataFrame
    duration_s: float
    span_ns: tuple[int, int] | None


def as_calls(calls: IntoCalls) -> Calls:
    """Return calls, which may be a frame, as ``Calls`` that may be queried in another thread."""
    converted = calls if isinstance(calls, Calls) else from_frame(calls)
    return replace(converted, table=with_own_connection(converted.table))


def choices(calls: Calls) -> FilterChoices:
    """Return the options of the filters."""
    outcomes = collect(calls.table.group_by("return_code", "error").agg(calls=nw.len()))
    codes = sorted(int(code) for code in outcomes["return_code"].dropna().unique())
    errors = sorted(str(error) for error in outcomes.loc[outcomes["return_code"].isna(), "error"].dropna().unique())
    templates = collect(calls.table.group_by("temp_id").agg(calls=nw.len()))["temp_id"].dropna()
    return FilterChoices((*codes, *errors), tuple(sorted(int(it) for it in templates)))


def figures(calls: Calls) -> CallFigures:
    """Compute the figures of calls."""
    took_s, within = duration_s(calls), span(calls)
    return CallFigures(
        return_codes(calls),
        over_time(calls, f"{round_width_s(took_s, _MAX_BUCKETS)}s", load_timezone()),
        latency(calls),
        latency(calls, at=TAIL),
        took_s,
        within and (within[0].value, within[1].value),
    )


def to_csv(calls: Calls) -> bytes:
    """Return calls as CSV without formulas. Raises InputError for more than a million calls."""
    return without_formulas(_load(calls)).to_csv(index=False).encode()


def to_parquet(calls: Calls) -> bytes:
    """Return calls as Parquet. Raises InputError for more than a million calls."""
    file = BytesIO()
    _load(calls).drop(columns="started").to_parquet(file, index=False)
    return file.getvalue()


def to_html(calls: Calls, name: str, prices: PriceList) -> bytes:
    """Return the report of calls as an HTML page."""
    from toolkit.report import html
    from toolkit.report.build import build_report
    from toolkit.report.inputs import ReportInputs, ReportOptions
    from toolkit.report.run_result import RunResult

    inputs = ReportInputs(calls, (RunResult(name, calls),), ReportOptions(prices=prices, timezone=load_timezone()))
    with html.PictureDrawer() as pictures:
        report = build_report(inputs, on_figure=pictures.start)
        return html.render(report, pictures).encode("utf-8", "replace")


def _load(calls: Calls) -> pd.DataFrame:
    rows = int(collect(calls.table.select(rows=nw.len()))["rows"].iloc[0])
    if rows > MAX_DOWNLOAD:
        raise InputError(f"{rows:,} calls are too many for a download: use filters (at most {MAX_DOWNLOAD:,})")
    return calls.to_pandas().sort_values("started_ns")
