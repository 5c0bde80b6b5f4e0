"""Measure what the sandbox costs a test suite, and run the examples again and again.

``start`` prints the times of several starts; CPU time depends less on what else runs. ``flakes`` runs each test of
examples/ ``--repeat`` times, with eight workers of xdist; this file is also the pytest plugin that repeats them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parent.parent
WORKERS = 8

IN_PROCESS = {
    "import toolkit": "import toolkit",
    "import toolkit.testing": "import toolkit.testing",
    "the plugin in a suite that does not use it": "import pytest; begin(); import toolkit.pytest_plugin",
    "with sandbox(), after imports": "from toolkit.testing import sandbox; begin(); it = sandbox(); it.__enter__()",
}
TIMED = """
import os, time
def begin():
    global began_s, cpu_s
    began_s, cpu_s = time.perf_counter(), time.process_time()
begin()
{code}
print((time.perf_counter() - began_s) * 1000, (time.process_time() - cpu_s) * 1000, flush=True)
os._exit(0)
"""


def in_process_ms(code: str) -> tuple[float, float]:
    """Return the time and the CPU time of code in a fresh interpreter; it calls ``begin`` after uncounted steps."""
    done = subprocess.run([sys.executable, "-c", TIMED.format(code=code)], capture_output=True, text=True, check=True)
    took_ms, cpu_ms = map(float, done.stdout.split())
    return took_ms, cpu_ms


def serve_ms() -> tuple[float, float]:
    """Return the time from the start of `smscode serve` to its first answer, and its CPU time until it has ended."""
    before = os.times()
    began_s = time.perf_counter()
    command = [sys.executable, "-m", "toolkit", "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        url = json.loads(process.stdout.readline())["url"]
        try:
            urlopen(url)
        except HTTPError as answer:
            answer.close()
        took_ms = (time.perf_counter() - began_s) * 1000
        process.terminate()
    after = os.times()
    cpu_s = after.children_user - before.children_user + after.children_system - before.children_system
    return took_ms, cpu_s * 1000


def start(repeat: int) -> None:
    rows = {name: [in_process_ms(code) for _ in range(repeat)] for name, code in IN_PROCESS.items()}
    rows["smscode serve to its first answer"] = [serve_ms() for _ in range(repeat)]
    print(f"| {repeat} starts each, load average {os.getloadavg()[0]:.1f} | median ms | largest ms | median CPU ms |")
    print("|---|---:|---:|---:|")
    for name, found in rows.items():
        took_ms, cpu_ms = zip(*found, strict=True)
        print(f"| {name} | {statistics.median(took_ms):.1f} | {max(took_ms):.1f} | {statistics.median(cpu_ms):.1f} |")


def flakes(repeat: int) -> int:
    options = ["-p", "testing", "-p", "no:cacheprovider", "-q", f"-n{WORKERS}", "--repeat", str(repeat)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run([sys.executable, "-m", "pytest", *options], cwd=ROOT / "examples", env=env).returncode


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--repeat", type=int, default=1)


@pytest.fixture
def repetition(request: pytest.FixtureRequest) -> object:
    return request.param


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.fixturenames.append("repetition")
    metafunc.parametrize("repetition", range(metafunc.config.getoption("repeat")), indirect=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["start", "flakes"])
    parser.add_argument("--repeat", type=int, help="default: 20 starts, 1000 runs of the examples")
    given = parser.parse_args()
    sys.exit(flakes(given.repeat or 1000) if given.what == "flakes" else start(given.repeat or 20))
