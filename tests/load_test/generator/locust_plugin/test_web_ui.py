"""Locust's own page with our tab, in a browser, while locust loads a server that counts."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from support.api import Api, serving
from support.locust import plain_locust
from support.pages import keep, violations, walk_to
from support.redis import free_port

from toolkit.api.return_codes import ReturnCode, find
from toolkit.api.wire import Endpoint


@contextmanager
def loading(api: Api, *options: str) -> Iterator[str]:
    """Load a server, and give the URL of locust's page."""
    port = free_port()
    web = f"--headful --web-host 127.0.0.1 --web-port {port} --autostart --stop-timeout 5".split()
    with plain_locust(api.target, *web, *options) as locust:
        try:
            wait_until_open(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            locust.terminate()
            locust.communicate(timeout=240)


def wait_until_open(port: int, timeout_s: float = 240) -> None:
    until = time.monotonic() + timeout_s
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        assert time.monotonic() < until
        time.sleep(0.02)  # locust is starting: nothing tells when it has


@pytest.fixture(scope="module")
def loaded() -> Iterator[Api]:
    """The server under the load of all tests that only look at the page."""
    with serving() as api:
        api.latency_s = 0.01
        api.refuse = {Endpoint.SEND: (200, ReturnCode.OUT_OF_FREQ)}
        yield api


@pytest.fixture(scope="module")
def watched_page(loaded: Api, browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """Locust's page while it loads a server, and the addresses that the page asked for."""
    asked: list[str] = []
    with loading(loaded) as url, browser.new_page() as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        yield page, asked


@pytest.fixture
def page(watched_page: tuple[Page, list[str]]) -> Page:
    return watched_page[0]


def open_tab(page: Page) -> Locator:
    """Choose the tab and return its table's rows."""
    page.get_by_role("tab", name="Return codes").click()
    rows = page.locator("#root tbody tr")
    expect(rows.filter(has_text="out of freq")).to_be_visible()
    return rows


def cells(rows: Locator) -> list[list[str]]:
    return [row.locator("td").all_inner_texts() for row in rows.all()]


def test_a_row_shows_message_kind_share_and_callers_times(page: Page) -> None:
    shown = cells(open_tab(page))
    for endpoint in Endpoint:
        assert sum(float(row[5]) for row in shown if row[0] == endpoint and row[1] != "all") == pytest.approx(
            100, abs=0.1
        )
    for _, number, message, kind, calls, _, *times_ms in shown:
        if number != "all":
            known = find(int(number))
            assert known
            assert (message, kind) == (known.message, known.kind)
        assert int(calls) > 0
        assert [float(time_ms) for time_ms in times_ms] == sorted(float(time_ms) for time_ms in times_ms)
        assert float(times_ms[0]) > 0


def test_the_table_is_live(page: Page) -> None:
    refused = open_tab(page).filter(has_text="out of freq").locator("td").nth(4)
    before = refused.inner_text()
    expect(refused).not_to_have_text(before)


def open_chart(page: Page) -> Locator:
    """Choose the tab and return what of the chart can be explored."""
    open_tab(page)
    return page.locator("#codes-over-time").get_by_role("application")


def test_the_keys_read_the_rate_of_each_code_over_time(page: Page) -> None:
    chart = open_chart(page)
    walk_to(page, chart)
    chart.press("End")
    chart.press("ArrowLeft")
    tip = chart.get_by_role("status")
    expect(tip).to_contain_text(re.compile(r"\d\d:\d\d:\d\d to \d\d:\d\d:\d\d"))
    expect(tip).to_contain_text(
        re.compile("send: calls per second.*50009 out of freq.*verify: calls per second", re.DOTALL)
    )
    chart.press("Escape")
    expect(tip).to_be_hidden()


def test_a_code_that_the_legend_hides_stays_hidden_while_the_chart_is_live(page: Page) -> None:
    chart = open_chart(page)
    button = page.get_by_role("button", name="50009 out of freq")
    button.click()
    with page.expect_response("**/chart.json"):
        pass
    expect(button).to_have_attribute("aria-pressed", "false")
    chart.press("End")
    expect(chart.get_by_role("status")).not_to_contain_text("50009")
    page.get_by_role("button", name="Show all").click()
    expect(button).to_have_attribute("aria-pressed", "true")
    chart.press("Escape")


ON_TOP = """it => {  // nothing of the page covers its lower end
  it.style.pointerEvents = "auto";
  const { left, bottom } = it.getBoundingClientRect(), top = document.elementFromPoint(left + 20, bottom - 8);
  it.style.pointerEvents = "";
  return it.contains(top);
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_tab_can_be_used_at_each_width_in_each_theme(page: Page, axe: Path, theme: str) -> None:
    chart = open_chart(page)
    is_dark = page.evaluate("() => getComputedStyle(document.body).color") == "rgb(255, 255, 255)"
    if is_dark != (theme == "dark"):
        page.locator("header button").last.click()
        page.wait_for_function(
            "dark => document.querySelector('.sms-chart').style.getPropertyValue('--sms-card') === dark",
            arg="#1c1e25" if theme == "dark" else "#ffffff",
        )
    for width in (390, 768, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        chart.press("End")
        chart.press("PageUp")
        tip = chart.get_by_role("status")
        expect(tip).to_be_visible()
        assert tip.evaluate(ON_TOP), width
        keep(page, f"locust-tab-{width}-{theme}")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert violations(page, axe, "#codes-over-time") == []
    chart.press("Escape")


def test_the_chart_is_on_no_other_tab(page: Page) -> None:
    open_tab(page)
    chart = page.locator("#codes-over-time")
    expect(chart).to_be_visible()
    page.get_by_role("tab", name="Statistics").click()
    expect(page.get_by_text("Aggregated")).to_be_visible()
    expect(chart).to_be_hidden()


def test_no_tab_asks_another_host(watched_page: tuple[Page, list[str]]) -> None:
    page, asked = watched_page
    for tab in page.get_by_role("tab").all():
        tab.click()
    own = page.url.partition("?")[0]
    assert len(asked) > 5
    assert not [address for address in asked if not address.startswith((own, "data:"))]


def wait_until_stopped(page: Page) -> None:
    """Ask locust for its state: its page stays at "CLEANUP" if it asks in the moment before "STOPPED"."""
    for _ in range(1200):
        if page.request.get(f"{page.url.partition('?')[0]}stats/requests").json()["state"] == "stopped":
            return
        page.wait_for_timeout(100)
    pytest.fail("the load did not stop within 120 s")


def test_the_table_matches_the_servers_answers(loaded: Api, page: Page) -> None:
    open_tab(page)  # this test ends the load, so it is the last one on the shared page
    page.get_by_role("button", name="Stop").click()
    wait_until_stopped(page)
    page.reload()
    shown = cells(open_tab(page))
    counted = {(row[0], int(row[1])): int(row[4]) for row in shown if row[1] != "all"}
    assert Counter(counted) == loaded.answered


def test_the_bars_of_the_chart_sum_up_to_the_table(page: Page) -> None:
    """The load has ended, in the test before this one."""
    shown = {(row[0], row[1]): int(row[4]) for row in cells(open_tab(page)) if row[1] != "all"}
    panels = page.request.get(f"{page.url.partition('?')[0]}return-codes/chart.json").json()["panels"]
    drawn = {
        (panel["title"].partition(":")[0], series["name"].partition(" ")[0]): sum(
            rate * (end - start) for rate, (start, end) in zip(series["values"], pairwise(panel["edges"]), strict=True)
        )
        for panel in panels
        for series in panel["series"]
    }
    assert drawn == pytest.approx(shown)


def test_a_masters_table_sums_its_workers(api: Api, browser: Browser) -> None:
    port = str(free_port())
    ports = ("--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port)
    with loading(api, "--processes", "2", *ports, "-t", "4") as url, browser.new_page() as page:
        api.wait_for(calls=1)  # until its workers are there, the page is the form that starts a test
        page.goto(url)
        page.get_by_role("tab", name="Return codes").click()
        wait_until_stopped(page)
        page.reload()
        page.get_by_role("tab", name="Return codes").click()
        rows = page.locator("#root tbody tr").filter(has_text="all")
        expect(rows).to_have_count(2)
        assert 0 < sum(int(row[4]) for row in cells(rows)) <= api.answered.total()


def test_a_page_under_a_path_of_its_own_finds_the_script(api: Api) -> None:
    with loading(api, "--web-base-path", "/load") as url:
        page = urlopen(f"{url}/load/").read().decode()
        (path,) = re.findall('<script src="(.*?)"', page)
        assert b"codes-over-time" in urlopen(urljoin(f"{url}/load/", path)).read()
        (path,) = re.findall('<link rel="stylesheet" href="(.*?)"', page)
        assert b".sms-chart" in urlopen(urljoin(f"{url}/load/", path)).read()
