"""Probe a target from the options to the findings. A shell and a form use the same function."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from toolkit import number_format
from toolkit.api.errors import ReturnCodeError
from toolkit.atomic_write import write_atomically
from toolkit.client import Client
from toolkit.json_numbers import exact
from toolkit.load_test.launch.locust_process import check_target
from toolkit.load_test.plan.target_guard import doubt_of
from toolkit.masking import mask
from toolkit.probe.findings import Findings, conclude
from toolkit.probe.permission import SANDBOX_MESSAGES, ProbePlan, permit
from toolkit.probe.planner import Planner
from toolkit.probe.prober import ProbeProgress, TargetClock, run_probe
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.live_run import LiveRun, RunKind
from toolkit.runs.run_folder import PROBE_NAME, Cause
from toolkit.settings import Target

SCHEMA = 2


@dataclass(frozen=True, slots=True)
class Probe:
    """The options of a probe.

    Args:
        duration_s: Maximum duration, in s of this machine's time.
        mobiles, max_messages, speed, scope, allowed, pays: As of ``permit``.

    >>> Probe(120, speed=60).sandbox_arguments()
    ('--speed', '60')
    """

    duration_s: float
    mobiles: str | None = None
    max_messages: int | None = None
    speed: float = 1.0
    scope: str = "both"
    allowed: tuple[str, ...] = ()
    pays: bool = False

    def check(self, target: Target) -> ProbePlan:
        """Check that a target may be probed, answers and accepts the key, at no cost; return the permitted means.

        Raises:
            InputError: An option is invalid, or the options do not allow to probe this target.
            CallError: The target did not answer, or refused the key.
        """
        self._permit(target, lambda _: "")
        check_target(target)
        return self._permit(target, doubt_of)

    def _permit(self, target: Target, find_doubt: Callable[[Target], str]) -> ProbePlan:
        return permit(
            target,
            mobiles=self.mobiles,
            max_messages=self.max_messages,
            speed=self.speed,
            scope=self.scope,
            allowed=self.allowed,
            pays=self.pays,
            find_doubt=find_doubt,
        )

    def sandbox_arguments(self) -> tuple[str, ...]:
        """Return the options of a sandbox that is started for the probe."""
        return "--speed", f"{self.speed:g}"

    def live_run(self, target: Target | None, max_away_s: float | None = None) -> LiveRun:
        """Return the description for other processes while this process runs the probe; as ``LoadTest.live_run``."""
        return LiveRun.of_this_process(
            kind=RunKind.PROBE,
            scenario="probe",
            load=f"at most {number_format.plural(self.max_messages or SANDBOX_MESSAGES, 'message')}",
            run_time_s=self.duration_s,
            target=target and target.base_url,
            is_real=self.pays,
            max_messages=self.max_messages,
            max_away_s=max_away_s,
        )

    def settings(self, target: Target) -> dict[str, object]:
        """Return the settings that probe.json records, without the secret."""
        about = {"target": target.base_url, "app_key": target.app_key, "temp_id": target.temp_id}
        return {"scenario": "probe", **about, **asdict(self)}


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The findings of a probe, and how it ended.

    Args:
        findings: The findings.
        code: 0 only if the probe came to its own end; see docs/reference/exit-codes.md.
        problem: Why it did not, "" if it did.
        started: Start in UTC.
        interrupt: The exception of Ctrl-C.
    """

    findings: Findings
    code: ExitCode
    problem: str
    started: datetime
    interrupt: KeyboardInterrupt | None = None


def play(
    probe: Probe,
    target: Target,
    plan: ProbePlan,
    on_progress: Callable[[ProbeProgress], object] = lambda _: None,
    find_stop: Callable[[], str | None] = lambda: None,
) -> ProbeResult:
    """Run a probe to its end, or until it is stopped or interrupted.

    Args:
        probe: The options.
        target: The API.
        plan: The means that ``Probe.check`` has permitted for this target.
        on_progress: Called before each wait.
        find_stop: As of ``run_probe``.
    """
    clock, started, interrupt, stop = TargetClock(probe.speed), datetime.now(UTC), None, None
    until_s = clock.started_s + probe.duration_s * probe.speed
    planner = Planner(len(plan.mobiles), plan.max_messages, until_s, seeks_app=plan.seeks_app)
    with Client(target.base_url, target.app_key, target.master_secret) as client:
        send = partial(client.send_code, temp_id=target.temp_id)
        try:
            stop = run_probe(planner, plan.mobiles, send, clock, on_progress, find_stop)
        except KeyboardInterrupt as problem:
            interrupt, stop = problem, ""
    findings = conclude(planner, clock.now() - clock.started_s)
    return ProbeResult(findings, *_judge(planner, findings, stop), started, interrupt)


def _judge(planner: Planner, findings: Findings, stop: str | None) -> tuple[ExitCode, str]:
    """Return the exit code of a probe, and why it did not come to its own end."""
    if stop is not None:
        return (ExitCode.TERMINATED if stop == "SIGTERM" else ExitCode.INTERRUPTED), findings.stopped
    if isinstance(planner.problem, ReturnCodeError):
        return ExitCode.REFUSED, findings.stopped
    if not findings.messages + findings.refused:
        return ExitCode.NO_ANSWER, findings.stopped
    if findings.messages == findings.unknown:
        return ExitCode.FAILED, f"no send was accepted: {findings.stopped}"
    if planner.problem:
        return ExitCode.FAILED, f"the probe was cut off: {findings.stopped}"
    return ExitCode.DONE, ""


def write_begin(folder: Path, settings: dict[str, object]) -> None:
    """Write probe.json of a probe that begins. A probe that is killed keeps it."""
    _write(folder, {"ended": Cause.INCOMPLETE.value}, settings)


def write_result(folder: Path, settings: dict[str, object], result: ProbeResult) -> None:
    """Write probe.json of a probe that has ended; see docs/guides/probe.md."""
    code = result.code
    ended = Cause.FINISHED.value if code is ExitCode.DONE else code.name.lower()
    end: dict[str, Any] = {"exit_code": int(code), "ended": ended, "problem": result.problem}
    end |= {"started": result.started.isoformat(), **result.findings.as_json()}
    _write(folder, end, settings)


def _write(folder: Path, content: dict[str, Any], settings: dict[str, object]) -> None:
    content = {"schema": SCHEMA, **content, "settings": mask(settings)}
    text = json.dumps(exact(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / PROBE_NAME, text)
