"""Show the figures of calls as HTML tables and chart panels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log10
from typing import Any

import pandas as pd

from toolkit import number_format
from toolkit.analysis.latency_percentiles import CALLER, MEASURES, percentile_of
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.forms.parts.call_filter import CallFigures
from toolkit.forms.widgets.chart import Panel, Series
from toolkit.forms.widgets.templates import render
from toolkit.outcome_colours import (
    CODE_UNKNOWN,
    PRIMARY,
    SECONDARY,
    Outcome,
    colours_by_outcome,
    colours_of,
    outcome_name,
)
from toolkit.report import result_tables
from toolkit.time_zone import utc_offsets

_COLOURS = {Endpoint.SEND.value: PRIMARY, Endpoint.VERIFY.value: SECONDARY}
_NINES = (2, 10, 100, 1_000, 10_000)
_STEPS_S = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 21_600, 86_400, 604_800, 2_592_000)
_MAX_TICKS = 7
_CLOCKS = ((86_400, "%m-%d"), (60, "%H:%M"), (1, "%H:%M:%S"), (0, "%H:%M:%S.%f"))
_LONGEST_CLOCK = len("08:00:00.1")


def facts_html(figures: CallFigures) -> str:
    """Return the HTML of the key figures."""
    total = int(figures.codes["calls"].sum())
    good = int(figures.codes.loc[figures.codes["return_code"] == ReturnCode.SUCCESS, "calls"].sum())
    per_s = total / figures.duration_s if figures.duration_s else None
    factor, unit = number_format.rate_scale(per_s)
    facts = [
        ("Calls", f"{total:,}", ""),
        ("Rate", number_format.rate(per_s and per_s * factor), f"/{unit[0]}"),
        ("OK", number_format.share(good / total if total else None), ""),
        ("Duration", number_format.duration(figures.duration_s), ""),
    ]
    return render("facts", facts=facts)


def codes_html(codes: pd.DataFrame) -> str:
    """Return the HTML table of ``analysis.return_codes``."""
    rows = zip(
        result_tables.outcome_rows(codes),
        (colours_of(it) for it in map(_outcome, codes.to_dict("records"))),
        strict=True,
    )
    return render("codes", rows=list(rows))


def latency_html(latency: pd.DataFrame) -> str:
    """Return the HTML table of ``analysis.latency``."""
    return render("latency", heads=result_tables.latency_headers(), rows=list(result_tables.latency_rows(latency)))


def over_time_panels(over_time: pd.DataFrame) -> Iterator[Panel]:
    """Return the panels of ``analysis.over_time``, on an axis of seconds since 1970."""
    rows = over_time.to_dict("records")
    if not rows:
        return
    width = (over_time["ended"].iloc[0] - over_time["started"].iloc[0]).value
    first, last = over_time["started"].min().value, over_time["ended"].max().value
    edges = [at / 1e9 for at in range(first, last + 1, width)]  # also of buckets without calls
    places = {start: place for place, start in enumerate(edges)}
    colours = colours_by_outcome({_outcome(row) for row in rows})
    factor, unit = number_format.rate_scale(over_time["calls"].sum() / (edges[-1] - edges[0]))
    for endpoint in Endpoint:
        values = {outcome: [0.0] * (len(edges) - 1) for outcome in colours}
        for row in rows:
            if row["endpoint"] == endpoint.value:
                values[_outcome(row)][places[row["started"].value / 1e9]] += row["calls_per_s"] * factor
        series = [
            Series(outcome_name(it), colour, values=values[it]) for it, colour in colours.items() if any(values[it])
        ]
        if series:
            yield Panel("bars", f"{endpoint}: calls per {unit}", series, height=110, edges=edges)


def tail_panels(tail: pd.DataFrame) -> Iterator[Panel]:
    """Return the panel of latency by percentile. Each additional nine has the same width."""
    series = [
        Series(
            f"{row['endpoint']}: {MEASURES[row['measure']]}",
            _COLOURS[row["endpoint"]],
            points=list(_tail_points(row)),
            dashed=row["measure"] != CALLER,
        )
        for row in tail.to_dict("records")
    ]
    if series:
        yield Panel("lines", "latency (ms) by percentile", series, height=200, log=True)


def nines(tail: pd.DataFrame) -> list[tuple[float, str]]:
    """Return the ticks of the axis of percentiles."""
    furthest = max((at for row in tail.to_dict("records") for at, _ in _tail_points(row)), default=0)
    places = [(_place(100 * (1 - 1 / spread)), f"p{100 - 100 / spread:g}") for spread in _NINES]
    return [(at, label) for at, label in places if at <= furthest + 1e-9]


def clock(start_s: float, end_s: float, timezone: str) -> list[tuple[float, str]]:
    """Return the ticks of an axis of seconds since 1970, with their times in a time zone."""
    took_s = end_s - start_s
    step = next((it for it in _STEPS_S if took_s <= it * _MAX_TICKS), _STEPS_S[-1])
    form = next(form for least_s, form in _CLOCKS if step >= least_s)
    ((_, offset_ns), *_) = utc_offsets(timezone, int(start_s * 1e9), int(start_s * 1e9))
    first = -(-(start_s + offset_ns / 1e9) // step) * step - offset_ns / 1e9
    places = [first + step * number for number in range(int((end_s - first) / step) + 1)]
    times = (pd.Timestamp(at, unit="s", tz="UTC").tz_convert(timezone) for at in places)
    return [(at, f"{time:{form}}"[:_LONGEST_CLOCK]) for at, time in zip(places, times, strict=True)]


def _outcome(row: Mapping[Any, Any]) -> Outcome:
    if not pd.isna(row["return_code"]):
        return int(row["return_code"])
    return CODE_UNKNOWN if pd.isna(row["error"]) else str(row["error"])


def _tail_points(row: Mapping[Any, Any]) -> Iterator[tuple[float, float]]:
    for name, value in row.items():
        if (percentile := percentile_of(name)) is not None and percentile < 100:
            yield _place(percentile), value


def _place(percentile: float) -> float:
    return log10(1 / (1 - percentile / 100))
