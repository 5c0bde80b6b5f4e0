"""The report's page in a browser: charts to explore where scripts run, pictures where they don't and in print."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect
from support.pages import Watched, keep, violations, walk_to, watched

from toolkit import analysis
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import CallRecord
from toolkit.report import html
from toolkit.report.model import Figure, Report, Section

START_S = 1_793_966_400
# In one step: a chart is drawn anew when its width or the theme changes, as its page is loaded.
PLOT_AREA = """it => {
  const { x, y, width } = it.querySelector(".u-over").getBoundingClientRect();
  return { x, y, width };
}"""
# Shares of the time axis, and whether the texts are beside the crosshair: 1 or 0.
PLACES = """it => {
  const box = (name) => it.querySelector(name).getBoundingClientRect();
  const area = box(".u-over"), selected = box(".u-select"), cursor = box(".u-cursor-x"), tip = box(".sms-tip");
  const share = (at) => (at - area.x) / area.width, gap = Math.max(tip.left - cursor.right, cursor.right - tip.right);
  const selection = { start: share(selected.left), end: share(selected.right) };
  return { ...selection, cursor: share(cursor.right), beside: +(0 < gap && gap < 20) };
}"""
WIDTHS = [390, 768, 1280, 1920]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, call: Callable[..., CallRecord]) -> Path:
    """Two minutes of calls, of which half fail in the seconds 60 to 80."""
    records = [
        call(
            Endpoint.SEND,
            50019 if 60 <= second < 80 and number % 2 else 50000 if number % 5 else 50009,
            started_ns=(START_S + second) * 10**9 + number * 10**7,
        )
        for second in range(5, 118)
        for number in range(10)
    ] + [call(Endpoint.VERIFY, code, started_ns=(START_S + 50) * 10**9) for code in (50010, 50011, 50012)]
    frame = analysis.from_records(records)
    codes, times = analysis.over_time(frame, "10s"), analysis.latency(frame, every="10s", at=(50, 95, 99))
    figures = [Figure("over_time", codes, "Return codes over time"), Figure("latency_over_time", times, "Latency")]
    report = Report("run", "2026-11-06", "http://x", 120, (), (), [Section("outcomes", "Outcomes", parts=figures)])
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(html.render(report), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def it(path: Path, browser: Browser) -> Iterator[Watched]:
    with watched(browser) as page:
        yield page


@pytest.fixture
def chart(it: Watched, path: Path) -> Locator:
    """The page, loaded again, and its first chart."""
    it.page.set_viewport_size({"width": 1280, "height": 900})
    it.page.emulate_media(color_scheme="light")
    it.page.goto(path.as_uri())
    return it.page.get_by_role("application").first


def drag(it: Watched, chart: Locator, start: float, end: float) -> None:
    """Select the part of the time axis between two shares of its length."""
    box = chart.evaluate(PLOT_AREA)
    it.page.mouse.move(box["x"] + box["width"] * start, box["y"] + 40)
    it.page.mouse.down()
    it.page.mouse.move(box["x"] + box["width"] * end, box["y"] + 40, steps=4)
    it.page.mouse.up()


def test_a_crosshair_reads_all_series_at_its_place(it: Watched, chart: Locator) -> None:
    box = chart.evaluate(PLOT_AREA)
    it.page.mouse.move(box["x"] + box["width"] * 0.54, box["y"] + 40)  # 65 s
    tip = chart.locator(".sms-tip")
    expect(tip).to_contain_text("2026-11-06 12:01:00 to 12:01:10 (UTC)")
    expect(tip).to_contain_text(
        re.compile("50000 success4 · 40 calls.*50009 out of freq1 · 10 calls.*50019 server error5 · 50 calls")
    )
    it.page.mouse.move(5, 5)
    expect(tip).to_be_hidden()


def test_the_keys_move_the_crosshair_select_a_time_and_show_all_again(it: Watched, chart: Locator) -> None:
    walk_to(it.page, chart)
    it.page.keyboard.press("Home")
    tip = chart.get_by_role("status")
    expect(tip).to_contain_text("12:00:00 to 12:00:10")
    expect(tip).to_contain_text("covered in part")
    for _ in range(6):
        it.page.keyboard.press("ArrowRight")
    it.page.keyboard.press("Shift+ArrowRight")
    it.page.keyboard.press("Enter")
    told = it.page.locator(".different").first
    expect(told).to_contain_text("send 50019 server error: 50 % of the calls, ")
    chart.focus()
    it.page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_the_legend_hides_series_and_shows_one_alone(it: Watched, chart: Locator) -> None:
    legend = it.page.locator(".sms-legend").first
    button = legend.get_by_role("button", name="50000 success")
    button.focus()
    it.page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(button).to_be_focused()
    chart.focus()
    it.page.keyboard.press("Home")
    expect(chart.locator(".sms-tip")).not_to_contain_text("50000")
    legend.get_by_role("button", name="Show all").click()
    expect(button).to_have_attribute("aria-pressed", "true")
    legend.get_by_role("button", name="50019").dblclick()
    expect(legend.locator("[aria-pressed=true]")).to_have_text(["50019 server error"])
    legend.get_by_role("button", name="50009").focus()
    it.page.keyboard.press("Shift+Enter")
    expect(legend.locator("[aria-pressed=true]")).to_have_text(["50009 out of freq"])


def test_a_selected_time_narrows_all_charts_and_says_what_differs(it: Watched, chart: Locator) -> None:
    latency = it.page.get_by_role("application").nth(1)
    before = latency.locator("canvas").first.evaluate("it => it.toDataURL()")
    drag(it, chart, 0.5, 0.66)
    told = it.page.locator(".different").first
    expect(told).to_contain_text("What is different in here?")
    expect(told.locator("li").first).to_contain_text(re.compile(r"send 50(000|019)"))
    expect(told).to_contain_text("smscode report … --since 2026-11-06T12:0")
    assert latency.locator("canvas").first.evaluate("it => it.toDataURL()") != before
    told.get_by_role("button", name="Show all of the time").click()
    expect(told).to_be_hidden()
    assert latency.locator("canvas").first.evaluate("it => it.toDataURL()") == before


def test_a_time_selected_in_the_latencies_tells_the_return_codes_too(it: Watched, chart: Locator) -> None:
    drag(it, it.page.get_by_role("application").nth(1), 0.5, 0.66)
    expect(it.page.locator(".different").nth(1).locator("li").first).to_contain_text(re.compile(r"send 50(000|019)"))


@pytest.mark.parametrize("change", ["theme", "width"])
def test_a_chart_that_is_drawn_anew_keeps_the_crosshair_and_the_selection(
    it: Watched, chart: Locator, change: str
) -> None:
    chart.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight"):
        it.page.keyboard.press(key)
    before, old = chart.evaluate(PLACES), chart.locator(".u-over").first.element_handle()
    if change == "theme":
        it.page.emulate_media(color_scheme="dark")
    else:
        it.page.set_viewport_size({"width": 700, "height": 900})
    old.wait_for_element_state("hidden")
    after = chart.evaluate(PLACES)
    assert 0 < before["start"] < before["end"] == pytest.approx(before["cursor"], abs=0.01)
    assert before["beside"]
    assert after == pytest.approx(before, abs=0.01)


def test_all_of_the_time_cannot_be_compared(it: Watched, chart: Locator) -> None:
    drag(it, chart, 0, 1)
    expect(it.page.locator(".different").first.locator("li")).to_contain_text("leaves calls outside of it")


def test_a_time_like_the_others_has_no_difference(it: Watched, chart: Locator) -> None:
    drag(it, chart, 0.05, 0.2)
    told = it.page.locator(".different").first
    expect(told).not_to_contain_text("50009")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_used_by_all_at_each_width(it: Watched, chart: Locator, axe: Path, scheme: str) -> None:
    drag(it, chart, 0.5, 0.66)
    it.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for width in WIDTHS:
        it.page.set_viewport_size({"width": width, "height": 900})
        expect(chart).to_be_visible()
        keep(it.page, f"report-charts-{width}-{scheme}")
        it.page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)
    assert violations(it.page, axe, "body") == []


def test_print_and_pages_without_scripts_have_the_pictures(
    it: Watched, chart: Locator, path: Path, browser: Browser
) -> None:
    def are_pictures(page: Any) -> list[bool]:
        return [page.locator(name).first.is_visible() for name in (".picture", ".sms-chart")]

    assert are_pictures(it.page) == [False, True]
    it.page.emulate_media(media="print")
    assert are_pictures(it.page) == [True, False]
    it.page.emulate_media(media="screen")
    with watched(browser, java_script_enabled=False) as plain:
        plain.page.goto(path.as_uri())
        assert are_pictures(plain.page) == [True, False]


def test_no_script_broke_and_no_other_script_may_run(it: Watched, chart: Locator) -> None:
    it.page.evaluate("() => document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.broken = 1\">')")
    it.page.evaluate(
        "() => document.body.append(Object.assign(document.createElement('script'), {text: 'window.broken = 1'}))"
    )
    assert it.page.evaluate("() => window.broken") is None
    assert it.errors == []
    assert [url for url in it.asked if not url.startswith("file:")] == []
