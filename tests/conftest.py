"""Fixtures for every room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright
from support.bench import Bench, Wall
from support.npm import install
from support.service import Running, running
from support.smsc import PACKAGE
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("no deadline", deadline=None)  # how long an example takes is a matter of what else runs here
settings.load_profile("no deadline")


# Modules whose tests share what takes long to start, and what that is: they stay on one worker.
_SHARED = {
    "tests/analysis/test_engines.py": "Spark",
    "tests/analysis/test_on_a_cluster.py": "Spark",
    "tests/forms/test_console.py": "the console",
    "tests/forms/test_lab.py": "JupyterLab",
}
_NOTEBOOKS = "tests/test_notebooks.py"


class _Schedule(LoadScopeScheduling):
    """Schedules tests one by one, but for modules that share: xdist 3.8's groups do nothing under pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        module, _, test = nodeid.partition("::")
        if module == _NOTEBOOKS:
            return test.partition("[")[2]  # the notebook that it is about, which runs once
        return _SHARED.get(module, nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Schedule(config, log)


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
    """Debian's chromium; skips without it, but not in CI."""
    chromium = shutil.which("chromium")
    if chromium is None:
        assert not os.environ.get("CI"), "CI needs chromium"
        pytest.skip("no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def smpp_modules(request: pytest.FixtureRequest) -> Path:
    """Where npm's smpp is installed, once for all runs."""
    assert request.config.cache
    return install(Path(request.config.cache.mkdir("smsc")), PACKAGE)
