"""Launch: starts a sandbox and a load test as child processes, follows the load test's records, and ends them.

This process never imports locust, which would patch it: a notebook's kernel must stay whole. Nothing that was started
here outlives its ``with`` block, nor this process, however it ends.
"""

from __future__ import annotations

import ast
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from toolkit.api.errors import InputError, RunError
from toolkit.client import Client
from toolkit.records.packed import PackedRow
from toolkit.records.parquet import pack_to_parquet
from toolkit.runs import run_folder
from toolkit.runs.arrival_counts import Pacing, read_pacing
from toolkit.runs.progress import Follower, Progress
from toolkit.runs.run_folder import Cause
from toolkit.settings import Target

_SANDBOX_START_S = 20.0
_SANDBOX_END_S = 5.0
_USERS_END_S = 5  # what users get to finish the calls they are in
_LOCUST_END_S = _USERS_END_S + 5.0
_SHOWN_LINES = 5
_FINDINGS = (
    run_folder.THRESHOLD_MISSED,
    run_folder.BOTTLENECK,
    run_folder.BUDGET_SPENT,
)  # exit codes of a run that broke nowhere


# The sandbox.


@contextmanager
def sandbox(*arguments: str) -> Iterator[Target]:
    """Run a sandbox on a free loopback port and give it as a target; raise RunError where it doesn't answer.

    ``arguments`` go to `smscode serve`. Nothing else configures it, neither the environment nor files of the current
    directory: what is meant for a production service, such as its store, must not be loaded. So give paths in full.
    --production, which has no ready-made app, is an InputError.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile() as stderr,
        _serve(arguments, folder, stderr) as process,
    ):
        try:
            yield _read_target(process, stderr)
        finally:
            _end(process, _SANDBOX_END_S)


def _serve(arguments: tuple[str, ...], folder: str, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "toolkit", "serve", "--port", "0", "--json", "--until-stdin-closes", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={name: value for name, value in os.environ.items() if not name.startswith(run_folder.PREFIX)},
        cwd=folder,
        start_new_session=True,
    )


def _read_target(process: subprocess.Popen[bytes], stderr: IO[bytes]) -> Target:
    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], _SANDBOX_START_S)
    line = process.stdout.readline() if ready else b""
    if not line:
        why = f"the sandbox didn't answer within {_SANDBOX_START_S:.0f} s" if not ready else "the sandbox didn't start"
        raise RunError(f"{why}: {_last_lines(stderr, 1) or 'it said nothing'}")
    said = json.loads(line)
    if "app_key" not in said:
        raise InputError("a production service has no ready-made app: leave --production out")
    return Target(said["url"], said["app_key"], said["master_secret"], said["temp_id"])


def check_target(target: Target) -> None:
    """Make sure that a target answers and knows the key, at no cost: verify a code of a message that doesn't exist.

    Raises NotConnectedError, TransportError, ProtocolError, or ReturnCodeError for anything but a verdict.
    """
    with Client(target.base_url, target.app_key, target.master_secret) as client:
        client.verify_code("00000000-0000-4000-8000-000000000000", "000000")


# Scenarios.


def scenarios() -> dict[str, Path]:
    """Return the known scenarios, name to locustfile: those of ./locustfiles, then those that come with the toolkit."""
    room = Path(__file__).parents[2]
    packaged = room / "locustfiles"
    homes = [packaged if packaged.is_dir() else room.parent / "locustfiles", Path("locustfiles")]
    return {path.stem: path for home in homes for path in sorted(home.glob("[!_]*.py"))}


def find_scenario(name: str) -> Path:
    """Return the locustfile of a scenario, given its name or its path; raise InputError for one that isn't there."""
    known = scenarios()
    path = Path(name) if name.endswith(".py") else known.get(name)
    if path is None or not path.is_file():
        raise InputError(f"no scenario {name!r}: give the path of a locustfile, or one of {', '.join(sorted(known))}")
    return path


def find_stages(scenario: str) -> str | None:
    """Return the stages that a scenario's user has of its own, read from its locustfile, which isn't run for that."""
    for node in ast.walk(ast.parse(find_scenario(scenario).read_text(encoding="utf-8"))):
        match node:
            case ast.Assign(targets=[ast.Name(id="stages")], value=ast.Constant(value=str(stages))):
                return stages
    return None


# The load test.


@dataclass(frozen=True, slots=True)
class Ended:
    """A load test that is over; its records are in the folder's Parquet file.

    ``reason``: for REFUSED the return code and its message, for MISSED the threshold, for BUDGET what was spent; or "".
    ``notes``: what its user should know. ``pacing``: what became of its arrivals, where it had a rate.
    """

    cause: Cause
    reason: str
    notes: tuple[str, ...]
    calls: int
    pacing: Pacing | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How hard a load test loads, and how long: users at once, or journeys begun at a rate; raises InputError.

    ``rate_per_s``: of all ``workers``, which are processes. ``stages``: the rate over time, as ``load.arrivals`` reads
    it, for ``duration_s``. ``arrivals``: "constant" or "poisson". ``max_connections``: of each worker, at a rate.
    """

    duration_s: float
    users: int | None = None
    rate_per_s: float | None = None
    stages: str | None = None
    arrivals: str = "constant"
    max_connections: int = 500
    workers: int = 1

    def __post_init__(self) -> None:
        if [self.users, self.rate_per_s, self.stages].count(None) != 2:
            raise InputError("users, a rate and stages exclude one another: give one of them")
        if (self.users is not None and self.users < 1) or not 0 < self.duration_s < math.inf or self.workers < 1:
            raise InputError(
                f"a load test needs at least one user, one worker and some time, not {self.users} users,"
                f" {self.workers} workers and {self.duration_s} s"
            )

    def options(self) -> dict[str, object]:
        """Return locust's options."""
        ends_itself = self.users is None
        options: dict[str, object] = {"--run-time": math.ceil(self.duration_s) + ends_itself}
        if self.users is not None:
            options |= {"--users": self.users, "--spawn-rate": self.users}
        return options | (_fleet(self.workers) if self.workers > 1 else {})

    def variables(self) -> dict[str, str]:
        """Return the environment variables that the child reads as options."""
        stages = self.stages or (f"{self.duration_s:f}s={self.rate_per_s:f}" if self.rate_per_s else "")
        if not stages:
            return {}
        return {
            run_folder.STAGES: stages,
            run_folder.ARRIVALS: self.arrivals,
            run_folder.MAX_CONNECTIONS: str(self.max_connections),
        }


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a load test must keep to, and may spend and load; each in the words of the command line.

    ``max_cost`` is in the currency of the price. Hosts of ``allow_target`` are beside this machine.
    """

    thresholds: tuple[str, ...] = ()
    max_messages: int | None = None
    max_cost: str | None = None
    allow_target: tuple[str, ...] = ()
    i_pay_for_this: bool = False

    def variables(self) -> dict[str, str]:
        """Return them as the environment variables that the child reads as options; what isn't set is no variable."""
        variables = {
            run_folder.THRESHOLD: _bracket(self.thresholds),
            run_folder.MAX_MESSAGES: "" if self.max_messages is None else str(self.max_messages),
            run_folder.MAX_COST: self.max_cost or "",
            run_folder.ALLOW_TARGET: _bracket(self.allow_target),
            run_folder.I_PAY_FOR_THIS: "true" if self.i_pay_for_this else "",
        }
        return {name: value for name, value in variables.items() if value}


@dataclass(frozen=True, slots=True)
class Expectations:
    """What a load test expects of the service, and where its mobiles come from; each in the words of the command line.

    ``rules``: none are the contract's. ``speed``: of a sandbox's clock. ``mobiles``: a pool of ``load.mobiles``.
    ``limits``: thresholds that tell the rates which the service can take from others. ``recording``: folder of a run
    whose arrivals are played again, by scenarios that can.
    """

    rules: tuple[str, ...] = ()
    speed: float = 1.0
    mobiles: str = "uniform"
    limits: tuple[str, ...] = ()
    recording: str | None = None

    def variables(self) -> dict[str, str]:
        """Return them as the environment variables that the child reads as options."""
        variables = {
            run_folder.RULES: " ".join(self.rules),
            run_folder.SPEED: str(self.speed),
            run_folder.MOBILES: self.mobiles,
            run_folder.LIMIT: _bracket(self.limits),
            run_folder.RECORDING: self.recording or "",
        }
        return {name: value for name, value in variables.items() if value}

    def sandbox_arguments(self) -> list[str]:
        """Return what makes a sandbox keep to them."""
        return ["--speed", str(self.speed), *(word for rule in self.rules for word in ("--rule", rule))]


def start(
    scenario: str,
    target: Target,
    plan: Plan,
    *,
    folder: Path,
    seed: int,
    bounds: Bounds = Bounds(),
    expectations: Expectations = Expectations(),
) -> LoadRun:
    """Start a scenario against a target; its calls go to ``folder``, a new or empty one, whose name names the run.

    Use the result in a ``with`` statement. Raises InputError.
    """
    path = find_scenario(scenario)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InputError(f"the folder {folder} is not empty: each run has its own")
    options = {run_folder.SEED: str(seed), **plan.variables(), **bounds.variables(), **expectations.variables()}
    return LoadRun(_command(path, target, plan, folder), target, folder.resolve(), options)


def _bracket(values: tuple[str, ...]) -> str:
    return f"[{','.join(values)}]" if values else ""


def _command(path: Path, target: Target, plan: Plan, folder: Path) -> list[str]:
    options = {
        "-f": path,
        "--host": target.base_url,
        **plan.options(),
        "--stop-timeout": _USERS_END_S,
        "--exit-code-on-error": 0,  # a refused call is a finding, not the end of the program
        "--loglevel": "WARNING",
        "--json-file": folder / run_folder.STATS_STEM,
    }
    given = [str(word) for option in options.items() for word in option]
    return [sys.executable, "-m", "locust", "--headless", "--only-summary", *given]


def _fleet(workers: int) -> dict[str, object]:
    """Return the options of a master that forks its workers, on a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    meeting = {"--master-bind-host": "127.0.0.1", "--master-bind-port": port, "--master-port": port}
    return {"--processes": workers, **meeting}


class LoadRun:
    """A load test in a child process. Leaving its ``with`` block ends it and turns its records into Parquet."""

    def __init__(self, command: list[str], target: Target, folder: Path, options: Mapping[str, str]) -> None:
        self.folder = folder
        self._follower = Follower(folder)
        self._stopped = False
        self._packed: int | None = None
        lifeline, held = os.pipe()
        self._lifeline = os.fdopen(held, "wb", buffering=0)
        environment = {
            "SMSCODE_APP_KEY": target.app_key,
            "SMSCODE_MASTER_SECRET": target.master_secret,
            "SMSCODE_TEMP_ID": str(target.temp_id),
            run_folder.RUN_DIR: str(folder),
            **options,
            run_folder.LIFELINE_FD: str(lifeline),
        }
        try:
            with (folder / run_folder.LOG_NAME).open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    env={**os.environ, **environment},
                    pass_fds=[lifeline],
                    start_new_session=True,  # Ctrl-C in the terminal is for this process, which then ends the run
                )
        finally:
            os.close(lifeline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._close()

    def poll(self, on_rows: Callable[[list[PackedRow]], object] = lambda _: None) -> Progress:
        """Read what was recorded since the last time and return the progress so far; never waits.

        ``on_rows`` is given what is new, rows as ``toolkit.records.packed`` packs them, thousands at once.
        """
        return self._follower.read(time.time_ns() if self._process.poll() is None else None, on_rows)

    def pacing(self) -> Pacing | None:
        """Return what became of the arrivals so far, None without a rate."""
        return read_pacing(self.folder)

    def follow(
        self, every_s: float = 0.25, on_rows: Callable[[list[PackedRow]], object] = lambda _: None
    ) -> Iterator[Progress]:
        """Yield the progress every so often until the load test is over, and then the last of it; see ``poll``."""
        while self._process.poll() is None:
            yield self.poll(on_rows)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(every_s)
        yield self.poll(on_rows)

    def stop(self) -> None:
        """End the load test: its users finish the calls they are in. Returns when no process of it is left."""
        if self._process.poll() is None:
            self._stopped = True
        _end(self._process, _LOCUST_END_S)

    def wait(self) -> Ended:
        """Wait for the end and say why it came; raise RunError with locust's last words where it broke down."""
        code = self._process.wait()
        calls = self._close()
        if ended := self._lines(run_folder.ENDED_NAME):
            cause, _, reason = ended[0].partition(" ")
            return Ended(Cause(cause), reason, self._lines(run_folder.NOTES_NAME), calls, self.pacing())
        if code and not self._stopped and code not in _FINDINGS:
            raise RunError(self._last_words(code))
        cause = Cause.INTERRUPTED if self._stopped else Cause.FINISHED
        return Ended(cause, "", self._lines(run_folder.NOTES_NAME), calls, self.pacing())

    def _close(self) -> int:
        """Pack the records, once, and return how many there are."""
        if self._packed is None:
            self._lifeline.close()
            self._follower.read()
            self._follower.close()
            self._packed = pack_to_parquet(self.folder)
        return self._packed

    def _lines(self, name: str) -> tuple[str, ...]:
        try:
            lines = (self.folder / name).read_text(encoding="utf-8").splitlines()
            return tuple(dict.fromkeys(lines))  # several workers may have said the same
        except FileNotFoundError:
            return ()

    def _last_words(self, code: int) -> str:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        with (self.folder / run_folder.LOG_NAME).open("rb") as log:
            return f"locust {how}: {_last_lines(log, _SHOWN_LINES) or 'it said nothing'}"


# Both.


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask a child to end, and see to it that nothing of its session is left."""
    try:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    finally:
        with suppress(ProcessLookupError, PermissionError):  # macOS says so of a session that has just ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_lines(file: IO[bytes], count: int) -> str:
    file.seek(0)
    lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(lines[-count:])
