"""Make the pictures here again: of a run's report, and of locust's page. Run it from anywhere; it takes a minute."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from toolkit import launch

HERE = Path(__file__).parent
FAULTS = ("--latency", "8ms~0.6", "--error-share", "0.02", "--drop-share", "0.002", "--stall", "300ms/8s")
LOADED_S = 30


def main() -> None:
    """Photograph both."""
    report()
    return_codes()


def report() -> None:
    """Load a sandbox, and photograph the report."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "toolkit", "load", "--out", folder, "--seed", "1"], check=True)
        page = next(Path(folder).glob("*/report.html"))
        photograph(page.as_uri(), HERE / "report.png", height=1500)


def return_codes() -> None:
    """Load a sandbox that has faults, often the same mobiles, and photograph our tab of locust's page meanwhile."""
    with launch.sandbox(*FAULTS) as target, socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        held.close()
        settings = {
            "SMSCODE_APP_KEY": target.app_key,
            "SMSCODE_MASTER_SECRET": target.master_secret,
            "SMSCODE_TEMP_ID": str(target.temp_id),
            "SMSCODE_MOBILES": "zipf:1.05",
        }
        scenario = str(launch.find_scenario("throughput").resolve())
        options = f"--host {target.base_url} --web-host 127.0.0.1 --web-port {port} --autostart -u 10 -r 10".split()
        command = [sys.executable, "-m", "locust", "-f", scenario, *options]
        with subprocess.Popen(command, env={**os.environ, **settings}) as locust:
            try:
                time.sleep(LOADED_S)
                page = f"http://127.0.0.1:{port}/?tab=return-codes"
                photograph(page, HERE / "return-codes.png", height=1280, wait_for="#codes-over-time rect")
            finally:
                locust.terminate()


def photograph(url: str, picture: Path, height: int, wait_for: str = "body") -> None:
    """Keep what Chromium shows of a page once there is an element that a CSS selector names."""
    chromium = shutil.which("chromium") or sys.exit("chromium is missing: install Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": height})
        page.goto(url)
        page.wait_for_selector(wait_for)
        page.screenshot(path=picture)
        browser.close()
    print(picture)


if __name__ == "__main__":
    main()
