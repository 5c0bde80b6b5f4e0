"""Look at the sandbox's page as people do: in a browser, wide and narrow, light and dark."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from support.npm import install
from support.pages import NARROW, WIDE, Watched, keep, overflowing, violations, watched
from support.service import Running, smscode_process

from toolkit.service.sandbox.page import page_response

MOBILE, OTHER = "13800138000", "13800138001"
HOSTILE = "<img src=x onerror=alert(1)><script>document.title='run'</script> {code}"


@pytest.fixture(scope="module")
def axe(request: pytest.FixtureRequest) -> Path:
    assert request.config.cache
    modules = install(Path(request.config.cache.mkdir("axe")), "axe-core@4.11.0")
    return modules / "axe-core/axe.min.js"


@pytest.fixture
def service(start: Callable[..., Running]) -> Running:
    return start()


@pytest.fixture
def it(browser: Browser, service: Running) -> Iterator[Watched]:
    """The page of a sandbox, opened with the link that `smscode serve` prints."""
    with watched(browser) as it:
        it.page.goto(f"{service.url}/sandbox#{service.app_key}:{service.master_secret}")
        expect(it.page.get_by_role("heading", name="Messages")).to_be_visible()
        yield it
        assert (it.strangers(), it.errors) == ([], [])


def codes(it: Watched) -> list[str]:
    return it.page.locator("#messages li:visible .code").all_inner_texts()


def test_it_shows_the_messages_as_they_come_the_newest_first(it: Watched, service: Running) -> None:
    msg_ids = []
    for mobile in (MOBILE, OTHER):
        msg_ids.append(service.send(mobile))
        expect(it.page.locator("#messages li")).to_have_count(len(msg_ids))
    assert codes(it) == [service.peek(msg_id) for msg_id in reversed(msg_ids)]
    expect(it.page.locator("#state")).to_contain_text(f"New message to {OTHER}: code {codes(it)[0]}")
    assert "#" not in it.page.url  # the secret stays in no history
    it.page.reload()
    expect(it.page.locator("#messages li")).to_have_count(2)


def test_it_filters_by_mobile_and_code(it: Watched, service: Running) -> None:
    service.send(MOBILE)
    code = service.peek(service.send(OTHER))
    expect(it.page.locator("#messages li")).to_have_count(2)
    for wanted in (OTHER, code):
        it.page.get_by_label("Filter").fill(wanted)
        assert codes(it) == [code]
    it.page.get_by_label("Filter").fill("nothing")
    expect(it.page.get_by_text("No message matches the filter.")).to_be_visible()


def test_its_controls_move_the_clock_set_faults_and_empty_the_sandbox(it: Watched, service: Running) -> None:
    fields = {"mobile": MOBILE, "temp_id": service.temp_id}
    assert [service.post("/v1/codes", fields).code for _ in range(2)] == [50000, 50009]
    said = it.page.locator("#result")
    it.page.get_by_role("button", name="+1 min").click()
    expect(said).to_have_text("The clock went 60 s ahead.")
    it.page.get_by_label("Seconds").fill("1.5")
    it.page.get_by_role("button", name="Advance").click()
    expect(said).to_have_text("The clock went 1.5 s ahead.")
    assert service.post("/v1/codes", fields).code == 50000
    it.page.get_by_label("Share of server errors").fill("1")
    it.page.get_by_role("button", name="Apply").click()
    expect(said).to_have_text("Faults are on.")
    assert service.post("/v1/codes", fields).code == 50019
    it.page.get_by_label("Latency").fill("long")
    it.page.get_by_role("button", name="Apply").click()
    expect(said).to_have_text("The sandbox can't read a value.")
    it.page.get_by_role("button", name="Empty the sandbox").click()
    expect(said).to_have_text("The sandbox is empty.")
    expect(it.page.locator("#messages li")).to_have_count(0)
    assert service.post("/v1/codes", fields).code == 50000
    expect(it.page.locator("#messages li")).to_have_count(1)


def test_the_text_of_a_message_is_shown_as_text_and_runs_nothing(
    browser: Browser, start: Callable[..., Running], tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store)
    edit = ("template", "edit", str(service.temp_id), "--text", HOSTILE, "--store", store)
    assert smscode_process(*edit).returncode == 0
    with watched(browser) as it:
        it.page.on("dialog", lambda _: pytest.fail("a script of a message ran"))
        it.page.goto(f"{service.url}/sandbox#{service.app_key}:{service.master_secret}")
        code = service.peek(service.send(MOBILE))
        expect(it.page.locator("#messages .text")).to_have_text(HOSTILE.replace("{code}", code))
        assert (it.page.title(), it.page.locator("#messages img").count()) == ("Sandbox inbox", 0)


def test_without_credentials_it_asks_for_them(browser: Browser, service: Running) -> None:
    with watched(browser) as it:
        it.page.goto(f"{service.url}/sandbox")
        for secret, expected in (("wrong", "refused this app key"), (service.master_secret, "Waiting for messages")):
            it.page.get_by_label("App key").fill(service.app_key)
            it.page.get_by_label("Master secret").fill(secret)
            it.page.get_by_role("button", name="Show the inbox").click()
            expect(it.page.locator("#state")).to_contain_text(expected)
        assert it.page.get_by_label("Master secret").input_value() == ""
        assert service.app_key not in it.page.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_used_by_all_at_any_width(browser: Browser, service: Running, axe: Path, scheme: Any) -> None:
    with watched(browser, color_scheme=scheme) as it:
        it.page.goto(f"{service.url}/sandbox")
        expect(it.page.get_by_label("App key")).to_be_visible()
        assert violations(it.page, axe, "body") == []
        it.page.goto(f"{service.url}/sandbox#{service.app_key}:{service.master_secret}")
        for mobile in (MOBILE, OTHER):
            service.send(mobile)
        expect(it.page.locator("#messages li")).to_have_count(2)
        for width in (WIDE, NARROW):
            it.page.set_viewport_size(width)  # type: ignore[arg-type]
            assert overflowing(it.page, "body") == []
            keep(it.page, f"sandbox-{scheme}-{width['width']}")
        assert violations(it.page, axe, "body") == []


def test_its_policy_lets_it_ask_no_other_host_and_run_no_other_script() -> None:
    reply = page_response()
    policy = dict(reply.headers)[b"content-security-policy"].decode()
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(rb"https?://", reply.body) == []
