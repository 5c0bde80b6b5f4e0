"""Trial: a load test from what it is asked to do to its report. The same for a shell and for a form."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from toolkit.analysis import read
from toolkit.api.durations import parse_duration
from toolkit.api.errors import InputError
from toolkit.load_test.launch import locust_process
from toolkit.load_test.launch.locust_process import Bounds, Ended, Expectations, LoadRun, Plan
from toolkit.load_test.plan.schedule import Schedule, parse_stages, steady
from toolkit.load_test.plan.target_guard import cap_messages, check_allowed
from toolkit.report.inputs import ReportInputs, run_name
from toolkit.report.preload import Preload
from toolkit.report.run_result import RunResult, Summary, save
from toolkit.report.write_files import write_page
from toolkit.runs.check_results import read_claims
from toolkit.runs.progress import Progress
from toolkit.settings import Price, Target

_TOLD_EVERY_S = 1.0
_PACKAGES = ("sms-code-toolkit", "locust", "gevent", "pyarrow")


@dataclass(frozen=True, slots=True)
class Trial:
    """One load test: what it does, how hard, what it must keep to and may spend, at which price, with which seed.

    Raises InputError for a scenario that isn't there, and for bounds that can't be kept.
    """

    scenario: str
    plan: Plan
    bounds: Bounds = field(default_factory=Bounds)
    expectations: Expectations = field(default_factory=Expectations)
    price: Price | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        locust_process.find_scenario(self.scenario)
        self.cap()

    def cap(self) -> int | None:
        """Return how many messages it may send at most; None for as many as it can."""
        return cap_messages(self.bounds.max_messages, self.bounds.max_cost, self.price)

    def check(self, target: Target) -> None:
        """Make sure that a target may be loaded, answers, and knows the key, at no cost; raises what tells why not."""
        bounds = self.bounds
        check_allowed(target.base_url, bounds.allow_target, bounds.i_pay_for_this, is_capped=self.cap() is not None)
        locust_process.check_target(target)

    def begin(self, target: Target, folder: Path) -> LoadRun:
        """Start it; use the result in a ``with`` statement."""
        return locust_process.start(
            self.scenario,
            target,
            self.plan,
            folder=folder,
            seed=self.seed,
            bounds=self.bounds,
            expectations=self.expectations,
        )

    def settings(self, target: Target) -> dict[str, object]:
        """Return what run.json keeps of it; the secret is not among that."""
        return {
            "scenario": self.scenario,
            "target": target.base_url,
            "app_key": target.app_key,
            "temp_id": target.temp_id,
            **asdict(self.plan),
            **asdict(self.expectations),
            "seed": self.seed,
            **asdict(self.bounds),
            "price_per_send": str(self.price.per_send) if self.price else None,
            "currency": self.price.currency if self.price else None,
            "host": platform.node(),
            "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        }


def play(
    trial: Trial, target: Target, folder: Path, *, on_progress: Callable[[Progress], object] = lambda _: None
) -> Summary:
    """Load a target from beginning to end, into a folder, and return what run.json then holds.

    ``on_progress`` is told each second how far it is, from the first call on. Raises as ``Trial.check`` does, and
    ``LoadRun.wait``.
    """
    trial.check(target)
    with trial.begin(target, folder) as run, Preload():
        for progress in run.follow(_TOLD_EVERY_S):
            if progress.calls:
                on_progress(progress)
        ended = run.wait()
    return conclude(folder, trial.settings(target) | ending(ended))[0].summary


def ending(ended: Ended) -> dict[str, object]:
    """Return what run.json keeps of how a load test ended, and of its arrivals."""
    settings = {"ended": ended.cause.value, "ended_because": ended.reason or None, "notes": list(ended.notes)}
    return settings | (ended.pacing.settings() if ended.pacing else {})


def conclude(run: Path, settings: Mapping[str, object]) -> tuple[RunResult, Path]:
    """Write run.json, junit.xml and report.html of a finished run; return its result and the page's path."""
    calls = read(run)
    result = RunResult(run_name(calls, run), calls, settings, read_claims(run))
    save(result, run)
    return result, write_page(ReportInputs(calls, (result,)), run)


def read_plan(users: int | None, rate: float | None, stages: str | None, duration: str | None, **given: Any) -> Plan:
    """Read how hard to load; raise InputError for what excludes one another, and for stages that are none."""
    if rate is not None:
        steady(rate)
    if stages is None:
        return Plan(parse_duration(duration or ""), users, rate, **given)
    if duration is not None:
        raise InputError("stages and a duration exclude one another: stages have their own")
    return Plan(Schedule(parse_stages(stages)).duration_s, users, rate, stages, **given)


def new_folder(out: Path) -> Path:
    """Return a folder for a run that begins now; two that begin in one second get two."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        folder = out / f"{name}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as problem:
            raise InputError(f"{out}: no run can be kept there: {problem.strerror}; choose another folder") from None
        return folder
    raise InputError(f"{out}: a hundred runs began this second; choose another folder")
