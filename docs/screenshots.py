"""Take the screenshots of docs/images again: the console, a notebook, a report and locust's web page.

This takes two minutes. It needs Debian's chromium and a Chinese font, such as fonts-wqy-zenhei. Arguments select
screenshots: `python docs/screenshots.py report console`.

`python docs/screenshots.py looks` is for people who change the console: every tab at four widths, light and dark, with
a load test that runs and a run that is open, in the folder screenshots.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from toolkit import analysis
from toolkit.analysis import charts
from toolkit.load_test.launch.sandbox_process import sandbox
from toolkit.load_test.launch.scenarios import find_scenario
from toolkit.runs.run_folder import write_settings
from toolkit.settings import load_prices
from toolkit.simulation import SimulationPlan, simulate

HERE = Path(__file__).parent
IMAGES = HERE / "images"
SLOW_MS = 90_000
WIDTH_PX, PIXELS = 960, 1.5
FAULTS = ("--latency", "8ms~0.6", "--error-share", "0.02", "--drop-share", "0.002", "--stall", "300ms/8s")
LOADED_S = 30
MOBILE = "13800138000"
LOOKS = HERE.parent / "screenshots"
LOOKS_WIDTHS_PX = (390, 768, 1280, 1920)


def report() -> None:
    """Simulate a month with incidents, and take a screenshot of its report."""
    with tempfile.TemporaryDirectory() as folder:
        month = Path(folder)
        simulate(month, SimulationPlan(days=30, calls=500_000))
        smscode("report", folder, "--prices", f"{folder}/prices.toml", "--slo", "99.9%")
        with chromium(height=1300) as page:
            page.goto((month / "report.html").as_uri())
            keep(page, "report")


def what_if() -> None:
    """Draw the sweep of docs/guides/what-if.md over a simulated month."""
    with tempfile.TemporaryDirectory() as folder:
        simulate(folder, SimulationPlan(days=30, calls=300_000, incidents=("pumping", "brute_force")))
        prices = load_prices(Path(folder) / "prices.toml")
        sweep = analysis.what_if_sweep(analysis.read(folder), [1, 2, 3, 5], [60, 300, 3600], prices)
        (IMAGES / "what-if.png").write_bytes(charts.to_png(charts.what_if_sweep(sweep), PIXELS))


def notebook() -> None:
    """Take a screenshot of the top of a stored notebook."""
    kept = HERE.parent / "notebooks" / "02_return_codes.ipynb"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "notebook.html"
        options = ["--to", "html", "--output-dir", folder, "--output", made.stem]
        subprocess.run([sys.executable, "-m", "nbconvert", str(kept), *options], check=True)
        with chromium(height=2150) as page:
            page.route("http*://**", lambda route: route.abort())
            page.goto(made.as_uri())
            keep(page, "notebook")


def console() -> None:
    """Take screenshots of the console: after a code was sent and verified, and during a load test."""
    with tempfile.TemporaryDirectory() as folder, chromium(height=1000) as page:
        make_runs(Path(folder))
        with serving_console(folder) as url:
            use_calls(page, url)
            keep(page, "console")
            start_load(page, "60s")
            keep(page, "console-load")
            page.get_by_role("tab", name="Overview").click()
            keep(page, "console-overview")


def looks() -> None:
    """Take a screenshot of every tab of the console at each width, light and dark."""
    LOOKS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium(height=900, pixels=1) as page:
        make_runs(Path(folder))
        with serving_console(folder) as url:
            use_calls(page, url)
            start_load(page, "10m")
            page.get_by_role("tab", name="Runs").click()
            runs = page.get_by_role("tabpanel", name="Runs")
            runs.get_by_label("Runs").select_option(index=1)
            runs.get_by_role("button", name="Open").click()
            runs.locator(".sms-view canvas").first.wait_for()
            for tab in page.get_by_role("tab").all():
                tab.click()
                for width in LOOKS_WIDTHS_PX:
                    for scheme in ("light", "dark"):
                        page.emulate_media(color_scheme=scheme)
                        page.set_viewport_size({"width": width, "height": 900})
                        page.wait_for_timeout(500)
                        name = (tab.text_content() or "").lower().replace(" ", "-")
                        page.screenshot(path=LOOKS / f"looks-{name}-{width}-{scheme}.png", full_page=True)
            page.get_by_role("tab", name="Load").click()
            page.get_by_role("tabpanel", name="Load").get_by_role("button", name="Stop").click()
            page.get_by_role("tabpanel", name="Load").locator(".sms-verdicts").wait_for()
    print(LOOKS)


def make_runs(folder: Path) -> None:
    """Make three runs: one that passed, one that missed a threshold, and one that was killed."""
    command = [sys.executable, "-m", "toolkit", "load", "throughput", "--users", "4"]
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
    for options in (["--duration", "5s"], ["--duration", "5s", "--threshold", "p99(send.caller_ms) < 0.01"]):
        subprocess.run([*command, *options], **quiet)  # type: ignore[call-overload]
    killed = folder / "runs" / "20261130T120000Z"
    killed.mkdir()
    (killed / "locust.log").touch()
    write_settings(killed, {"scenario": "soak", "rate_per_s": 50.0})


def use_calls(page: Page, url: str) -> None:
    """Open the console, and send and verify a code."""
    page.goto(url)
    page.locator("body.ready").wait_for()
    page.get_by_role("tab", name="Calls").click()
    calls = page.get_by_role("tabpanel", name="Calls")
    calls.get_by_label("Mobile").fill(MOBILE)
    calls.get_by_role("button", name="Send code").click()
    expect(calls.locator(".sms-verdict")).to_contain_text("50000")
    calls.get_by_role("button", name="Read code").click()
    expect(calls.get_by_label("Code", exact=True)).not_to_have_value("")
    calls.get_by_role("button", name="Verify").click()
    expect(calls.locator(".sms-facts")).to_contain_text("verify")


def start_load(page: Page, duration: str) -> None:
    """Start a load test, and wait until its chart has a shape."""
    page.get_by_role("tab", name="Load").click()
    load = page.get_by_role("tabpanel", name="Load")
    load.get_by_label("Users", exact=True).fill("8")
    load.get_by_label("Duration").fill(duration)
    load.get_by_role("button", name="Start").click()
    page.wait_for_timeout(20_000)


def return_codes() -> None:
    """Load a sandbox with faults, and take a screenshot of the tab "Return codes" in locust's web page."""
    with sandbox(*FAULTS) as target, socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        held.close()
        settings = {
            "SMSCODE_APP_KEY": target.app_key,
            "SMSCODE_MASTER_SECRET": target.master_secret,
            "SMSCODE_TEMP_ID": str(target.temp_id),
            "SMSCODE_MOBILES": "zipf:1.05",
        }
        scenario = str(find_scenario("throughput").resolve())
        options = f"--host {target.base_url} --web-host 127.0.0.1 --web-port {port} --autostart -u 10 -r 10".split()
        command = [sys.executable, "-m", "locust", "-f", scenario, *options]
        with subprocess.Popen(command, env={**os.environ, **settings}) as locust:
            try:
                time.sleep(LOADED_S)
                with chromium(height=1280, width=1280) as page:  # a narrower page cuts the tabs off
                    page.goto(f"http://127.0.0.1:{port}/?tab=return-codes")
                    page.locator("#codes-over-time canvas").first.wait_for()
                    keep(page, "return-codes")
            finally:
                locust.terminate()


PICTURES: dict[str, Callable[[], None]] = {
    "report": report,
    "notebook": notebook,
    "console": console,
    "return-codes": return_codes,
    "what-if": what_if,
}


def smscode(*arguments: str) -> None:
    """Run a command of the toolkit."""
    subprocess.run([sys.executable, "-m", "toolkit", *arguments], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def serving_console(folder: str) -> Iterator[str]:
    """Serve the console from a folder until the block ends, and yield its URL."""
    command = [sys.executable, "-m", "toolkit", "console", "--port", "0", "--no-browser"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextmanager
def chromium(height: int, width: int = WIDTH_PX, pixels: float = PIXELS) -> Iterator[Page]:
    """Open an empty page. It is as narrow as a column of text, so that its letters are not made smaller there."""
    program = shutil.which("chromium") or sys.exit("chromium is missing: install Debian's package chromium")
    expect.set_options(timeout=SLOW_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=pixels)
        page.set_default_timeout(SLOW_MS)
        yield page
        browser.close()


def keep(page: Page, name: str) -> None:
    """Save a screenshot of the top of a page."""
    page.mouse.wheel(0, -100_000)
    page.wait_for_timeout(500)
    picture = IMAGES / f"{name}.png"
    page.screenshot(path=picture)
    print(picture)


if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        {**PICTURES, "looks": looks}[name]()
