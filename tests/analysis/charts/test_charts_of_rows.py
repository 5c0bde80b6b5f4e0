"""What a chart makes of single rows that no simulation promises."""

from xml.etree import ElementTree

import pandas as pd
import pytest

from toolkit import analysis
from toolkit.analysis import charts
from toolkit.analysis.charts import base
from toolkit.api.wire import Endpoint
from toolkit.price_list import PriceList

SVG = "{http://www.w3.org/2000/svg}"
NOON_MS = 1_793_966_400_000


def _texts(chart):
    return ["".join(text.itertext()) for text in ElementTree.fromstring(charts.to_svg(chart)).iter(f"{SVG}text")]


def _data(chart):
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


@pytest.fixture
def guesser():
    seen = pd.Timestamp("2026-11-06 12:00", tz="UTC")
    counts = {"failed": 29, "messages": 6, "most_on_a_message": 5, "refused": 3, "got_in": 1}
    key = {"mobile_key": -8599476033127510113, "prefix": "1380013"}
    return pd.DataFrame([key | counts | {"first_seen": seen, "last_seen": seen, "flagged": True}])


def test_a_mobile_is_labelled_by_the_first_digits_of_its_key(guesser):
    chart = charts.guessers(guesser)
    assert "key 88a886 (1380013 …): 29 failed, flagged" in _texts(chart)
    assert "8599476033127510113" not in str(chart.to_dict())


def test_a_success_after_failures_is_marked(guesser):
    assert "succeeded afterwards" in _texts(charts.guessers(guesser))
    assert "succeeded afterwards" not in _texts(charts.guessers(guesser.assign(got_in=0)))


@pytest.fixture
def change():
    times = {"changed_at": pd.Timestamp("2026-11-06 12:00", tz="UTC"), "until": pd.NaT}
    what = {"endpoint": "send", "measure": "share", "return_code": 50009, "message": "out of freq", "error": None}
    row = times | what | {"percentile": None, "before": 0.01, "after": 0.25, "score": 9.0}
    return pd.DataFrame([row]).assign(until=pd.to_datetime(pd.Series([pd.NaT]), utc=True))


def test_a_change_that_goes_on_ends_with_an_arrow(change):
    (row,) = _data(charts.changes(change))
    assert row["goes_on"]
    (row,) = _data(charts.changes(change.assign(until=pd.Timestamp("2026-11-06 13:00", tz="UTC"))))
    assert not row["goes_on"]


def test_the_label_of_a_change_has_both_levels(change):
    texts = _texts(charts.changes(change))
    assert "send 50009 out of freq: 1.00 % → 25.00 %" in texts
    assert "time (UTC) on 2026-11-06" in texts


def test_omitted_rows_are_counted(change):
    many = pd.concat([change] * 40, ignore_index=True)
    assert "and 15 more" in _texts(charts.changes(many))


def test_messages_without_prices_give_a_text(call):
    costs = analysis.cost(analysis.from_records([call()]), PriceList(), by=("day", "temp_id"))
    assert _texts(charts.cost(costs)) == ["No messages with a price"]


def test_caller_latency_is_plotted_if_it_differs_from_server_latency(call):
    calls = analysis.from_records([call(), call(wait_ns=10**9), call(Endpoint.VERIFY)])
    texts = _texts(charts.latency_over_time(analysis.latency(calls, every="1s")))
    assert {"caller latency", "server latency", "time (ms)"} <= set(texts)


def test_a_line_is_interrupted_at_missing_buckets(call):
    started = [call().started_ns + second * 10**9 for second in (0, 1, 5)]
    frame = analysis.latency(analysis.from_records(call(started_ns=it) for it in started), every="1s")
    found = {
        (row["started"] - NOON_MS, row["stretch"], row["is_single"]) for row in _data(charts.latency_over_time(frame))
    }
    assert found == {(0, 1, False), (1000, 1, False), (5000, 2, True)}


@pytest.mark.parametrize(
    ("span_s", "form"),
    [
        (2, "%H:%M:%S.%L"),
        (60, "%H:%M:%S"),
        (7_200, "%H:%M"),
        (43_300, "%m-%d %H:%M"),
        (864_000, "%m-%d"),
        (31_000_000, "%Y-%m"),
        (400_000_000, "%Y"),
    ],
)
def test_the_format_of_a_time_axis_depends_on_its_span(span_s, form):
    assert base.time_axis("at:T", NOON_MS, NOON_MS + span_s * 1000, 880, "UTC").to_dict()["axis"]["format"] == form


def test_the_busiest_time_of_errors_is_not_before_the_first(call):
    late = call().started_ns + 1_500 * 10**9
    found = analysis.errors(analysis.from_records([call(code=50009, started_ns=late)]), every="1h")
    (row,) = _data(charts.errors(found))
    assert row["busiest"] == row["first_seen"] == late // 10**6


def test_a_window_without_an_upper_bound_is_open():
    window = {"window_s": None, "window_low_s": 3_000.0, "window_high_s": None, "window_shape": "undecided"}
    whose = {"app_key": None, "max_sends": 5, "since": pd.Timestamp("2026-11-06", tz="UTC"), "refusals": 12}
    chart = charts.limits(pd.DataFrame([whose | window]))
    assert "5 in 50 min or more, undecided: 12 refusals" in _texts(chart)
    assert _data(chart)[0]["is_open"]
