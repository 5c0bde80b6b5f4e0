"""Measure a page of the console: bytes on the wire, requests, and the time from opening it to its use.

    python benchmarks/console.py [--against FOLDER] [--times 5]

A proxy between browser and console counts the bytes that the browser receives, websocket included. "First" is a browser
without a cache, "again" the same page loaded once more. With --against, a checkout of another version is measured in
turn with this one. It needs Debian's chromium, and a machine on which nothing else runs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parents[1]
SETTLED_S, SPARE_S = 3.0, 12.0  # until all has been received; until the kernel of the next page has imported the forms


@dataclass(frozen=True, slots=True)
class Load:
    """One load of the page."""

    usable_s: float
    requests: int
    received_bytes: int


class CountingProxy:
    """A TCP proxy on loopback that counts the bytes from the server. ``port`` is its port."""

    def __init__(self, server_port: int) -> None:
        self.received_bytes = 0
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    async def _listen(self) -> int:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        await asyncio.gather(self._copy(reader, to_server, 0), self._copy(from_server, writer, 1))

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, counts: int) -> None:
        try:
            while data := await source.read(65_536):
                self.received_bytes += counts * len(data)
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()


@contextmanager
def serving(checkout: Path) -> Iterator[tuple[CountingProxy, str]]:
    """Serve the console of a checkout, and give the proxy before it and its URL there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SMSCODE_")}
    command = [sys.executable, "-m", "toolkit", "console", "--port", "0", "--no-browser"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment | {"PYTHONPATH": str(checkout)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            port = urlsplit(url).port or 0
            proxy = CountingProxy(port)
            yield proxy, url.replace(f":{port}", f":{proxy.port}")
        finally:
            process.terminate()


def load(page: Page, proxy: CountingProxy, url: str) -> Load:
    """Load the page once the spare kernel is ready."""
    time.sleep(SPARE_S)
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.url))
    proxy.received_bytes, began_s = 0, time.perf_counter()
    page.goto(url)
    page.locator("body.ready").wait_for(timeout=120_000)
    usable_s = time.perf_counter() - began_s
    page.wait_for_timeout(1000 * SETTLED_S)
    return Load(usable_s, sum(it.startswith("http") for it in asked), proxy.received_bytes)


def measure(browser: Browser, checkout: Path) -> tuple[Load, Load]:
    """Return the first load of a page, and the second one."""
    with serving(checkout) as (proxy, url), browser.new_context() as context:
        first = load(context.new_page(), proxy, url)
        for page in context.pages:
            page.close()
        return first, load(context.new_page(), proxy, url.partition("?")[0])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    checkouts = {"before": options.against.resolve()} if options.against else {}
    checkouts |= {"now": HERE}
    found: dict[tuple[str, str], list[Load]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(options.times):
            for name, checkout in checkouts.items():
                for kind, it in zip(("first", "again"), measure(browser, checkout), strict=True):
                    found.setdefault((name, kind), []).append(it)
        browser.close()
    print(f"{'':16} {'usable after':>22} {'requests':>9} {'received':>12}")
    for (name, kind), loads in found.items():
        times = sorted(it.usable_s for it in loads)
        spread = f"{statistics.median(times):.2f} s ({times[0]:.2f}-{times[-1]:.2f})"
        kilobytes = statistics.median(it.received_bytes for it in loads) / 1000
        print(f"{name + ', ' + kind:16} {spread:>22} {loads[-1].requests:>9} {kilobytes:>9,.0f} kB")


if __name__ == "__main__":
    main()
