"""The console, in a browser, and from its start to its end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
from playwright.sync_api import Browser, FloatRect, Locator, Route, expect
from support import outage
from support.pages import (
    WIDE,
    Watched,
    expect_answer,
    keep,
    overflowing,
    read_code,
    send,
    violations,
    walk_to,
    watched,
)
from support.processes import wait_gone

from toolkit.runs.live_run import find_live

KERNEL = "ipykernel_launcher"
TABS = ("Overview", "Calls", "Load", "Capacity", "Limits", "Probe", "What if", "Runs")


Served = tuple[subprocess.Popen[str], str]


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[Served]:
    """Run the console in a folder, and give its process and its URL. At the end, runs that go on are ended, too."""
    command = [sys.executable, "-m", "toolkit", "console", "--port", "0", "--no-browser"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SMSCODE_")}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, **options
    ) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline().strip()
        finally:
            process.terminate()
            for live in find_live(folder / "runs").values():  # of a test that failed
                os.kill(live.pid, signal.SIGTERM)


def children(process: subprocess.Popen[str], word: str) -> list[psutil.Process]:
    """Return the processes below the console that have a word in their command line."""
    below = psutil.Process(process.pid).children(recursive=True)
    return [it for it in below if it.status() != psutil.STATUS_ZOMBIE and word in it.cmdline()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("console")
    outage.write(folder / "runs/20270115T080000Z")
    return folder


@pytest.fixture(scope="module")
def console(folder: Path) -> Iterator[Served]:
    with serving(folder) as it:
        yield it


@pytest.fixture(scope="module")
def it(console: Served, browser: Browser) -> Iterator[Watched]:
    """The console's page, the same for all tests."""
    with watched(browser) as page:
        page.page.goto(console[1])
        page.page.locator("body.ready").wait_for()
        yield page


@pytest.fixture(autouse=True)
def _wide_and_light(it: Watched) -> None:
    it.page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    it.page.emulate_media(color_scheme="light")


def tab(it: Watched, name: str) -> Locator:
    """Open a tab and return its form."""
    it.page.get_by_role("tab", name=name).click()
    return it.page.get_by_role("tabpanel", name=name)


def banner(it: Watched) -> Locator:
    return it.page.locator(".sms-banner")


def start_long_run(it: Watched) -> Locator:
    """Start a load test of ten minutes, and return its form once it has drawn something."""
    form = tab(it, "Load")
    form.get_by_label("Users", exact=True).fill("1")
    form.get_by_label("Duration").fill("10m")
    form.get_by_role("button", name="Start").click()
    expect(form.get_by_role("button", name="Start")).to_be_disabled()
    expect(form.locator("table")).to_contain_text("running")
    expect(form.locator(".sms-busy")).to_contain_text("Loading")
    return form


def test_a_code_is_sent_read_and_verified(it: Watched) -> None:
    form = tab(it, "Calls")
    send(form, "13800138001")
    expect_answer(form, 50000, "success")
    read_code(form)
    form.get_by_role("button", name="Verify").click()
    expect(form.locator(".sms-facts")).to_contain_text("verify")
    expect_answer(form, 50000, "success")
    expect(form.locator("table tbody tr")).to_have_count(2)
    assert "13800138001" not in form.inner_html()


def test_the_overview_shows_the_last_runs_and_counts_the_calls_of_the_sandbox(it: Watched) -> None:
    form = tab(it, "Overview")
    expect(form.locator("tbody tr", has_text="20270115T080000Z")).to_contain_text("soak")
    expect(form.locator(".sms-state .sms-chip")).to_have_text("RUNNING")
    expect(form.locator(".sms-state dl")).to_contain_text("1 of 1")
    form.get_by_role("link", name="Start a load test").click()
    expect(it.page.get_by_role("tabpanel", name="Load")).to_be_visible()
    it.page.go_back()
    expect(form).to_be_visible()


def test_a_wrong_code_is_told_with_who_can_act(it: Watched) -> None:
    form = tab(it, "Calls")
    send(form, "13800138002")
    expect(form.get_by_label("Code", exact=True)).to_have_value("")
    expect(form.locator(".sms-facts")).to_contain_text("send")
    form.get_by_label("Code", exact=True).fill("wrong")
    form.get_by_role("button", name="Verify").click()
    expect_answer(form, 50010, "invalid code")
    expect(form.locator(".sms-advice")).to_contain_text("the person who typed the code")


def test_a_bad_mobile_is_refused_beside_its_field(it: Watched) -> None:
    form = tab(it, "Calls")
    calls = form.locator("table tbody tr").count()
    send(form, "1380013800")
    mobile = form.get_by_label("Mobile")
    expect(mobile).to_have_attribute("aria-invalid", "true")
    expect(mobile).to_have_accessible_description(
        "expected a mainland mobile of 11 digits, e.g. 13800138000, with or without +86"
    )
    assert form.locator("table tbody tr").count() == calls
    mobile.fill("13800138000")
    expect(mobile).to_have_attribute("aria-invalid", "false")


def test_a_path_is_shown_as_it_was_typed(it: Watched) -> None:
    form = tab(it, "What if")
    form.get_by_label("Log").fill("none/runs")
    form.get_by_role("button", name="Compare").click()
    problem = form.get_by_text("doesn't exist")
    expect(problem).to_have_text(re.compile("^none/runs doesn't exist"), use_inner_text=True)


def test_the_keyboard_alone_sends_and_verifies(it: Watched) -> None:
    form, keyboard = tab(it, "Calls"), it.page.keyboard
    walk_to(it.page, form.get_by_label("Mobile"))
    keyboard.press("ControlOrMeta+a")
    keyboard.type("13800138003")
    keyboard.press("Enter")
    expect(form.locator("table tbody tr").first).to_contain_text("send")
    expect(form.get_by_role("button", name="Read code")).to_be_enabled()
    walk_to(it.page, form.get_by_role("button", name="Read code"))
    keyboard.press("Enter")
    expect(form.get_by_label("Code", exact=True)).not_to_have_value("")
    form.get_by_label("Code", exact=True).focus()
    keyboard.press("Enter")
    expect(form.locator("table tbody tr").first).to_contain_text("verify")
    expect_answer(form, 50000, "success")


def test_the_keyboard_moves_between_tabs(it: Watched) -> None:
    tab(it, "Calls")
    for name in (*TABS[2:], *TABS[:2]):
        it.page.keyboard.press("ArrowRight")
        expect(it.page.get_by_role("tab", name=name)).to_be_focused()
        expect(it.page.get_by_role("tabpanel", name=name)).to_be_visible()


def box(form: Locator, title: str) -> FloatRect:
    """Return the place of a card."""
    heading = form.page.get_by_role("heading", name=title, exact=True)
    found = form.locator(".sms-card").filter(has=heading).bounding_box()
    assert found
    return found


def test_a_wide_screen_gives_its_room_to_what_is_shown(it: Watched) -> None:
    form = tab(it, "Load")
    it.page.set_viewport_size({"width": 1920, "height": 900})
    fields, progress, runs = (box(form, text) for text in ("Load", "Progress", "Runs"))
    assert progress["width"] > 2 * fields["width"]
    assert runs["x"] == progress["x"]
    assert abs(runs["y"] + runs["height"] - fields["y"] - fields["height"]) < 2


def test_cards_side_by_side_end_on_one_line_and_empty_ones_are_folded(it: Watched) -> None:
    form = tab(it, "Capacity")
    search, found = box(form, "Search"), box(form, "Capacity")
    assert abs(search["y"] + search["height"] - found["y"] - found["height"]) < 2
    expect(form.get_by_text("Trials", exact=True)).to_be_hidden()


def test_further_options_are_folded_until_one_of_them_is_wrong(it: Watched) -> None:
    form = tab(it, "Load")
    expect(form.get_by_label("Workers")).to_be_hidden()
    form.get_by_role("button", name="More options").click()
    form.get_by_label("Workers").fill("none")
    form.get_by_role("button", name="Fewer options").click()
    form.get_by_role("button", name="Start").click()
    expect(form.get_by_label("Workers")).to_have_attribute("aria-invalid", "true")
    form.get_by_label("Workers").fill("")
    form.get_by_role("button", name="Fewer options").click()


def test_the_focus_is_seen_on_every_control(it: Watched) -> None:
    tab(it, "Load").locator("select").first.focus()
    seen = set()
    for _ in range(12):
        it.page.keyboard.press("Tab")
        kind, outline = it.page.evaluate(
            "() => [document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert kind == "BODY" or outline == "solid"
        seen.add(kind)
    assert seen >= {"SELECT", "INPUT"}


def test_a_load_test_is_seen_to_move_and_is_stopped(it: Watched, console: Served) -> None:
    form = tab(it, "Load")
    form.get_by_label("Users", exact=True).fill("4")
    form.get_by_label("Duration").fill("5s")
    form.get_by_role("button", name="Start").click()
    chart = form.get_by_role("application")
    expect(chart).to_be_visible()
    before = chart.get_attribute("aria-label")  # it counts the calls
    expect(form.get_by_role("button", name="Start")).to_be_disabled()
    expect(chart).not_to_have_attribute("aria-label", before or "")
    assert children(console[0], "toolkit.load_test.generator")
    form.get_by_role("button", name="Stop").click()
    expect(form.locator(".sms-verdicts li")).to_have_count(3)  # two, and the default on failed calls
    expect(form.locator("table tbody tr", has_text="throughput")).to_contain_text("inconclusive")
    assert not children(console[0], "toolkit.load_test.generator")
    keep(it.page, "load")


def test_rules_are_proved(it: Watched) -> None:
    form = tab(it, "Limits")
    form.get_by_label("Rules").fill("1/60s")  # five seconds reach no other
    form.get_by_label("Duration").fill("5s")
    form.get_by_role("button", name="Test rules").click()
    expect(form.locator(".sms-check")).to_contain_text("PASS")
    expect(form.get_by_role("application", name="Sends to").locator("canvas").first).to_be_visible()


def open_run(form: Locator, scenario: str) -> None:
    runs = form.get_by_label("Runs")
    expect(runs.locator("option", has_text=scenario)).to_contain_text("calls")
    runs.select_option(label=runs.locator("option", has_text=scenario).inner_text())
    form.get_by_role("button", name="Open").click()


def test_a_run_is_opened_narrowed_by_dragging_and_downloaded(it: Watched) -> None:
    form = tab(it, "Runs")
    open_run(form, "throughput")
    calls = form.locator(".sms-view .sms-figure").first
    whole = calls.inner_text()
    chart = form.locator(".sms-view .sms-chart .u-over").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box
    it.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60)
    it.page.mouse.down()
    it.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=4)
    it.page.mouse.up()
    expect(calls).not_to_have_text(whole)
    with it.page.expect_download() as download:
        form.get_by_role("button", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert f"{len(lines) - 1:,}" == calls.inner_text().strip()


def test_what_a_report_tells_is_asked_of_a_run(it: Watched) -> None:
    form = tab(it, "Runs")
    open_run(form, "soak")
    asked = form.get_by_label("Question")
    walk_to(it.page, asked)
    it.page.keyboard.type("W")  # as does who chooses without a mouse
    expect(form.get_by_role("region", name="What changed")).to_contain_text("50019 server error")
    expect(form.get_by_role("region", name="Where changes are concentrated")).to_contain_text("app-a")
    expect(form.get_by_role("img", name="Changes over time").locator("svg").first).to_be_visible()
    asked.select_option("Errors")
    expect(form.get_by_role("region", name="Errors")).to_contain_text("50019 server error")
    expect(form.get_by_role("img", name="Errors over time").locator("svg").first).to_be_visible()
    form.get_by_label("Compare with").select_option(index=1)
    expect(form.get_by_role("region", name="Comparison")).to_contain_text("send")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", TABS)
def test_a_tab_can_be_used_by_all(it: Watched, axe: Path, name: str, scheme: str) -> None:
    it.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    tab(it, name)
    assert violations(it.page, axe, "body") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", [390, 768, 1280, 1920])
def test_nothing_sticks_out_or_has_to_be_scrolled_sideways(it: Watched, width_px: int, scheme: str) -> None:
    it.page.set_viewport_size({"width": width_px, "height": 900})
    it.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for name in TABS:
        tab(it, name)
        it.page.mouse.move(0, 0)
        it.page.evaluate("() => new Promise(requestAnimationFrame)")
        keep(it.page, f"console-{name.lower()}-{width_px}-{scheme}")
        assert overflowing(it.page, "body") == []


def kernel_of(it: Watched, process: subprocess.Popen[str]) -> psutil.Process:
    """Return the kernel of a page; the console has another one, which waits for the next page."""
    script = it.page.locator("#jupyter-config-data").text_content()
    kernel_id = json.loads(script or "")["kernelId"]
    [kernel] = [it for it in children(process, KERNEL) if kernel_id in " ".join(it.cmdline())]
    return kernel


def test_a_page_that_is_loaded_again_is_usable_and_leaves_no_kernel_behind(it: Watched, console: Served) -> None:
    before = kernel_of(it, console[0])
    it.page.reload()
    it.page.locator("body.ready").wait_for()
    form = tab(it, "Calls")
    send(form, "13800138004")
    expect_answer(form, 50000, "success")
    wait_gone([before])
    assert len(children(console[0], KERNEL)) <= 2
    assert kernel_of(it, console[0]) != before


def test_a_page_gets_the_kernel_that_has_imported_the_forms(it: Watched, console: Served) -> None:
    page_kernel = kernel_of(it, console[0])
    while not (spare := [each for each in children(console[0], KERNEL) if each != page_kernel]):
        it.page.wait_for_timeout(100)
    while spare[0].memory_info().rss < 0.8 * page_kernel.memory_info().rss:
        it.page.wait_for_timeout(100)
    it.page.reload()
    it.page.locator("body.ready").wait_for()
    assert kernel_of(it, console[0]) == spare[0]


def test_a_page_that_is_loaded_again_shows_the_search_and_the_probe_and_stops_them(it: Watched, folder: Path) -> None:
    search, probe = tab(it, "Capacity"), tab(it, "Probe")
    probe.get_by_label("Max messages").fill("50")
    probe.get_by_label("Speed").fill("1")
    probe.get_by_label("Max duration").fill("10m")
    probe.get_by_role("button", name="Find limits").click()
    expect(probe.locator(".sms-busy")).to_contain_text(re.compile(r"[1-9]\d* message"))
    tab(it, "Capacity")
    search.get_by_label("First rate").fill("1")
    search.get_by_label("Long trials").fill("10m")
    search.get_by_role("button", name="Find capacity").click()
    expect(search.locator(".sms-busy")).to_contain_text("Trial at 1/s")
    runs = find_live(folder / "runs")
    it.page.reload()
    it.page.locator("body.ready").wait_for()
    assert find_live(folder / "runs") == runs
    progress = {"Capacity": "Trial at 1/s", "Probe": "of the target's time"}
    for name, text in progress.items():
        form = tab(it, name)
        expect(form.locator(".sms-busy")).to_contain_text(text)
        expect(form.locator("table", has_text="Run").last).to_contain_text("RUNNING")
        before = form.locator(".sms-busy").inner_text()
        expect(form.locator(".sms-busy")).not_to_have_text(before, use_inner_text=True)
        keep(it.page, f"console-{name.lower()}-reloaded")
        form.get_by_role("button", name="Stop").click()
    for name, text in {"Capacity": "No figure", "Probe": "The probe ended: it was stopped"}.items():
        form = tab(it, name)
        expect(form).to_contain_text(f"STOPPED {text}")
        expect(form.locator("table", has_text="Run").last).to_contain_text("STOPPED")
        expect(form.locator(".sms-busy")).to_have_count(0)
        expect(form.get_by_role("button", name="Find")).to_be_enabled()
    assert not find_live(folder / "runs")


def test_the_address_has_no_token_and_back_returns_to_the_tab_before(it: Watched, console: Served) -> None:
    page, address = it.page, console[1].partition("?")[0]
    tab(it, "Calls")
    tab(it, "Load")
    tab(it, "What if")
    assert page.url == f"{address}#what-if"
    page.go_back()
    expect(page.get_by_role("tabpanel", name="Load")).to_be_visible()
    assert page.url == f"{address}#load"
    page.go_forward()
    expect(page.get_by_role("tabpanel", name="What if")).to_be_visible()
    expect(page.get_by_role("contentinfo")).to_contain_text(version("sms-code-toolkit"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_the_token_there_is_a_page_that_asks_for_it(
    console: Served, browser: Browser, axe: Path, scheme: str
) -> None:
    address, _, token = console[1].partition("?token=")
    with watched(browser) as it:
        it.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        it.page.goto(address)
        it.page.get_by_label("Token").fill("wrong")
        it.page.keyboard.press("Enter")
        expect(it.page.get_by_role("alert")).to_contain_text("Wrong token")
        assert it.page.locator(".sms-form").count() == 0
        assert violations(it.page, axe, "body") == []
        keep(it.page, f"console-sign-in-{scheme}")
        it.page.get_by_label("Token").fill(token)
        it.page.get_by_role("button", name="Sign in").click()
        it.page.locator("body.ready").wait_for()
        assert (it.strangers(), it.errors) == ([], [])


def test_the_page_says_when_its_connection_is_cut_and_goes_on_once_it_is_back(it: Watched) -> None:
    form = tab(it, "Load")
    layout = form.bounding_box()
    it.page.context.set_offline(True)
    expect(banner(it)).to_contain_text("No connection to the console")
    expect(form.locator(".sms-form")).to_have_attribute("inert", "")
    assert form.bounding_box() == layout
    keep(it.page, "no-connection")
    it.page.context.set_offline(False)
    expect(banner(it)).to_have_count(0)
    expect(form.locator(".sms-form")).not_to_have_attribute("inert", "")


def test_a_page_whose_kernel_was_killed_says_so_and_a_new_one_shows_the_run_that_goes_on(
    it: Watched, console: Served, folder: Path, axe: Path
) -> None:
    form = start_long_run(it)
    (run,) = find_live(folder / "runs")
    overview = tab(it, "Overview")
    expect(overview.locator(".sms-live")).to_contain_text("throughput")
    overview.get_by_role("link", name="Watch it or stop it").click()
    kernel_of(it, console[0]).kill()
    expect(banner(it)).to_contain_text("process of this page has ended")
    expect(form.locator(".sms-form")).to_have_attribute("inert", "")
    expect(it.page.locator(".jupyter-widgets-disconnected")).to_have_count(0)
    assert violations(it.page, axe, ".sms-banner") == []
    keep(it.page, "no-kernel")
    banner(it).get_by_role("button", name="Load the page again").click()
    form = tab(it, "Load")
    expect(form.locator(".sms-chart canvas").first).to_be_attached()
    expect(banner(it)).to_have_count(0)
    expect(form.locator("table")).to_contain_text("running")
    assert set(find_live(folder / "runs")) == {run}


def test_a_page_that_is_late_says_so_and_is_shown_once_it_can_be(console: Served, browser: Browser, axe: Path) -> None:
    """anywidget would drop all messages for widgets whose module takes 2 s."""
    held, is_held = list[Route](), True

    def hold(route: Route) -> None:
        if is_held:
            held.append(route)
        else:  # a request that is late itself
            route.continue_()

    with watched(browser) as late:
        late.page.route("**/html_panel.js", hold)
        late.page.goto(console[1], wait_until="commit")
        starting = late.page.locator("#starting")
        expect(starting).to_contain_text("Still starting: the machine may be busy.")
        assert violations(late.page, axe, "#starting") == []
        keep(late.page, "late")
        is_held = False
        for route in held:
            route.continue_()
        expect(starting).to_be_hidden()
        form = tab(late, "Calls")
        send(form, "13800138222")
        expect_answer(form, 50000, "success")
        assert late.errors == []


def test_a_page_that_cannot_be_shown_offers_to_load_it_again(console: Served, browser: Browser) -> None:
    with watched(browser) as broken:
        broken.page.route("**/html_panel.js", lambda route: route.abort())
        broken.page.goto(console[1], wait_until="commit")
        again = broken.page.get_by_role("button", name="Load the page again").filter(visible=True).first
        again.wait_for()
        keep(broken.page, "cannot-start")
        broken.page.unroute("**/html_panel.js")
        with broken.page.expect_navigation(wait_until="commit"):
            again.click()
        broken.page.locator("body.ready").wait_for()
        expect(tab(broken, "Load").get_by_label("Users", exact=True)).to_be_visible()


def test_leaving_the_page_asks_first_and_staying_keeps_its_kernel(it: Watched, console: Served) -> None:
    form = tab(it, "Load")
    expect(form.locator(".sms-chart canvas").first).to_be_attached()
    before = kernel_of(it, console[0])
    it.page.get_by_role("tab", name="Load").click()  # a browser asks for a page only if it was used
    with it.page.expect_event("dialog") as asked:
        it.page.once("dialog", lambda dialog: dialog.dismiss())
        it.page.evaluate("() => void setTimeout(() => location.reload())")
    assert asked.value.type == "beforeunload"
    facts = form.locator(".sms-facts")
    before_s = facts.inner_text()
    expect(facts).not_to_have_text(before_s, use_inner_text=True)
    assert kernel_of(it, console[0]) == before


def test_a_second_browser_shows_the_run_and_stops_it(it: Watched, console: Served, browser: Browser) -> None:
    with watched(browser) as other:
        other.page.goto(console[1])
        other.page.locator("body.ready").wait_for()
        form = tab(other, "Load")
        expect(form.locator(".sms-chart canvas").first).to_be_attached()
        form.get_by_role("button", name="Stop").click()
        expect(tab(it, "Load").locator(".sms-verdicts li")).to_have_count(3)
        expect(form.locator(".sms-verdicts li")).to_have_count(3)


def test_a_run_is_listed_everywhere_and_its_files_open_without_the_token(it: Watched, folder: Path) -> None:
    name = max(it.parent.name for it in folder.glob("runs/*/run.json") if "throughput" in it.read_text())
    runs = tab(it, "Runs").get_by_label("Runs")
    expect(runs.locator("option", has_text=name)).to_contain_text("calls")  # without a look
    assert "NO DATA" not in tab(it, "Overview").locator("tbody tr", has_text=name).inner_text()
    row = tab(it, "Load").locator("tbody tr", has_text=name)
    with it.page.expect_popup() as popup:
        row.get_by_role("link", name=f"Report of {name}").click()
    expect(popup.value.locator("body")).to_contain_text(name)
    assert "token" not in popup.value.url
    popup.value.close()
    for label in ("CSV", "Parquet"):
        with it.page.expect_download() as download:
            row.get_by_role("link", name=f"{label} of {name}").click()
        assert download.value.path().stat().st_size > 1000
        assert "token" not in download.value.url


def test_a_file_of_a_run_is_refused_without_the_cookie_and_outside_of_a_run(it: Watched, console: Served) -> None:
    base = console[1].partition("?")[0]
    with urlopen(f"{base}runs-of/runs/20270115T080000Z/report.html") as answer:
        assert "/login" in answer.url
    for path in ("runs/20270115T080000Z/run.json", "..%2Freport.html", "%2Fetc%2Freport.html"):
        assert it.page.request.get(f"{base}runs-of/{path}").status == 404


def test_calls_that_cannot_be_sent_as_csv_say_why_and_what_else_there_is(
    it: Watched, console: Served, folder: Path
) -> None:
    broken = folder / "runs/20270115T070000Z"
    broken.mkdir()
    (broken / "calls.parquet").write_text("no Parquet")
    answer = it.page.request.get(f"{console[1].partition('?')[0]}runs-of/runs/{broken.name}/calls.csv")
    assert answer.status == 422
    assert "calls.parquet" in answer.text()
    assert "download its Parquet file" in answer.text()
    shutil.rmtree(broken)


def test_the_page_is_compressed_and_its_scripts_are_kept_by_the_browser(it: Watched) -> None:
    script = it.page.locator("script[src$='voila.js']").get_attribute("src") or ""
    base = it.page.url.partition("#")[0]
    answer = it.page.request.get(f"{base}{script[1:]}")
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert it.page.request.get(f"{base}login").headers["content-encoding"] == "gzip"
    plain = it.page.request.get(f"{base}{script[1:]}", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.body() == answer.body()
    for path in ("static/..%2Fconf.json", "static/none.js", "widgets/style.py", "runs/run.json"):
        assert it.page.request.get(f"{base}{script[1:].removesuffix('static/voila.js')}{path}").status == 404


def test_a_page_that_is_opened_again_loads_little(it: Watched) -> None:
    sizes: list[int] = []
    session = it.page.context.new_cdp_session(it.page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    it.page.reload()
    it.page.locator("body.ready").wait_for()
    session.detach()
    assert sum(sizes) < 100_000


def test_the_console_asked_no_other_host_and_broke_no_script(it: Watched) -> None:
    assert len(it.asked) > 20
    assert it.strangers() == []
    assert it.errors == []
    # One for each time that the page was loaded, and one after the connection was cut.
    assert sum(address.startswith("ws:") for address in it.asked) <= 7


def test_ctrl_c_ends_it_and_all_that_it_started_but_the_load_test(folder: Path, browser: Browser) -> None:
    with serving(folder, stderr=subprocess.PIPE) as (process, url), watched(browser) as it:
        it.page.goto(url)
        it.page.locator("body.ready").wait_for()
        start_long_run(it)
        ((run, live),) = find_live(folder / "runs").items()
        loading = psutil.Process(live.pid)
        kept = {loading, *loading.children(recursive=True)}
        started = set(psutil.Process(process.pid).children(recursive=True)) - kept
        process.send_signal(signal.SIGINT)
        assert process.wait(240) == 0
        expect(banner(it)).to_contain_text("No connection to the console")
        wait_gone(list(started))
        assert process.stderr
        assert f"runs/{run.name} goes on, but is stopped after 10 min without a page" in process.stderr.read()
        loading.terminate()
        wait_gone(list(kept))
    assert (run / "report.html").exists()
