"""Every chart of a real frame, of one row of it and of none, at both widths."""

import re
from functools import cache
from xml.etree import ElementTree

import pandas as pd
import pytest
from support.runs import write_runs
from support.simulated import read

from toolkit import analysis
from toolkit.analysis import charts
from toolkit.analysis.capacity import capacity, scalability
from toolkit.analysis.latency_percentiles import TAIL
from toolkit.api.return_codes import ReturnCode
from toolkit.report.trend import read_trend
from toolkit.settings import load_prices
from toolkit.simulation import SimulationPlan, simulate

SVG = "{http://www.w3.org/2000/svg}"
NO_CHARTS = {"WIDTH", "offline", "to_html", "to_png", "to_svg"}
CHARTS = sorted(set(charts.__all__) - NO_CHARTS)
EXPECTED = {
    "burn_rates": {"page, 1 h and 5 min", "burn rate (1: the budget lasts one period)", "long window"},
    "capacity": {"time of sends (ms)", "journeys started per second", "failed calls", "held", "missed", "p99"},
    "changes": {"time (UTC)", "RATE", "SERVER", "latency"},
    "compare": {"difference in share (percentage points)", "ratio of latencies, b to a", "significant"},
    "cost": {"cost (CNY) per day", "time (UTC)", "template 3", "unverified messages"},
    "errors": {"time (UTC)", "RATE", "ERROR"},
    "explain": {"lift (ratio to other values and to before)", "share of all such calls"},
    "forecast": {"cost to date (CNY)", "time (UTC)", "forecast (95 % interval)"},
    "guessers": {"verifies", "failed"},
    "latency": {"time (ms)", "percentile of calls", "p99.9", "send", "caller latency"},
    "latency_over_time": {"server latency (ms)", "time (UTC)", "p50", "p95", "p99", "verify"},
    "limits": {"window", "1 min", "1 h", "24 h"},
    "most_accepted": {"max accepted sends per mobile", "window", "1 min"},
    "over_time": {"calls per second", "time (UTC)", "50000 success", "50010 invalid code"},
    "reconcile": {"difference to the records (CNY)", "more than recorded"},
    "return_codes": {"share of the endpoint's calls", "50000 success", "50009 out of freq"},
    "scalability": {"calls in flight", "successful sends per second"},
    "suspects": {"score (of 100)", "conversion", "burst", "runs"},
    "trend": {"p50(send.caller_ms)", "failed", "ms", "%", "v0"},
    "what_if": {"money saved (CNY)", "verified users lost", "1/30s"},
    "what_if_sweep": {"money saved (CNY)", "1/60s", "1 h"},
}


TRIALS = [
    {
        "name": f"trial-{load}",
        "load": float(load),
        "is_long": load > 40,
        "duration_s": 10.0,
        "doubt_text": "",
        "result": "held" if load < 81 else "missed",
        "messages": 10 * load,
        "achieved_per_s": float(load),
        "in_flight": load / 50,
        "p50_ms": 20.0,
        "p99_ms": 40.0 + load,
        "failed_ratio": 0.0,
    }
    for load in (5, 10, 20, 40, 80, 84)
]


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder, plan = tmp_path_factory.mktemp("simulated"), SimulationPlan(days=17, calls=170_000, seed=7)
    simulate(folder, plan)
    runs = tmp_path_factory.mktemp("runs")
    write_runs(runs)
    lowered = read(folder, plan).label("limit_lowered")["started"]
    calls, prices = analysis.read(folder), load_prices(folder / "prices.toml")
    (statement,) = folder.glob("statement-*.csv")
    trials = capacity({"trials": TRIALS, "capacity": {"held": 80.0, "missed": 84.0}, "unit": "journeys/s"})
    return {
        "burn_rates": analysis.burn_rates(calls),
        "capacity": trials,
        "changes": analysis.changes(calls),
        "compare": analysis.compare(calls.between("2026-11-06", "2026-11-12"), calls.between(lowered), every="1h"),
        "cost": analysis.cost(calls, prices, by=("day", "temp_id")),
        "errors": analysis.errors(calls),
        "explain": analysis.explain(calls, ReturnCode.AUTH_FAILED),
        "forecast": analysis.forecast_by_day(calls, prices),
        "guessers": analysis.guessers(calls),
        "latency": analysis.latency(calls, at=TAIL),
        "latency_over_time": analysis.latency(calls, every="1h"),
        "limits": analysis.limits(calls),
        "most_accepted": analysis.most_accepted(calls),
        "over_time": analysis.over_time(calls, every="1h"),
        "reconcile": analysis.reconcile(calls, statement, prices).summary,
        "return_codes": analysis.return_codes(calls),
        "scalability": scalability(trials),
        "suspects": analysis.suspects(calls, all_prefixes=True),
        "trend": read_trend([runs]).series(),
        "what_if": analysis.what_if(calls, [analysis.RuleSet.parse("1/30s")], prices).iloc[1:],
        "what_if_sweep": analysis.what_if_sweep(calls, [1, 2], [60, 3600], prices),
    }


def _draw(name, frame, **size):
    return charts.to_svg(getattr(charts, name)(frame, **size))


@pytest.fixture(scope="module")
def drawn(frames):
    """Draw the chart of a frame at a width, each once."""
    return cache(lambda name, width: _draw(name, frames[name], width=width))


def _texts(svg):
    return [text.text or "".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("width", [250, 880])
@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_one_svg_element_with_its_labels(drawn, name, width):
    svg = drawn(name, width)
    assert EXPECTED[name] <= set(_texts(svg))
    assert not re.search(r"<script|<image|href=|url\((?!#)|@import|NaN", svg)


@pytest.mark.parametrize("width", [250, 880])
@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_no_wider_than_its_width_plus_the_axis(drawn, name, width):
    assert float(re.search(r'width="([0-9.]+)"', drawn(name, width))[1]) <= width + 100


@pytest.mark.parametrize("name", CHARTS)
def test_an_empty_frame_gives_a_text(frames, name):
    (text,) = _texts(_draw(name, frames[name].head(0), width=250))
    assert text.startswith("No ")


@pytest.mark.parametrize("name", CHARTS)
def test_one_row_can_be_plotted(frames, name):
    assert len(_texts(_draw(name, frames[name].head(1)))) > 1


@pytest.mark.parametrize("name", ["changes", "compare", "errors", "explain", "guessers", "limits", "suspects"])
def test_at_most_25_rows_are_plotted(frames, name):
    many = pd.concat([frames[name]] * 40, ignore_index=True)
    drawn = getattr(charts, name)(many)
    places = {row.get("place", 0) for rows in drawn.to_dict()["datasets"].values() for row in rows}
    assert places == set(range(25))
    assert any(text.startswith("and ") for text in _texts(charts.to_svg(drawn)))


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_contains_no_mobile_keys_and_no_request_ids(frames, name):
    drawn = getattr(charts, name)(frames[name]).to_dict()
    fields = {field for rows in drawn["datasets"].values() for row in rows for field in row}
    assert not fields & {"mobile_key", "msg_key", "example_request_ids"}
