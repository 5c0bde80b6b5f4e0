"""Debian's Prometheus as a process of its own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from support.programs import require
from support.redis import free_port

_PATIENCE_S = 240


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that scrapes once a second."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=_PATIENCE_S) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> dict[str, float]:
        """Return the values of an expression that are numbers, by their labels."""
        found = self.get("query", query=expression)["result"]
        values = {json.dumps(it["metric"], sort_keys=True): float(it["value"][1]) for it in found}
        return {labels: value for labels, value in values.items() if value == value}  # NaN is a division of 0 by 0

    def wait_for(self, expression: str) -> dict[str, float]:
        """Wait until an expression has a value, and return its values."""
        until_s = time.monotonic() + _PATIENCE_S
        while not (values := self.query(expression)):
            assert time.monotonic() < until_s, f"no data: {expression}"
            time.sleep(0.2)
        return values


@contextmanager
def scraping(folder: Path, jobs: dict[str, str], rules: Path) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes an address for each job until the block ends."""
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in jobs.items()
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    words = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    words += [f"--web.listen-address={address}", "--log.level=error"]
    with subprocess.Popen([require("prometheus"), *words], cwd=folder) as process:
        try:
            _await_ready(f"http://{address}/-/ready", process)
            yield Prometheus(f"http://{address}")
        finally:
            process.kill()


def _await_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            with urlopen(url, timeout=_PATIENCE_S):
                return
        except (URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(f"Prometheus is not ready; exit code {process.poll()}")
