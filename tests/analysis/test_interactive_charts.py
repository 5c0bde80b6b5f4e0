"""The values of charts that are drawn in the browser."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from toolkit import analysis
from toolkit.analysis import interactive_charts
from toolkit.api.wire import Endpoint
from toolkit.browser_charts.scripts import embed

START_S = 1_793_966_400


def times(call: Any, *seconds: float, code: int = 50000) -> list[Any]:
    return [call(code=code, started_ns=int((START_S + it) * 10**9)) for it in seconds]


def test_bars_have_a_place_for_each_bucket_also_without_calls(call: Any) -> None:
    records = times(call, 0, 1, 10.5)
    chart = interactive_charts.over_time(analysis.over_time(analysis.from_records(records), "5s"))
    (panel,) = chart.panels
    assert panel.title == "send: calls per second"
    assert list(panel.edges) == [START_S + it for it in (0, 5, 10, 15)]
    assert list(panel.series[0].values) == pytest.approx([0.4, 0, 0.2])
    assert list(panel.partial) == [False, False, True]
    assert (chart.axis.kind, chart.axis.zone, chart.selectable) == ("time", "UTC", True)


def test_days_are_drawn_from_midnight_to_midnight_when_clocks_are_changed(call: Any) -> None:
    starts = pd.date_range("2026-03-27", "2026-04-01", tz="Europe/Berlin")
    records = [call(code=50000, started_ns=it.value + 10**9) for it in starts]
    frame = analysis.over_time(analysis.from_records(records), "1D", timezone="Europe/Berlin")
    (panel,) = interactive_charts.over_time(frame).panels
    assert [pd.Timestamp(it, unit="s", tz="Europe/Berlin") for it in panel.edges][:-1] == list(starts)
    assert all(panel.series[0].values)


def test_a_long_time_without_calls_is_one_bar(call: Any) -> None:
    frame = analysis.over_time(analysis.from_records(times(call, 0, 400_000)), "1s")
    (panel,) = interactive_charts.over_time(frame).panels
    assert [it - START_S for it in panel.edges] == [0, 1, 400_000, 400_001]
    assert list(panel.series[0].values) == pytest.approx([3600, 0, 3600])


def test_a_rare_rate_is_per_hour_and_says_so(call: Any) -> None:
    records = times(call, 0, 600, 3600)
    (panel,) = interactive_charts.over_time(analysis.over_time(analysis.from_records(records), "1h")).panels
    assert panel.title == "send: calls per hour"
    assert (list(panel.series[0].values), panel.unit_s) == (pytest.approx([2, 1]), 3600)


def test_outcomes_of_one_kind_have_patterns_on_light_and_on_dark(call: Any) -> None:
    records = [call(Endpoint.VERIFY, code) for code in (50010, 50011, 50012)]
    chart = interactive_charts.over_time(analysis.over_time(analysis.from_records(records))).as_json()
    series = chart["panels"][0]["series"]
    assert [it["name"] for it in series] == ["50010 invalid code", "50011 expired code", "50012 verified code"]
    assert len({it["path"] for it in series}) == 3
    assert all({"light", "dark", "light_ink", "dark_ink"} <= set(it) for it in series)


def test_a_line_has_a_gap_where_no_calls_were_and_hollow_ends(call: Any) -> None:
    records = times(call, 0.5, 1, 2, 6, 7.5)
    frame = analysis.latency(analysis.from_records(records), every="1s", at=(50, 95, 99))
    chart = interactive_charts.latency_over_time(frame)
    (panel,) = chart.panels
    p99, _, p50 = panel.series
    assert (p99.name, p50.name) == ("p99", "p50")
    assert [at - START_S for at, _ in p50.points] == [0.5, 1.5, 2.5, 4.5, 6.5, 7.5]
    assert [it - START_S for it in panel.edges] == [0, 1, 2, 3, 6, 7, 8]
    assert [y is None for _, y in p50.points] == [False, False, False, True, False, False]
    assert list(p50.hollow) == [0, 5]


def test_latencies_an_hour_apart_keep_the_width_of_their_buckets(call: Any) -> None:
    frame = analysis.latency(analysis.from_records(times(call, 0, 3600)), every="1min", at=(50,))
    chart = interactive_charts.latency_over_time(frame)
    (panel,) = chart.panels
    assert [it - START_S for it in panel.edges] == [0, 60, 3600, 3660]
    assert [at - START_S for at, _ in panel.series[0].points] == [30, 1830, 3630]
    assert (chart.axis.start, chart.axis.end) == (panel.edges[0], panel.edges[-1])


def test_percentiles_are_on_an_axis_of_nines(call: Any) -> None:
    frame = analysis.latency(analysis.from_records(times(call, 0, 1)), at=(50, 90, 99))
    chart = interactive_charts.latency(frame)
    assert [at for at, _ in chart.panels[0].series[0].points] == pytest.approx([0.30103, 1, 2])
    assert chart.axis.kind == "nines"


@pytest.mark.parametrize(
    "chart", [interactive_charts.over_time, interactive_charts.latency_over_time, interactive_charts.latency]
)
def test_nothing_is_drawn_without_calls(chart: Any) -> None:
    assert chart(pd.DataFrame()).panels == ()


def test_a_text_cannot_end_the_page_s_data(call: Any) -> None:
    records = [call(code=None, error="</script><script>alert(1)", started_ns=START_S * 10**9)]
    data = embed(interactive_charts.over_time(analysis.over_time(analysis.from_records(records))).as_json())
    assert "<" not in data
    assert json.loads(data)["panels"][0]["series"][0]["name"] == "</script><script>alert(1)"
