"""Collect the data that each check needs; merge it on the master.

When the run is over, the master, or the only process, judges the claims, prints how they stand, leaves them in the
run's folder, and ends with an exit code of their own where one is broken.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import STATE_STOPPED, WorkerRunner

from toolkit.api.errors import ToolkitError
from toolkit.atomic_write import write_atomically
from toolkit.load_test.generator.checks.registry import Check, CheckResult, Evidence
from toolkit.load_test.generator.journeys.steps import CallResult
from toolkit.load_test.plan.expectations import Expectations
from toolkit.load_test.plan.options import from_parsed_options
from toolkit.load_test.plan.target_guard import is_this_machine
from toolkit.runs import run_folder
from toolkit.runs.remote_storage import is_url
from toolkit.runs.thresholds import Status

_REPORT_KEY = "smscode_evidence"
_DRIFT_RATIO = 1e-4  # of another machine's clock; an untended quartz is within half of it

_witnesses: dict[Environment, CheckCollector] = {}


class CheckCollector:
    """Keeps what was seen of each call."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._evidence: dict[Check, Evidence] = {}

    def see(self, kept: Sequence[CallResult]) -> None:
        """Take in calls."""
        for claim, evidence in self._evidence.items():
            rows = (claim.row(call, outcome) for call, outcome, _ in kept)
            evidence.update(row for row in rows if row is not None)

    def judge(self) -> list[CheckResult]:
        """ThresholdMonitor the claims by what is known now."""
        expectations = read_expectations(self._environment)
        return [claim.judge(evidence, expectations) for claim, evidence in self._evidence.items()]

    def begin(self, **_: object) -> None:
        """Begin a test, with no evidence yet; on a worker, the master's options have come by now."""
        self._evidence = {claim: Counter() for claim in _claims(self._environment)}

    def tell(self, client_id: str, data: dict[str, Any]) -> None:
        """Hand what was seen since the last time to the master."""
        data[_REPORT_KEY] = {claim.name: list(evidence.items()) for claim, evidence in self._evidence.items()}
        for evidence in self._evidence.values():
            evidence.clear()

    def hear(self, client_id: str, data: dict[str, Any]) -> None:
        """Take in what a worker has seen."""
        told = data.get(_REPORT_KEY, {})
        for claim, evidence in self._evidence.items():
            for row, seen in told.get(claim.name, ()):
                evidence[tuple(row)] += seen

    def conclude(self, **_: object) -> None:
        """ThresholdMonitor the claims, say and leave how they stand, and choose the exit code."""
        environment = self._environment
        if not self._evidence or environment.runner is None:
            return
        if environment.runner.state != STATE_STOPPED:
            environment.runner.quit()  # users finish the calls they are in, and workers tell of them
        judgements = self.judge()
        for judgement in judgements:
            print(describe(judgement))
        _leave(environment, judgements)
        if not environment.runner.exceptions:
            stands = all(it.status is Status.PASS for it in judgements)
            environment.process_exit_code = (
                environment.process_exit_code or 0 if stands else run_folder.THRESHOLD_MISSED
            )


def witness_of(environment: Environment) -> CheckCollector:
    """Return the witness of this process."""
    if environment not in _witnesses:
        witness = _witnesses[environment] = CheckCollector(environment)
        hooks: Any = environment.events
        hooks.test_start.add_listener(witness.begin)
        if isinstance(environment.runner, WorkerRunner):
            hooks.report_to_master.add_listener(witness.tell)
        else:
            hooks.worker_report.add_listener(witness.hear)
            hooks.quitting.add_listener(witness.conclude)
    return _witnesses[environment]


def read_expectations(environment: Environment) -> Expectations:
    """Read the expectations from locust's options; raise InputError for what is none."""
    options: Any = environment.parsed_options
    drift_ratio = 0.0 if is_this_machine(environment.host or "") else _DRIFT_RATIO
    return from_parsed_options(options).expectations(drift_ratio)


def describe(judgement: CheckResult) -> str:
    """Word how a claim stands, with its figures below."""
    figures = [f"    {name.replace('_', ' ')}: {_plain(value)}" for name, value in judgement.figures.items()]
    return "\n".join([f"{judgement.status:7} {judgement.claim.name}: {judgement.claim.says}", *figures])


def _plain(figure: object) -> str:
    if isinstance(figure, dict):
        return ", ".join(f"{name}: {_plain(it)}" for name, it in figure.items()) or "none"
    return "never" if figure is None else f"{figure:,.10g}"


def _claims(environment: Environment) -> list[Check]:
    """Return what the test's user classes claim, as far as the expectations ask for it, each once."""
    expectations = read_expectations(environment)
    claims = [getattr(user_class, "claim", None) for user_class in environment.user_classes]
    return list(dict.fromkeys(claim for claim in claims if claim and claim.applies(expectations)))


def _leave(environment: Environment, judgements: list[CheckResult]) -> None:
    options: Any = environment.parsed_options
    if options.sms_run_dir and not is_url(options.sms_run_dir):
        path = Path(options.sms_run_dir) / run_folder.CLAIMS_NAME
        write_atomically(path, json.dumps([it.as_json() for it in judgements], indent=2) + "\n")


def _take_part(environment: Environment, **_: object) -> None:
    witness_of(environment)
    try:
        read_expectations(environment)
    except ToolkitError as error:
        raise SystemExit(str(error)) from error


events.init.add_listener(_take_part)  # type: ignore[no-untyped-call]
