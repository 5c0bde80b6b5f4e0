"""Several tests of one locust process, started and stopped through the routes of locust's page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, expect
from support.api import Api, serving
from support.locust import plain_locust
from support.redis import free_port

from toolkit.records.packed import PACKED_SUFFIX, PackedReader

REFUSED = "http://192.0.2.1"  # reserved for documentation: nothing answers there


class Page:
    """The routes of a locust process's page."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_loading = False

    def start(self, host: str, **fields: object) -> dict[str, Any]:
        """Start a test of two users, and return the page's answer."""
        answer = self._post("swarm", {"user_count": 2, "spawn_rate": 100, "host": host, **fields})
        self.is_loading |= answer["success"]
        return answer

    def load(self, target: Api, calls: int = 20, **fields: object) -> None:
        """Start a test, and wait for its calls.

        Locust loses a start for which a worker is not ready yet after the last test. Each further start has twice as
        long, because it begins the test anew, which takes long on a busy machine.
        """
        before = target.answered.total()
        for patience_s in (3, 6, 12, 24, 48, 96, 192):
            assert self.start(target.target.base_url, **fields)["success"]
            with target.changed:
                if target.changed.wait_for(lambda: target.answered.total() > before, patience_s):
                    break
        target.wait_for(calls=calls)

    def stop(self) -> None:
        """Stop a test, and return when its users have ended. While they are spawned, locust may lose a worker."""
        wait_until(lambda: self.stats()["state"] == "running")
        self.await_end()

    def await_end(self) -> None:
        """Return when no user is left of a test that ends itself. The state in ``stats`` may be two seconds old."""
        self._post("stop", {})
        self.is_loading = False

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = json.loads(urlopen(f"{self.url}/stats/requests", timeout=240).read())
        return stats

    def calls(self) -> int:
        """Return the number of calls that the tab "Return codes" shows."""
        return sum(row["calls"] for row in self.stats()["extended_stats"][0]["data"] if row["return_code"] == "all")

    def _post(self, route: str, fields: dict[str, object]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            urlopen(f"{self.url}/{route}", urlencode(fields).encode(), timeout=240).read()
        )
        return answer


def wait_until(is_so: Callable[[], object], timeout_s: float = 240) -> None:
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


@contextmanager
def locust(api: Api, *options: str, **settings: str) -> Iterator[Page]:
    port = free_port()
    web = f"--headful --web-host 127.0.0.1 --web-port {port} --stop-timeout 1".split()
    with plain_locust(api.target, *web, *options, **settings) as process:
        page = Page(f"http://127.0.0.1:{port}")

        def is_ready() -> bool:
            assert process.poll() is None, process.stderr and process.stderr.read()
            try:
                stats = page.stats()
            except OSError:
                return False
            return "--processes" not in options or len(stats["workers"]) == 2

        try:
            wait_until(is_ready)
            yield page
        finally:
            process.terminate()
            process.communicate(timeout=240)


@pytest.fixture
def other(api: Api) -> Iterator[Api]:
    with serving() as other:
        other.latency_s = api.latency_s
        yield other


ONE_AND_TWO: dict[str, tuple[str, ...]] = {"one process": (), "two workers": ("--processes", "2")}
ON_BOTH = pytest.mark.parametrize("page", ONE_AND_TWO.values(), ids=ONE_AND_TWO, indirect=True)


@pytest.fixture(scope="module")
def shared_locust() -> Iterator[Callable[..., Page]]:
    """Start one locust for each set of options, for all tests of this module."""
    with serving() as unused, ExitStack() as stack:
        yield cache(lambda *options: stack.enter_context(locust(unused, *options)))


@pytest.fixture
def page(shared_locust: Callable[..., Page], request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page without a running test; the tests before this one were started there too."""
    page = shared_locust(*getattr(request, "param", ()))
    yield page
    if page.is_loading:
        page.stop()


@ON_BOTH
def test_after_the_host_was_changed_the_first_target_receives_nothing_more(api: Api, other: Api, page: Page) -> None:
    page.load(api)
    page.stop()
    before = api.answered.total()
    page.load(other, calls=50)
    page.stop()
    assert api.answered.total() == before
    wait_until(lambda: page.calls() == other.answered.total())  # the results are those of the second test


@ON_BOTH
def test_a_host_that_is_not_allowed_is_refused_with_the_reason(api: Api, page: Page) -> None:
    page.load(api)
    page.stop()
    answer = page.start(REFUSED)
    assert not answer["success"]
    assert "192.0.2.1" in answer["message"]
    assert "--allow-target" in answer["message"]
    before = api.answered.total()
    page.load(api, calls=before + 20)


def test_a_host_that_is_allowed_still_needs_a_cap(api: Api) -> None:
    with locust(api, "--allow-target", "192.0.2.1") as page:
        answer = page.start(REFUSED, max_messages="", max_cost="")
        assert not answer["success"]
        assert "--max-messages" in answer["message"]


@pytest.mark.parametrize(
    "field", [{"allow_target": "192.0.2.1"}, {"i_pay_for_this": "true"}, {"sms_run_dir": "/tmp/elsewhere"}]
)
def test_the_page_can_give_no_permission(page: Page, field: dict[str, str]) -> None:
    answer = page.start(REFUSED, max_messages="5", **field)
    assert (answer["success"], "only be given on the command line" in answer["message"]) == (False, True)
    assert not page.start(REFUSED, max_messages="5")["success"]


def test_the_host_of_a_running_test_cannot_be_changed(page: Page, api: Api, other: Api) -> None:
    page.start(api.target.base_url)
    api.wait_for(calls=20)
    answer = page.start(other.target.base_url)
    assert (answer["success"], "stop it before you change the host" in answer["message"]) == (False, True)
    assert page.start(api.target.base_url, user_count=3)["success"]
    assert not other.connections


@pytest.mark.parametrize(("field", "word"), [("rate", "--rate"), ("threshold", "p98"), ("sms_mobiles", "mobiles")])
def test_an_invalid_option_is_refused_with_the_reason(page: Page, api: Api, field: str, word: str) -> None:
    answer = page.start(api.target.base_url, **{field: "p98"})
    assert (answer["success"], word in answer["message"]) == (False, True), answer
    assert not api.connections


def test_the_metrics_show_whether_a_test_is_running(api: Api) -> None:
    port = free_port()

    def is_running() -> bool:
        metrics = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=240).read()
        assert b"\nsmscode_load_running " in metrics
        return b"\nsmscode_load_running 1.0\n" in metrics

    with locust(api, "--metrics-port", str(port)) as page:
        assert not is_running()
        for _ in range(2):
            page.load(api)
            assert is_running()
            page.stop()
            wait_until(lambda: not is_running())


@ON_BOTH
def test_each_test_has_a_cap_of_its_own(api: Api, other: Api, page: Page) -> None:
    api.latency_s = other.latency_s = 0
    for target, messages in ((api, 2_000), (other, 1_500)):  # locust loses workers of a test that ends at once
        page.load(target, calls=1, max_messages=messages)
        wait_until(lambda: target.answered["send", 50000] == messages)  # noqa: B023
        page.await_end()
        assert target.answered["send", 50000] == messages


@pytest.mark.parametrize("options", ONE_AND_TWO.values(), ids=ONE_AND_TWO)
def test_each_test_has_records_of_its_own(api: Api, other: Api, tmp_path: Path, options: tuple[str, ...]) -> None:
    first = tmp_path / "run"
    with locust(api, *options, "--stop-timeout", "5", SMSCODE_RUN_DIR=str(first)) as page:
        for target in (api, other):
            page.load(target)
            page.stop()
        assert recorded(first) == api.answered
        assert recorded(tmp_path / "run-2") == other.answered


def recorded(folder: Path) -> Counter[tuple[str, int | None]]:
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb")) for path in folder.glob(f"*{PACKED_SUFFIX}")]
        return Counter((record.endpoint, record.return_code) for file in files for record in PackedReader(file))


def test_the_page_shows_the_reason(api: Api, browser: Browser) -> None:
    with locust(api) as page, browser.new_page() as shown:
        shown.goto(page.url)
        shown.get_by_label("Host").fill(REFUSED)
        shown.get_by_role("button", name="Start").click()
        expect(shown.get_by_text("--allow-target 192.0.2.1")).to_be_visible()


def test_a_user_of_locust_as_a_library_is_checked_too(api: Api) -> None:
    script = f"""
from locust.env import Environment
from toolkit.load_test.generator.journeys import people
from toolkit.load_test.generator.user import SmsCodeUser

class Person(SmsCodeUser):
    tasks = [people.abandon]

environment = Environment(host="{REFUSED}", user_classes=[Person])
environment.create_local_runner()
environment.runner.start(1, 1)
environment.runner.spawning_greenlet.join()
print(environment.runner.user_count)
"""
    settings = {"SMSCODE_APP_KEY": "key", "SMSCODE_MASTER_SECRET": "secret", "SMSCODE_TEMP_ID": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=240)
    assert "--allow-target" in done.stdout + done.stderr
