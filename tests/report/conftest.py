"""Run folders made by hand, and a browser."""

import json
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.programs import require

from toolkit.analysis import Calls
from toolkit.analysis.calls_table import lazy
from toolkit.api.return_codes import find, kind_of
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import CallRecord
from toolkit.records.parquet import PARQUET_NAME, write_parquet
from toolkit.report import html
from toolkit.report.build import build_report
from toolkit.report.inputs import ReportInputs, ReportOptions
from toolkit.report.run_result import RunResult
from toolkit.runs.check_results import CheckRecord

NOON_NS = 1_793_966_400_000_000_000  # 2026-11-06 12:00:00 UTC
_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def _call(endpoint: Endpoint, code: int | None, **changes: object) -> CallRecord:
    row = None if code is None else find(code)
    fields = {
        "started_ns": NOON_NS,
        "run": "friday",
        "source": "worker-0",
        "endpoint": endpoint,
        "http_status": row.http_status if row else None if code is None else 403,
        "return_code": code,
        "kind": None if code is None else kind_of(code),
        "latency_ns": 2_000_000,
    }
    return CallRecord(**(fields | changes))


def _traffic(pairs: int) -> Iterator[CallRecord]:
    """Make sends and the verifies that follow them, 100 pairs a second, with all sorts of outcomes."""
    dice = random.Random(7)
    for i in range(pairs):
        times = {"started_ns": NOON_NS + i * 10_000_000, "latency_ns": int(dice.lognormvariate(15, 0.5))}
        error = dice.choices([None, "timeout", "refused"], [97, 2, 1])[0]
        code = None if error else dice.choices([50000, 50006, 50009, 50014, 50019, 59031], [80, 4, 9, 3, 3, 1])[0]
        yield _call(Endpoint.SEND, code, error=error, wait_ns=dice.randrange(10**6), **times)
        if code == 50000:
            verdict = dice.choices([50000, 50010, 50011, 50012], [90, 7, 2, 1])[0]
            yield _call(Endpoint.VERIFY, verdict, **times)


@pytest.fixture(scope="session")
def call() -> Callable[..., CallRecord]:
    return _call


@pytest.fixture(scope="session")
def traffic() -> list[CallRecord]:
    return list(_traffic(2_000))


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a run folder of records, with a run.json of ``settings`` where there are any."""

    def make(records: list[CallRecord], settings: dict[str, object] | None = None, folder: Path = tmp_path) -> Path:
        write_parquet(records, folder / PARQUET_NAME)
        if settings is not None:
            (folder / "run.json").write_text(json.dumps({"schema": 2, "settings": settings}), encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def inputs_of() -> Callable[..., ReportInputs]:
    """Make a frame of calls, with settings and checks of its run, what a report is about."""

    def make(
        frame: pd.DataFrame,
        settings: Mapping[str, object] | None = None,
        checks: Sequence[CheckRecord] = (),
        **asked: Any,
    ) -> ReportInputs:
        calls = Calls(lazy(frame))
        return ReportInputs(calls, (RunResult("friday", calls, settings or {}, checks),), ReportOptions(**asked))

    return make


@pytest.fixture(scope="session")
def render(inputs_of: Callable[..., ReportInputs]) -> Callable[..., str]:
    """Render the page of what ``inputs_of`` makes."""
    return lambda *given, **asked: html.render(build_report(inputs_of(*given, **asked)))


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., str]:
    """Open a file in headless Chromium with some options; return what it printed."""
    chromium = require("chromium")

    def browse(page: Path, *options: str) -> str:
        command = [chromium, *_QUIET, f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout

    return browse
