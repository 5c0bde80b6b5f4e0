import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit import analysis
from toolkit.analysis import charts, latency_percentiles
from toolkit.api.return_codes import Kind
from toolkit.api.wire import Endpoint
from toolkit.outcome_colours import KIND_COLOURS

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def frame(call):
    sends = [
        call(started_ns=i * 10_000_000, latency_ns=10**6 + i, code=50009 if i % 9 == 0 else 50000) for i in range(500)
    ]
    others = [call(error="timeout"), call(code=59031), call(Endpoint.VERIFY, 50010), call(Endpoint.VERIFY, 50012)]
    return analysis.from_records([*sends, *others])


def _draw_all(frame, **size):
    return [
        charts.latency(analysis.latency(frame, at=latency_percentiles.TAIL), **size),
        charts.over_time(analysis.over_time(frame), **size),
        charts.return_codes(analysis.return_codes(frame), **size),
    ]


def _texts(chart):
    return [text.text for text in ElementTree.fromstring(charts.to_svg(chart)).iter(f"{SVG}text")]


def test_every_chart_is_one_svg_element_without_references(frame):
    for chart in _draw_all(frame):
        svg = charts.to_svg(chart)
        assert ElementTree.fromstring(svg).tag == f"{SVG}svg"
        assert not re.search(r"<script|<image|href=|url\((?!#)|@import", svg)


def test_axes_are_labelled_with_their_units(frame):
    lines, bars, shares = map(_texts, _draw_all(frame))
    assert {"percentile of calls", "time (ms)", "p50", "p99.9"} <= set(lines)
    assert {"time (UTC)", "calls per hour", "send", "verify"} <= set(bars)  # a few calls of 1970, a few of 2026
    assert {"share of the endpoint's calls", "100%"} <= set(shares)


def test_outcomes_are_labelled_by_number_and_message_or_error(frame):
    _, bars, shares = map(_texts, _draw_all(frame))
    named = {"50000 success", "50009 out of freq", "50010 invalid code", "50012 verified code", "59031", "timeout"}
    assert named <= set(bars)
    assert named <= set(shares)


def test_there_is_a_line_for_each_endpoint_and_measure(frame):
    spec = charts.latency(analysis.latency(frame)).to_dict()
    (rows,) = spec["datasets"].values()
    assert {(row["endpoint"], row["measure"]) for row in rows} == {
        (endpoint, name) for endpoint in ("send", "verify") for name in latency_percentiles.MEASURES.values()
    }
    assert [row["spread"] for row in rows[:5]] == pytest.approx([2, 10, 20, 100, 1000])


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_every_run_can_be_plotted(data, runs):
    for chart in _draw_all(analysis.from_records(data.draw(runs))):
        assert charts.to_svg(chart).startswith("<svg")


def test_no_calls_and_calls_with_a_latency_of_0_can_be_plotted(call):
    for records in ([], [call(latency_ns=0)]):
        for chart in _draw_all(analysis.from_records(records)):
            assert charts.to_svg(chart).startswith("<svg")


def test_more_than_5000_buckets_can_be_plotted(call):
    many = analysis.from_records(call(started_ns=(1_793_966_400 + i) * 10**9) for i in range(6000))
    assert charts.to_svg(charts.over_time(analysis.over_time(many))).startswith("<svg")


def test_all_but_the_twelve_most_frequent_outcomes_are_other(call):
    records = [call(code=60000 + i) for i in range(30) for _ in range(i + 1)]
    texts = _texts(charts.return_codes(analysis.return_codes(analysis.from_records(records))))
    assert [text for text in texts if text.startswith("600")] == [str(60000 + i) for i in range(18, 30)]
    assert "other" in texts


def test_the_time_axis_is_utc_in_every_time_zone(call):
    noon = analysis.from_records([call(), call(started_ns=1_793_966_430_000_000_000)])
    assert "12:00:00" in _texts(charts.over_time(analysis.over_time(noon)))


def test_codes_of_one_kind_have_different_shades_and_patterns(call):
    records = [call(Endpoint.VERIFY, code) for code in (50000, 50010, 50011, 50012)]
    chart = charts.over_time(analysis.over_time(analysis.from_records(records)))
    drawn = chart.to_dict()["spec"]["encoding"]["color"]["scale"]["range"]
    assert len(set(drawn)) == 4
    assert drawn[:2] == [KIND_COLOURS[Kind.OK], KIND_COLOURS[Kind.VERDICT]]
    assert list(chart.to_dict()["usermeta"]["patterns"]) == drawn[2:]
    patterns = [it.get("stroke") for it in ElementTree.fromstring(charts.to_svg(chart)).iter() if it.get("clip-path")]
    assert len(patterns) == 4  # two in the bars, two in the legend
    assert len(set(patterns)) == 2


def test_patterns_are_in_the_bars_and_the_legend_of_their_own_picture(call):
    records = [call(Endpoint.VERIFY, code) for code in (50010, 50011)]
    seen: set[str] = set()
    for width in (250, 880):
        svg = charts.to_svg(charts.over_time(analysis.over_time(analysis.from_records(records)), width=width))
        names = re.findall(r'<clipPath id="([^"]+)"', svg)
        assert len(set(names)) == 2
        assert re.findall(r'clip-path="url\(#([^"]+)\)"', svg) == names
        assert not seen & set(names)
        seen |= set(names)
        assert KIND_COLOURS[Kind.VERDICT] in svg


def test_buckets_that_the_log_covers_in_part_are_pale(call):
    start_ns = 1_793_966_400 * 10**9
    records = [call(started_ns=start_ns + second * 10**9) for second in range(45, 165)]
    frame = analysis.over_time(analysis.from_records(records), "1min")
    assert frame["covered_ratio"].tolist() == pytest.approx([15 / 60, 1, 44 / 60])
    texts = _texts(charts.over_time(frame))
    assert "pale or hollow: only a part of this time is covered" in texts
    assert len(re.findall(r'opacity="0\.45"', charts.to_svg(charts.over_time(frame)))) == 2
    lines = charts.latency_over_time(analysis.latency(analysis.from_records(records), every="1min", at=(50, 99)))
    assert len(re.findall(r'fill="white" stroke="#', charts.to_svg(lines))) == 4  # two of p50, two of p99
