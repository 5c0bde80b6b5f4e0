"""chart.js in a browser: what tooltips say, zeros on a logarithmic axis, single points, ranges, redraws and zones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect
from support.pages import Watched, watched

from toolkit.api.wire import Endpoint
from toolkit.browser_charts import Axis, BrowserChart, Panel, Point, Series
from toolkit.browser_charts.outcome_panels import outcome_panels
from toolkit.browser_charts.scripts import STYLE, widget_module
from toolkit.outcome_colours import PRIMARY

START_S = 1_793_966_400  # 2026-11-06 12:00:00 UTC
MOUNT = """spec => {
  window.drawn = [];  // all plots that were drawn
  window.uPlot = new Proxy(uPlot, { construct: (Plot, given) => {
    const plot = new Plot(...given);
    drawn.push(plot);
    return plot;
  } });
  window.selected = [];
  window.chart = mountChart(document.querySelector(".sms-chart"), (range) => selected.push(range));
  chart.update(spec);
}"""


@pytest.fixture
def it(browser: Browser) -> Iterator[Watched]:
    with watched(browser, timezone_id="America/New_York") as page:
        style = STYLE.read_text(encoding="utf-8")
        page.page.set_content(f"<style>{style}</style><div style='padding: 40px'><div class='sms-chart'></div></div>")
        page.page.add_script_tag(content=widget_module().replace("export default", ""))
        yield page
        assert page.errors == []


def lines(points: Sequence[Point], axis: Axis | None = None, log: bool = True) -> dict[str, Any]:
    series = [Series("p50", PRIMARY, points=points)]
    ends = axis or Axis("number", points[0][0], points[-1][0])
    return BrowserChart([Panel("lines", "latency (ms)", series, log=log)], ends, "Latency", selectable=True).as_json()


def mount(it: Watched, spec: dict[str, Any]) -> None:
    it.page.evaluate(MOUNT, spec)


def point_at(it: Watched, share: float) -> None:
    """Move the mouse to a share of the x axis."""
    box = it.page.locator(".u-over").first.bounding_box()
    assert box
    it.page.mouse.move(box["x"] + box["width"] * share, box["y"] + 40)


@pytest.mark.parametrize(
    ("values", "scale"),
    [([0, 5, 0, 700], [0.1, 1000]), ([0, 0, 0, 0], [0.1, 1]), ([0, 0.004, 0, 0.02], [0.0001, 0.1])],
)
def test_latencies_of_0_ms_lie_on_a_line_of_their_own(it: Watched, values: list[float], scale: list[float]) -> None:
    mount(it, lines(list(enumerate(values))))
    y, labels, heights = it.page.evaluate(
        "() => { const [plot] = drawn; return [plot.scales.y, plot.axes[1]._values, plot.data[1]]; }"
    )
    assert [y["min"], y["max"]] == pytest.approx(scale)
    assert (labels[0], labels.count("0")) == ("0", 1)
    assert [bool(it > y["min"]) for it in heights] == [it > 0 for it in values]
    point_at(it, 0.01)
    expect(it.page.locator(".sms-tip b")).to_have_text("0")


def test_nothing_is_read_in_a_gap(it: Watched) -> None:
    mount(it, lines([(0, 1.0), (1, 2.0), (2, None), (50, 4.0), (51, 5.0)]))
    tip = it.page.locator(".sms-tip")
    for share, value in ((0.5, None), (0.005, "1"), (0.995, "5"), (0.3, None), (0.975, "4")):
        point_at(it, share)
        if value is None:
            expect(tip).to_be_hidden()
        else:
            expect(tip.locator("b")).to_have_text(value)


@pytest.fixture
def outage(it: Watched) -> Locator:
    """A chart of calls and of their times, without a call in the second of three buckets of 10 s; its tooltip."""
    calls = {(Endpoint.SEND, 50000): [12_340, 0, 1], (Endpoint.SEND, 50009): [5, 0, 0]}
    edges = [START_S + at for at in (0, 10, 20, 30)]
    points = [(START_S + 5.0, 1234.4), (START_S + 15.0, None), (START_S + 25.0, 0.123)]
    series = [Series("p50", PRIMARY, points=points, hollow=[2])]
    times = Panel("lines", "latency (ms)", series, edges=edges, empty="no latencies")
    panels = [*outcome_panels(edges, calls, [False, False, True]), times]
    mount(it, BrowserChart(panels, Axis("time", edges[0], edges[-1], "UTC"), "Calls").as_json())
    return it.page.locator(".sms-tip")


def test_a_time_without_calls_says_so(it: Watched, outage: Locator) -> None:
    for share in (0.35, 0.5, 0.65):
        point_at(it, share)
        expect(outage).to_contain_text("12:00:10 to 12:00:20")
        expect(outage.locator("div")).to_have_text(["no calls", "no latencies"])


def test_fractions_of_a_second_are_shown_as_a_whole_time(it: Watched) -> None:
    edges = [START_S + tenth / 10 for tenth in range(11)]
    panels = outcome_panels(edges, {(Endpoint.SEND, 50000): [1] * 10}, [False] * 10)
    mount(it, BrowserChart(panels, Axis("time", edges[0], edges[-1], "UTC"), "Calls").as_json())
    labels = it.page.evaluate("() => drawn.at(-1).axes[0]._values")
    assert (labels[0], labels[-1]) == ("12:00:00.000\n2026-11-06", "12:00:01.000")
    for share, span in ((0.32, "12:00:00.300 to 12:00:00.400 (UTC)"), (0.95, "12:00:00.900 to 12:00:01 (UTC)")):
        point_at(it, share)
        expect(it.page.locator(".sms-at")).to_contain_text(span)


def test_values_are_those_of_the_bucket_in_full(it: Watched, outage: Locator) -> None:
    for share in (0.01, 0.3):
        point_at(it, share)
        expect(outage.locator("b")).to_have_text(["1,234 · 12,340 calls", "0.5 · 5 calls", "1,234"])
    point_at(it, 0.7)
    expect(outage.locator("b")).to_have_text(["0.1 · 1 call", "0.123"])
    expect(outage.locator("p")).to_contain_text(
        ["12:00:20 to 12:00:30", "per second (covered in part)", "latency (ms) (covered in part)"]
    )


def test_hidden_calls_are_not_told_as_none(it: Watched, outage: Locator) -> None:
    it.page.get_by_role("button", name="50000").click()
    point_at(it, 0.9)
    expect(outage.locator("div").first).to_have_text("hidden series only")
    point_at(it, 0.5)
    expect(outage.locator("div").first).to_have_text("no calls")


def test_a_tooltip_can_be_read_on_a_dark_page_without_colours_of_ours(it: Watched, outage: Locator) -> None:
    it.page.add_style_tag(content="body { color: #fff; background: #111 }")
    point_at(it, 0.9)
    it.page.set_viewport_size({"width": 1000, "height": 700})
    expect(outage).to_have_css("background-color", "rgb(28, 30, 37)")


def test_a_tooltip_is_below_a_chart_that_has_no_room_beside_the_crosshair(it: Watched, outage: Locator) -> None:
    it.page.set_viewport_size({"width": 390, "height": 700})
    point_at(it, 0.5)
    tip, area = outage.bounding_box(), it.page.locator(".sms-area").bounding_box()
    assert tip
    assert area
    assert tip["y"] >= area["y"] + area["height"]


def test_a_narrow_tooltip_shortens_names_and_shows_values_in_full(it: Watched) -> None:
    counts = {(Endpoint.SEND, f"a failure with a name of its own that is {'long ' * 9}"): [12_345]}
    panels = list(outcome_panels([START_S, START_S + 86_400], counts, [False]))
    mount(it, BrowserChart(panels, Axis("time", START_S, START_S + 86_400, "UTC"), "Calls").as_json())
    it.page.set_viewport_size({"width": 390, "height": 700})
    point_at(it, 0.5)
    tip, swatch, value = (it.page.locator(f".sms-tip{part}").first.bounding_box() for part in ("", " svg", " b"))
    assert tip
    assert swatch
    assert value
    assert swatch["width"] == 16
    assert value["x"] + value["width"] < tip["x"] + tip["width"] <= 390


def test_the_last_date_of_an_axis_has_room(it: Watched) -> None:
    mount(it, lines([(START_S, 1.0), (START_S + 10 * 86_400, 2.0)], Axis("time", START_S, START_S + 864_000, "UTC")))
    right, date = it.page.evaluate("""() => {
      const [{ ctx, bbox }] = drawn;
      ctx.font = "12px system-ui, sans-serif";
      return [(ctx.canvas.width - bbox.left - bbox.width) / devicePixelRatio, ctx.measureText("2026-12-01").width];
    }""")
    assert right >= date / 2


def test_a_single_point_and_no_panel_are_drawn(it: Watched) -> None:
    mount(it, lines([(7, 3.0)]))
    it.page.get_by_role("application").press("Home")
    expect(it.page.locator(".sms-tip b")).to_have_text("3")
    assert it.page.evaluate("() => Number.isFinite(drawn[0].valToPos(7, 'x'))")
    it.page.evaluate("() => chart.update({panels: []})")
    expect(it.page.locator(".sms-chart")).to_be_hidden()
    it.page.evaluate("spec => chart.update(spec)", lines([(7, 3.0), (8, 4.0)]))
    expect(it.page.locator(".sms-chart")).to_be_visible()


def test_a_range_may_end_outside_of_the_axes(it: Watched) -> None:
    mount(it, lines([(0, 1.0), (100, 2.0)]))
    point_at(it, 0.5)
    it.page.mouse.down()
    point_at(it, 0.8)
    point_at(it, 1.1)
    it.page.mouse.up()
    ((start, end),) = it.page.evaluate("() => selected")
    assert (start, end) == (pytest.approx(50, abs=1), pytest.approx(100, abs=1))


def test_a_second_range_does_not_begin_at_the_first_one(it: Watched) -> None:
    mount(it, lines([(at, 1.0) for at in range(10)]))
    chart = it.page.get_by_role("application")
    for key in ("Home", "Shift+ArrowRight", "Enter", "End", "Shift+ArrowLeft", "Enter"):
        chart.press(key)
    assert it.page.evaluate("() => selected") == [[0, 1], [8, 9]]


def test_only_a_change_of_colours_draws_again_and_nothing_after_the_end(it: Watched) -> None:
    mount(it, lines([(0, 1.0), (100, 2.0)]))
    it.page.wait_for_function("() => new Promise((done) => setTimeout(() => done(true)))")

    def drawings() -> int:
        return it.page.evaluate(  # type: ignore[no-any-return]
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(drawn.length))))"
        )

    assert drawings() == 1
    it.page.evaluate("() => document.body.classList.add('busy')")
    assert drawings() == 1
    it.page.add_style_tag(content=":root { color-scheme: light dark; color: canvastext }")
    it.page.emulate_media(color_scheme="dark")
    assert drawings() == 2
    it.page.evaluate("spec => { for (let at = 0; at < 20; at++) chart.update(spec); }", lines([(0, 1.0), (9, 2.0)]))
    expect(it.page.locator(".uplot")).to_have_count(1)
    it.page.evaluate("() => chart.destroy()")
    it.page.emulate_media(color_scheme="light")
    it.page.set_viewport_size({"width": 700, "height": 700})
    assert drawings() == 22


def test_times_are_those_of_the_charts_zone_not_of_the_browser(it: Watched) -> None:
    axis = Axis("time", START_S, START_S + 10, "Asia/Shanghai")
    mount(it, lines([(START_S, 1.0), (START_S + 10, 2.0)], axis))
    it.page.get_by_role("application").press("Home")
    expect(it.page.locator(".sms-at")).to_have_text("2026-11-06 20:00:00 (Asia/Shanghai)")
    assert "20:00:00\n2026-11-06" in it.page.evaluate("() => drawn[0].axes[0]._values")


def test_minutes_have_60_seconds(it: Watched) -> None:
    mount(it, lines([(119.7, 1.0), (200, 2.0)], Axis("seconds", 0, 200)))
    it.page.get_by_role("application").press("Home")
    expect(it.page.locator(".sms-at")).to_have_text("2:00 min")
