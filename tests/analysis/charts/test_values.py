"""The values of charts: as tooltips in notebooks, and pale where the calls cover only a part of a day."""

import base64
import re
from datetime import date
from decimal import Decimal
from html import unescape

import altair as alt
import pytest

from toolkit import analysis
from toolkit.analysis import charts
from toolkit.analysis.capacity import capacity, scalability
from toolkit.price_list import PriceList, PriceRow

NOON_NS = 1_793_966_400 * 10**9  # 2026-11-06 12:00 UTC
DAY_NS = 86_400 * 10**9
PRICES = PriceList((PriceRow(date.min, Decimal("0.1"), "CNY"),))


@pytest.fixture
def titles_of():
    """Return the tooltips of a chart in a notebook."""
    active, options = alt.renderers.active, alt.renderers.options

    def show(chart):
        charts.offline()
        (svg,) = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", chart._repr_mimebundle_()[0]["text/html"])
        return [unescape(it) for it in re.findall(r"<title>(.*?)</title>", base64.b64decode(svg).decode())]

    yield show
    alt.renderers.enable(active, **options)


def sends(call, days):
    records = [
        call(code=50000, started_ns=NOON_NS + day * DAY_NS + part * 10**9) for day in range(days) for part in (0, 9)
    ]
    return analysis.from_records(records)


def test_a_forecast_tells_the_sum_of_each_day_and_its_interval(call, titles_of):
    titles = titles_of(charts.forecast(analysis.forecast_by_day(sends(call, 20), PRICES)))
    assert [it for it in titles if not it.startswith("by the end of 2026-11-")] == []
    assert "by the end of 2026-11-06: 0.20 CNY" in titles
    assert re.fullmatch(r"by the end of 2026-11-30: [\d.]+ CNY \([\d.]+ to [\d.]+\)", titles[-1])


def test_trials_tell_their_load_result_and_figures(titles_of):
    loads = [*((load, "held") for load in (5, 10, 20, 40, 80)), (84, "missed")]
    shared = {"is_long": True, "duration_s": 10.0, "doubt_text": "", "messages": 100, "p50_ms": 20.0, "p99_ms": 40.0}
    trials = [
        shared
        | {"name": f"trial-{load}", "load": float(load), "result": result, "achieved_per_s": float(load)}
        | {"in_flight": load / 50, "failed_ratio": 0.01}
        for load, result in loads
    ]
    frame = capacity({"trials": trials, "capacity": {"held": 80.0, "missed": 84.0}, "unit": "journeys/s"})
    titles = titles_of(charts.capacity(frame))
    assert {"84 journeys/s missed: p99 40.0 ms", "20 journeys/s held: 1.00 % failed"} <= set(titles)
    assert "1.6 in flight: 80.0 sends/s" in titles_of(charts.scalability(scalability(frame)))


def test_the_cost_of_a_day_that_is_covered_in_part_is_pale(call):
    frame = analysis.cost(sends(call, 3), PRICES, by="day")
    assert frame["covered_ratio"].tolist() == pytest.approx([0.5, 1, 0.5], abs=0.001)
    svg = charts.to_svg(charts.cost(frame))
    assert len(re.findall('opacity="0.45"', svg)) == 4  # the first and the last bar, and the bars in them
    assert "only a part of this time is covered" in svg
    whole = charts.to_svg(charts.cost(frame.drop(columns="covered_ratio")))
    assert 'opacity="0.45"' not in whole
