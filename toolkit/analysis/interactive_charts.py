"""Chart outcomes and latencies of calls over time, and latencies by percentile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import log10
from typing import Any

import pandas as pd

from toolkit.analysis.latency_percentiles import CALLER, MEASURES, SERVER, percentile_of
from toolkit.analysis.timestamps import NS_PER_S, zone_name
from toolkit.api.wire import Endpoint
from toolkit.browser_charts.outcome_panels import outcome_panels
from toolkit.browser_charts.panels import PARTIAL_BELOW, Axis, BrowserChart, Panel, Point, Series
from toolkit.outcome_colours import CODE_UNKNOWN, PRIMARY, SECONDARY, ColourPair, Outcome

_ENDPOINT_LOOKS = {Endpoint.SEND.value: PRIMARY, Endpoint.VERIFY.value: SECONDARY}
_PERCENTILE_LOOKS = {
    99: ColourPair("#12305c", "#cfe2f7"),
    95: ColourPair("#3d7fc4", "#7db0f0"),
    50: ColourPair("#8fb4dc", "#46709f"),
}
_NOTHING = BrowserChart((), Axis("number", 0.0, 1.0), "No calls")


def over_time(frame: pd.DataFrame) -> BrowserChart:
    """Chart the result of ``analysis.over_time``: stacked calls by outcome, a panel for each endpoint.

    Consecutive buckets without calls are one empty bar.
    """
    rows = frame.to_dict("records")
    if not rows:
        return _NOTHING
    edges = _edges(frame)
    places = {start: place for place, start in enumerate(edges)}
    partial = [False] * (len(edges) - 1)
    calls: defaultdict[tuple[Endpoint, Outcome], list[int]] = defaultdict(lambda: [0] * len(partial))
    for row in rows:
        place = places[row["started"].value / NS_PER_S]
        calls[Endpoint(row["endpoint"]), _outcome(row)][place] += row["calls"]
        partial[place] |= row["covered_ratio"] < PARTIAL_BELOW
    axis = Axis("time", edges[0], edges[-1], zone_name(frame))
    panels = list(outcome_panels(edges, calls, partial))
    return BrowserChart(panels, axis, "Rate of calls by return code, over time", selectable=True)


def latency_over_time(frame: pd.DataFrame) -> BrowserChart:
    """Chart the result of ``analysis.latency`` with ``every``: caller latency, and server latency if it differs."""
    if not len(frame):
        return _NOTHING
    edges = _edges(frame)
    panels = []
    for endpoint in Endpoint:
        caller, server = (
            frame[(frame["endpoint"] == endpoint.value) & (frame["measure"] == it)].sort_values("started")
            for it in (CALLER, SERVER)
        )
        percentiles = [it for it in _PERCENTILE_LOOKS if f"p{it}_ms" in frame]
        times = [own[[f"p{it}_ms" for it in percentiles]].reset_index(drop=True) for own in (caller, server)]
        is_same = times[0].equals(times[1])
        series = [
            _percentile_series(own, percentile, prefix, is_dashed)
            for own, prefix, is_dashed in ((caller, "", False), (server, "server ", True))
            for percentile in percentiles
            if len(own) and not (is_dashed and is_same)
        ]
        if series:
            title = f"{endpoint}: {MEASURES[SERVER if is_same else CALLER]} (ms)"
            panels.append(Panel("lines", title, series, 130, edges, log=True, empty="no latencies"))
    axis = Axis("time", edges[0], edges[-1], zone_name(frame))
    return BrowserChart(panels, axis, "Latency over time", selectable=True)


def latency(frame: pd.DataFrame) -> BrowserChart:
    """Chart the result of ``analysis.latency``: a line for each endpoint and measure, by percentile."""
    series = [
        Series(
            f"{row['endpoint']}: {MEASURES[row['measure']]}",
            _ENDPOINT_LOOKS[row["endpoint"]],
            points=list(_tail_points(row)),
            dashed=row["measure"] == SERVER,
        )
        for row in frame.to_dict("records")
    ]
    ends = [at for it in series for at, _ in it.points]
    if not ends:
        return _NOTHING
    panel = Panel("lines", "latency (ms) by percentile", series, height=200, log=True)
    return BrowserChart([panel], Axis("nines", min(ends), max(ends)), "Latency by percentile")


def _edges(frame: pd.DataFrame) -> list[float]:
    """Return where the buckets of a frame begin and end, in s. Days differ in length when clocks are changed."""
    return [it / NS_PER_S for it in sorted({it.value for name in ("started", "ended") for it in frame[name]})]


def _percentile_series(own: pd.DataFrame, percentile: int, prefix: str, is_dashed: bool) -> Series:
    points: list[Point] = []
    hollow = []
    previous = None
    for start, end, ms, covered in zip(
        own["started"], own["ended"], own[f"p{percentile}_ms"], own["covered_ratio"], strict=True
    ):
        if previous is not None and start > previous:
            points.append(((previous.value + start.value) / 2 / NS_PER_S, None))
        if covered < PARTIAL_BELOW:
            hollow.append(len(points))
        points.append(((start.value + end.value) / 2 / NS_PER_S, ms))
        previous = end
    look = _PERCENTILE_LOOKS[percentile]
    return Series(f"{prefix}p{percentile}", look, points=points, dashed=is_dashed, hollow=hollow)


def _outcome(row: Mapping[Any, Any]) -> Outcome:
    if not pd.isna(row["return_code"]):
        return int(row["return_code"])
    return CODE_UNKNOWN if pd.isna(row["error"]) else str(row["error"])


def _tail_points(row: Mapping[Any, Any]) -> Iterator[Point]:
    for name, value in row.items():
        percentile = percentile_of(name)
        if percentile is not None and percentile < 100 and not pd.isna(value):
            yield log10(1 / (1 - percentile / 100)), value
