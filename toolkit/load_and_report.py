"""Run a load test from its options to its report. A shell, a notebook and the forms use the same functions."""

from __future__ import annotations

import math
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.api.errors import InputError, RunError
from toolkit.load_test.launch import locust_process
from toolkit.load_test.launch.locust_process import Ended, LoadRun
from toolkit.load_test.launch.scenarios import check_options, find_stages
from toolkit.load_test.plan.options import LoadOptions, declared
from toolkit.load_test.plan.target_guard import check_allowed, doubt_of
from toolkit.runs import run_folder
from toolkit.runs.check_results import read_check_results
from toolkit.runs.live_run import LiveRun, hold
from toolkit.runs.progress import Progress
from toolkit.settings import Price, Target, load_timezone

if TYPE_CHECKING:
    from toolkit.report.run_result import RunResult, Summary

LONG_TRIAL = "1m"
"""The default length of a long trial of a search for the capacity; RFC 9971 has the same."""

_PROGRESS_EVERY_S = 1.0
_GIT_TIMEOUT_S = 5.0
_PACKAGES = ("sms-code-toolkit", "locust", "gevent", "pyarrow")


@dataclass(frozen=True, slots=True)
class LoadTest:
    """One load test.

    Args:
        scenario: Name of a scenario, or path of a locustfile.
        options: Load, budget, thresholds and the expected behaviour of the service.
        price: Price of a send, for ``options.max_cost`` and the cost in the report.
        own_options: Arguments for options that the locustfile itself defines, e.g. ``("--shop", "berlin")``.
        commit: The commit that is the label of the run if the options have none.

    Raises:
        InputError: The scenario is unknown or makes no use of an option, the mobiles or the recording can't be used,
            or the budget does not allow a single message.
    """

    scenario: str
    options: LoadOptions
    price: Price | None = None
    own_options: tuple[str, ...] = ()
    commit: str | None = field(default_factory=lambda: find_commit())

    def __post_init__(self) -> None:
        check_options(self.scenario, self.options)
        self.options.check_data()
        self.cap()

    def cap(self) -> int | None:
        """Return the maximum number of messages, None without a limit."""
        return self.options.message_cap(self.price)

    def check_permission(self, target: Target) -> None:
        """Raise InputError if the options do not allow to load a target; it is not called yet. See ``check``."""
        self._check_allowed(target)

    def check(self, target: Target) -> None:
        """Check that a target may be loaded, answers, and accepts the key; no message is sent.

        Raises:
            InputError: The options do not allow to load this target, for example because it is on this machine and
                does not confirm that it is a sandbox.
            CallError: The target did not answer, or refused the key.
        """
        self._check_allowed(target)
        http = self.options.http()
        locust_process.check_target(target, http)
        self._check_allowed(target, lambda: doubt_of(target, http))

    def _check_allowed(self, target: Target, find_doubt: Callable[[], str] = lambda: "") -> None:
        options = self.options
        is_capped = self.cap() is not None
        check_allowed(target.base_url, options.allow_target, options.i_pay_for_this, is_capped, find_doubt)

    def sandbox_arguments(self) -> Sequence[str]:
        """Return the options of a sandbox that is started for the load test."""
        return self.options.sandbox_arguments()

    def prepare(self, folder: Path) -> LoadRun:
        """Start its process, which waits for ``LoadRun.begin``; use the result in a ``with`` statement."""
        return locust_process.prepare(self.scenario, self.options, folder=folder, own_options=self.own_options)

    def begin(self, run: LoadRun, target: Target) -> None:
        """Write the settings to the run's folder, then begin to load; raise RunError if the process has ended."""
        run_folder.write_settings(run.folder, self.settings(target))
        run.begin(target)

    def live_run(self, target: Target | None, max_away_s: float | None = None) -> LiveRun:
        """Describe the load test for the processes that list and stop live runs.

        Args:
            target: The target, None for a sandbox of the run's own.
            max_away_s: Time without a connected page or notebook after which the run is stopped, in seconds; None:
                never.
        """
        options, price = self.options, self.price
        return LiveRun.of_this_process(
            scenario=self.scenario,
            load=options.load_text(),
            run_time_s=options.run_time_s if options.run_time_s < math.inf else None,
            target=target and target.base_url,
            is_real=options.i_pay_for_this,
            max_messages=self.cap(),
            price_per_send=str(price.per_send) if price else None,
            currency=price.currency if price else None,
            max_away_s=max_away_s,
        )

    def final_settings(self, target: Target, ended: Ended) -> dict[str, Any]:
        """Return the settings that run.json records of a run that has ended. The target is called once more."""
        at_end = locust_process.check_at_end(target, self.options.http())
        return self.settings(target) | ending(ended) | {"target_at_end": at_end}

    def settings(self, target: Target) -> dict[str, object]:
        """Return the settings that run.json records, without the secret."""
        return {
            "scenario": self.scenario,
            "target": target.base_url,
            "app_key": target.app_key,
            "temp_id": target.temp_id,
            **self.options.settings(),
            "own_options": _pair(self.own_options),
            "label": self.options.label or self.commit,
            "price_per_send": str(self.price.per_send) if self.price else None,
            "currency": self.price.currency if self.price else None,
            "host": platform.node(),
            "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        }


def find_commit() -> str | None:
    """Return the git commit of the working directory, with "-dirty" if files differ from it; None without one."""
    command = ["git", "-c", "core.fsmonitor=", "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def play(
    load_test: LoadTest, target: Target, folder: Path, *, on_progress: Callable[[Progress], object] = lambda _: None
) -> Summary:
    """Run a load test and write its report.

    Args:
        load_test: The load test.
        target: The API to load.
        folder: A new or empty folder for the records, run.json and report.html.
        on_progress: Called once a second, from the first call on.

    Returns:
        The content of run.json; see docs/reference/run-json.md.

    Raises:
        InputError, CallError: As ``LoadTest.check``.
        RunError: As ``LoadRun.wait``.
    """
    from toolkit.report.preload_imports import Preload

    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder, load_test.live_run(target)):
        with load_test.prepare(folder) as run:
            load_test.check(target)
            load_test.begin(run, target)
            with Preload():
                for progress in run.follow(_PROGRESS_EVERY_S):
                    if progress.calls:
                        on_progress(progress)
            settings = load_test.final_settings(target, run.wait())
        return conclude(folder, settings)[0].summary


def ending(ended: Ended) -> dict[str, object]:
    """Return the settings of run.json that describe the end of a load test and its arrivals."""
    settings: dict[str, object] = {
        "ended": ended.cause.value,
        "ended_because": ended.reason or None,
        "notes": list(ended.notes),
    }
    settings |= ended.pacing.settings() if ended.pacing else {}
    return settings | (ended.generator.settings() if ended.generator else {})


def conclude(run: Path, settings: Mapping[str, object]) -> tuple[RunResult, Path]:
    """Write run.json, junit.xml and report.html of a finished run; return its result and the page's path.

    Raises:
        RunError: A file can't be written, for example because the disk is full. The recorded calls are kept.
    """
    from toolkit.analysis import read
    from toolkit.report.inputs import ReportInputs, ReportOptions, count_unrecorded, run_name
    from toolkit.report.run_result import RunResult, save
    from toolkit.report.write_files import write_page

    calls, expected = read(run), run_folder.read_expected(run)
    settings = settings if expected is None else {**settings, "expected": expected}
    settings = {**settings, "unrecorded": count_unrecorded(run, calls)}
    result = RunResult(run_name(calls, run), calls, settings, read_check_results(run))
    try:
        save(result, run)
        return result, write_page(ReportInputs(calls, (result,), ReportOptions(timezone=load_timezone())), run)
    except (OSError, InputError) as problem:
        raise RunError(
            f"{run}: the load test has ended, but its report was not written: {problem}. Its calls are recorded: once"
            f" this is mended, write the report with: smscode report {run}"
        ) from None


def read_options(scenario: str, given: Mapping[str, Any]) -> LoadOptions:
    """Read the options that were given for a scenario and add its load, or the default one.

    Args:
        scenario: Name of a scenario, or path of a locustfile, whose own stages are used if no load was given.
        given: Values by the name of the option's field; None is absent. Texts are parsed.

    Raises:
        InputError: An option is invalid, or a duration was given for a scenario that has stages.
    """
    known = {name: value for name, value in given.items() if value is not None}
    if known.get("find_capacity"):
        if not known.keys() & {"users", "rate_per_s", "stages"}:
            known["rate_per_s"] = declared()["rate_per_s"].suggestion
        if "stages" not in known:
            known.setdefault("duration_s", LONG_TRIAL)
    if not known.keys() & {"users", "rate_per_s", "stages"}:
        stages = find_stages(scenario)
        if stages and "duration_s" in known:
            raise InputError(
                f"--duration cannot be used: {scenario} has stages, {stages};"
                " leave --duration out, or give --rate or --users"
            )
        known |= {"stages": stages} if stages else {"users": declared()["users"].suggestion}
    if "users" in known:
        for name in ("arrivals", "max_connections", "max_dropped"):
            if name in given and given[name] is not None:
                raise InputError(f"{declared()[name].flag} has no effect on users: give --rate or --stages with it")
    if "stages" not in known:
        known.setdefault("duration_s", declared()["duration_s"].suggestion)
    if "metrics_host" in known and "metrics_port" not in known:
        raise InputError("--metrics-host has no effect without --metrics-port: give a port, e.g. 9200")
    options = LoadOptions(**known)
    limits = {str(it.metric) for it in options.parsed_thresholds() if str(it) not in options.thresholds}
    for name, metric in (("max_failed", "failed"), ("max_dropped", "dropped")):
        if name in known and not any(it.startswith(metric) for it in limits):
            raise InputError(f"{declared()[name].flag} has no effect beside a --threshold on {metric}: leave one out")
    return options


def _pair(words: Iterable[str]) -> dict[str, str]:
    """Return arguments by the names of their options: a secret is masked by its name."""
    values: dict[str, list[str]] = {}
    name = ""
    for word in words:
        value = word
        if word.startswith("-"):
            name, _, value = word.lstrip("-").partition("=")
        values.setdefault(name, []).append(value)
    return {name: " ".join(filter(None, given)) for name, given in values.items()}


def new_folder(out: Path) -> Path:
    """Create a folder for a run, named by the current UTC time; runs that begin in the same second get a suffix."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        folder = out / f"{name}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as problem:
            raise InputError(f"cannot create a folder in {out}: {problem.strerror}; choose another --out") from None
        return folder
    raise InputError(f"{out} already contains a hundred runs of this second; choose another --out")
