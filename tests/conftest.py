"""Fixtures and the schedule of all tests."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, expect, sync_playwright
from support.bench import Bench, Wall
from support.engines import stop_spark
from support.npm import install
from support.pages import SLOW_MS
from support.programs import NEEDS, require
from support.service import Running, running
from support.smsc import PACKAGE
from xdist.scheduler import LoadScopeScheduling

# How long an example takes, or to draw it, is a matter of the machine and of what else runs on it.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


# Containers often forbid bytecode files; each of some hundred processes would then compile its modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The modules of thousands of tests make objects that live until the end: look for garbage less often.
gc.set_threshold(50_000, 20, 20)

# The tests share two cores, so load generators are held up: only tests of that very verdict ask for the limit of 1 %.
os.environ["SMSCODE_MAX_BOTTLENECK"] = "100%"

# Modules and packages whose tests share a resource that is costly to make: all tests of one resource run on one worker.
_SHARED = {
    "tests/analysis/change_detection/test_changepoints.py": "a month with changes",
    "tests/analysis/charts/test_charts_of_frames.py": "simulated frames",
    "tests/analysis/charts/test_export.py": "a browser for charts",
    "tests/analysis/test_frames_for_pandas.py": "a frame of each function",
    "tests/analysis/test_native_ops.py": "Spark",
    "tests/analysis/test_on_a_cluster.py": "Spark",
    "tests/browser_charts/test_chart.py": "a browser for interactive charts",
    "tests/deploy": "a Prometheus",
    "tests/docs": "the docs site",
    "tests/forms/test_console.py": "the console",
    "tests/forms/test_lab.py": "JupyterLab",
    "tests/forms/test_widget_managers.py": "a browser for widgets",
    "tests/load_test/generator/locust_plugin/test_web_ui.py": "locust's page under load",
    "tests/load_test/generator/test_install.py": "locust's routes",
    "tests/report/test_build.py": "a page of traffic",
    "tests/report/test_explored_page.py": "a page with charts",
    "tests/report/test_page_tables.py": "a page with tables",
    "tests/report/test_sections.py": "a report of two weeks",
    "tests/service/sandbox/test_page.py": "a browser for the sandbox's page",
    "tests/service/test_contract.py": "a service with apps in every state",
    "tests/simulation": "simulated weeks",
}
_NOTEBOOKS = "tests/test_notebooks.py"
_CPU_S = pytest.StashKey[list[float]]()


class _Schedule(LoadScopeScheduling):
    """Distribute tests one by one, except tests that share a resource: xdist 3.8's groups do nothing in pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        module, _, test = nodeid.partition("::")
        if module == _NOTEBOOKS:
            return test.partition("[")[2]  # the notebook under test, which is run once
        if "spark" in test.partition("[")[2]:
            return "Spark"  # one JVM for all
        return next((shared for place, shared in _SHARED.items() if module.startswith(place)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    for module in (*_SHARED, _NOTEBOOKS):
        assert (config.rootpath / module).exists(), f"{module} was moved: change tests/conftest.py"
    return _Schedule(config, log)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_CPU_S] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    stop_spark()
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["cpu_s"] = sum(os.times()[:4])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    node.config.stash[_CPU_S].append(getattr(node, "workeroutput", {}).get("cpu_s", 0.0))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the CPU time, and each program whose absence skipped tests with the command that installs it."""
    cpu_s = sum(config.stash[_CPU_S]) or sum(os.times()[:4])
    terminalreporter.write_line(f"CPU time of the tests and the processes they started: {cpu_s / 60:.1f} minutes")
    reasons = (str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []))
    missing = Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    for reason, count in sorted(missing.items()):
        if reason.startswith(NEEDS):
            terminalreporter.write_line(f"{count} tests were skipped: {reason}", yellow=True)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "store.db", Wall())


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Running]:
    """A sandbox that the whole run shares: use fresh mobiles."""
    with running() as service:
        yield service


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Start services that end with the test."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(running(*options))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium, headless."""
    chromium = require("chromium")
    expect.set_options(timeout=SLOW_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe(request: pytest.FixtureRequest) -> Path:
    """The script of axe-core, which finds what people with a disability can't use."""
    assert request.config.cache
    modules = install(Path(request.config.cache.mkdir("axe")), "axe-core@4.11.0")
    return modules / "axe-core/axe.min.js"


@pytest.fixture(scope="session")
def smpp_modules(request: pytest.FixtureRequest) -> Path:
    """Where npm's smpp is installed, once for all runs."""
    assert request.config.cache
    return install(Path(request.config.cache.mkdir("smsc")), PACKAGE)
