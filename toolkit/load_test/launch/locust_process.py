"""Start a load test as a child process, follow its records and stop it.

Importing locust patches a process, which would break a notebook's kernel, so it runs in a child. The child is started
before the target is known, and imports locust while a sandbox starts:

    parent                                     child (toolkit.load_test.generator.__main__)
    prepare(scenario, options)  -- fork -->    import locust and the toolkit's users
    start a sandbox, check the target          wait for a line on stdin
    LoadRun.begin(target)       -- stdin -->   run locust, append calls to FOLDER/calls-N.msgpack
    LoadRun.follow()            <-- files --
    LoadRun.wait()              <-- exit --    FOLDER/ended.txt, notes.txt, checks.json

The child's stdin is also its lifeline: it closes when the parent ends, however that happens, and then the child ends.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from toolkit.api.errors import InputError, RunError
from toolkit.load_test.launch.child_process import end, last_lines
from toolkit.load_test.launch.scenarios import find_scenario
from toolkit.load_test.plan.http_options import DEFAULT_HTTP, HttpOptions, tls_context
from toolkit.load_test.plan.options import LoadOptions
from toolkit.runs import run_folder
from toolkit.runs.arrival_counts import ArrivalCounts, read_arrival_counts, read_shard_spans
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.generator_state import GeneratorState, read_generator_state
from toolkit.runs.live_run import LIVE_NAME, STOP_NAME, is_stop_requested
from toolkit.runs.run_folder import ANSWERED, Cause

if TYPE_CHECKING:
    from toolkit.records.packed import PackedRow
    from toolkit.runs.progress import Progress, ProgressReader
    from toolkit.settings import Target

_USERS_END_S = 5  # users may finish the calls in flight
_LOCUST_END_S = _USERS_END_S + 5.0
_OVERDUE_S = 300.0  # after its time, on a busy machine too: the users' last calls, and the checks of all calls
_LOOK_EVERY_S = 1.0
_SHOWN_LINES = 5
_CHECK_TIMEOUT_S = 10.0  # at least: the target may still be starting
_END_TIMEOUT_S, _END_TRIES = 5.0, 3  # of the question at the end; at least
_FEW_ORPHANED = 3  # arrivals, which are soon more than a hundredth of a short run's
_LAST_WRITE_S = 0.5  # at the end of a run, workers write their counts within this time
_VERDICTS = (ExitCode.FAILED, ExitCode.BOTTLENECK, ExitCode.BUDGET)  # exit codes without a fault


@dataclass(frozen=True, slots=True)
class Ended:
    """How a load test ended. Its records are in the folder's Parquet file.

    Args:
        cause: Why it ended.
        reason: Details of the cause: for REFUSED the return code and its message, for MISSED the threshold, for BUDGET
            the messages or cost spent, for INTERRUPTED the signal; otherwise "".
        notes: Remarks for the user, e.g. that a worker was lost.
        calls: Number of recorded calls.
        pacing: Counts of the arrivals, None if the load was given by users.
        generator: State of the load generator at the end, None if it wrote none.
    """

    cause: Cause
    reason: str
    notes: tuple[str, ...]
    calls: int
    pacing: ArrivalCounts | None = None
    generator: GeneratorState | None = None


def check_target(target: Target, http: HttpOptions = DEFAULT_HTTP) -> None:
    """Check that a target answers and accepts the key, at no cost: verify a code of a message that does not exist.

    Every response is accepted that a service gives after it has checked the key, whatever its return code.

    Raises:
        CallError: NotConnectedError, TransportError, ProtocolError, or ReturnCodeError if the API refused the key or
            the account, failed, or does not have the call.
    """
    _call(target, http, _CHECK_TIMEOUT_S)


def check_at_end(target: Target, http: HttpOptions = DEFAULT_HTTP) -> str:
    """Call the target once more after a run; return "answered", or the reason why it could not be reached.

    Any response of the API counts. A connection that breaks is tried again; a timeout is not. An interrupt
    ends the wait, so that the report of the run is written all the same.
    """
    from toolkit.api.errors import CallError, ReturnCodeError

    problem = ""
    for _ in range(_END_TRIES):
        try:
            _call(target, http, _END_TIMEOUT_S)
        except ReturnCodeError:
            return ANSWERED
        except CallError as error:
            problem = str(error)
            if isinstance(error.__cause__, TimeoutError):
                break
        except KeyboardInterrupt:
            return "interrupted while waiting for its response"
        else:
            return ANSWERED
    return problem


def _call(target: Target, http: HttpOptions, least_s: float) -> None:
    from toolkit.api.errors import ReturnCodeError
    from toolkit.api.return_codes import Kind, ReturnCode
    from toolkit.client import Client
    from toolkit.client.core import Timeout

    total_s = max(least_s, http.timeout_s)
    timeout = Timeout(min(total_s, max(http.connect_timeout_s, DEFAULT_HTTP.connect_timeout_s)), total_s)
    verify = tls_context(http) if target.base_url.lower().startswith("https:") else True
    app = target.base_url, target.app_key, target.master_secret
    with Client(*app, timeout=timeout, verify=verify, headers=dict(http.headers)) as client:
        try:
            client.verify_code("00000000-0000-4000-8000-000000000000", "000000")
        except ReturnCodeError as refusal:
            # A service checks the path and the method before the key.
            is_unknown_call = refusal.return_code in (ReturnCode.API_NOT_FOUND, ReturnCode.METHOD_NOT_SUPPORT)
            if refusal.kind in (Kind.ACCOUNT, Kind.SERVER) or is_unknown_call:
                raise


def start(scenario: str, target: Target, options: LoadOptions, *, folder: Path) -> LoadRun:
    """Start a load test; ``prepare`` and ``LoadRun.begin`` in one.

    >>> with start("throughput", target, LoadOptions(users=5, duration_s=10), folder=Path("run")) as run:
    ...     ended = run.wait()  # doctest: +SKIP
    """
    run = prepare(scenario, options, folder=folder)
    run.begin(target)
    return run


def prepare(
    scenario: str,
    options: LoadOptions,
    *,
    folder: Path,
    own_options: Sequence[str] = (),
    overdue_s: float = _OVERDUE_S,
) -> LoadRun:
    """Start a child process that makes no call until ``LoadRun.begin``.

    Args:
        scenario: Name of a scenario, or path of a locustfile.
        options: Options, which must limit the time.
        folder: A new or empty folder, which receives the records. Its name is the name of the run.
        own_options: Arguments for options that the locustfile itself defines, e.g. ``["--shop", "berlin"]``.
        overdue_s: Time after the end of the load at which a process that hangs is killed, in seconds.

    Returns:
        The run, to be used in a ``with`` statement.

    Raises:
        InputError: The scenario is unknown, the folder is not empty, or the options do not limit the time.
    """
    path = find_scenario(scenario)
    if options.run_time_s == math.inf:
        raise InputError("missing --duration: a load test must end, e.g. --duration 10s")
    folder.mkdir(parents=True, exist_ok=True)
    if any(it.name not in (LIVE_NAME, STOP_NAME) for it in folder.iterdir()):
        raise InputError(f"the folder {folder} is not empty: each run needs a new folder")
    return LoadRun([*_command(path, options, folder), "--", *own_options], options, folder.resolve(), overdue_s)


def _command(path: Path, options: LoadOptions, folder: Path) -> list[str]:
    # A schedule ends by itself; locust counts its time from before the first arrival.
    given: dict[str, object] = {"--run-time": math.ceil(options.run_time_s) + (options.users is None)}
    if options.users is not None:
        given |= {"--users": options.users, "--spawn-rate": options.users}
    if options.workers > 1:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        given |= {"--processes": options.workers, "--master-bind-host": "127.0.0.1"}
        given |= {"--master-bind-port": port, "--master-port": port}
    given |= {
        "-f": path,
        "--stop-timeout": _USERS_END_S,
        "--exit-code-on-error": 0,  # a refused call is a result, not a failure of the program
        "--loglevel": "WARNING",
        "--json-file": folder / run_folder.STATS_STEM,
    }
    words = [str(word) for option in given.items() for word in option]
    return [sys.executable, "-m", "toolkit.load_test.generator", "--headless", "--only-summary", *words]


class LoadRun:
    """A load test in a child process. Leaving its ``with`` block stops it and writes its records as Parquet."""

    def __init__(self, command: list[str], options: LoadOptions, folder: Path, overdue_s: float) -> None:
        self.folder, self._options, self._overdue_s = folder, options, overdue_s
        self._begun = self._stopped = self._is_overdue = False
        self._latest_end_s = math.inf  # of the monotonic clock
        self._stop_reason = ""
        self._packed: int | None = None
        options = options.model_copy(update={"run_dir": str(folder), "lifeline_fd": 0})
        with (folder / run_folder.LOG_NAME).open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, **options.environment()},
                start_new_session=True,  # Ctrl-C in the terminal is for this process, which then ends the run
            )

    @cached_property
    def _follower(self) -> ProgressReader:
        from toolkit.runs.progress import (
            ProgressReader,  # imports NumPy, which the start of the child must not wait for
        )

        return ProgressReader(self.folder)

    def begin(self, target: Target) -> None:
        """Start to load a target; raise RunError if the child has ended."""
        variables = {
            "LOCUST_HOST": target.base_url,
            "SMSCODE_APP_KEY": target.app_key,
            "SMSCODE_MASTER_SECRET": target.master_secret,
            "SMSCODE_TEMP_ID": str(target.temp_id),
        }
        self._begun = True
        self._latest_end_s = time.monotonic() + self._options.run_time_s + self._overdue_s
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(variables).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RunError(self._describe_end(self._process.wait())) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._close()

    def poll(self, on_rows: Callable[[list[PackedRow]], object] = lambda _: None) -> Progress:
        """Read the new records and return the progress so far, without waiting.

        Args:
            on_rows: Called with the new rows, thousands at a time.
        """
        return self._follower.read(time.time_ns() if self._process.poll() is None else None, on_rows)

    def pacing(self) -> ArrivalCounts | None:
        """Return the counts of the arrivals so far, None if the load is given by users."""
        return read_arrival_counts(self.folder)

    def _final_pacing(self) -> ArrivalCounts | None:
        """Return the counts of the arrivals, with those of lost workers: the schedule gives how many were due.

        A shard that lags behind the others has lost its worker, so its arrivals were due as long as theirs.
        """
        counts, schedule = self.pacing(), self._options.schedule()
        if counts is None or schedule is None:
            return counts
        spans, shards = read_shard_spans(self.folder), max(1, self._options.workers)
        lost_before_s = counts.elapsed_s - _LAST_WRITE_S
        planned = 0
        for shard in range(shards):
            until_s = spans.get(shard, 0.0)
            until_s = until_s if until_s >= lost_before_s else counts.elapsed_s
            planned += schedule.count(until_s, self._options.seed, shard, shards)
        return counts.account(planned)

    def _final_counts(self) -> tuple[ArrivalCounts | None, GeneratorState | None]:
        """Return the counts of the arrivals and the state of the generator, to which lost workers are attributed."""
        pacing, lost = self._final_pacing(), []
        if pacing and pacing.orphaned > max(_FEW_ORPHANED, self._options.max_bottleneck_ratio * pacing.due):
            share = pacing.orphaned / pacing.due
            lost.append((share, f"{share:.1%} of the arrivals were never begun, because their worker was lost"))
        return pacing, read_generator_state(self.folder, lost)

    def generator(self) -> GeneratorState | None:
        """Return the state of the load generator as of the last second, None before the first one is over."""
        return read_generator_state(self.folder)

    def follow(
        self, every_s: float = 0.25, on_rows: Callable[[list[PackedRow]], object] = lambda _: None
    ) -> Iterator[Progress]:
        """Yield the progress every ``every_s`` seconds until the end, and then once more; see ``poll``."""
        while self._process.poll() is None:
            yield self.poll(on_rows)
            self.ends_within(every_s)
        yield self.poll(on_rows)

    def ends_within(self, timeout_s: float) -> bool:
        """Wait for the end, at most for a time in seconds, and return whether the load test has ended.

        It is stopped if another process requested it (see ``toolkit.runs.live_run``), and killed if it hangs.
        """
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        if self._process.poll() is None:
            if is_stop_requested(self.folder):
                self.stop()
            elif time.monotonic() > self._latest_end_s:
                self._is_overdue = True
                end(self._process, _LOCUST_END_S)
        return self._process.poll() is not None

    def stop(self, reason: str = "") -> None:
        """Stop the load test: its users finish their calls. Returns when all of its processes have ended.

        Args:
            reason: The signal or the supervisor that interrupted the run, e.g. "SIGTERM".
        """
        if self._process.poll() is None:
            self._stopped, self._stop_reason = True, reason
        end(self._process, _LOCUST_END_S)

    def wait(self) -> Ended:
        """Wait for the end and return how it came; raise RunError, with locust's last lines, if it failed."""
        while not self.ends_within(_LOOK_EVERY_S):
            pass
        code, calls = self._process.returncode, self._close()
        if self._is_overdue:
            log = self.folder / run_folder.LOG_NAME
            raise RunError(
                f"locust still ran {self._overdue_s:.0f} s after the end of the load, and was killed: see {log}"
            )
        notes = self._lines(run_folder.NOTES_NAME)
        if ended := self._lines(run_folder.ENDED_NAME):
            cause, _, reason = ended[0].partition(" ")
            return Ended(Cause(cause), reason, notes, calls, *self._final_counts())
        if code and not self._stopped and code not in _VERDICTS:
            raise RunError(self._describe_end(code))
        cause = Cause.INTERRUPTED if self._stopped else Cause.FINISHED
        return Ended(cause, self._stop_reason, notes, calls, *self._final_counts())

    def _close(self) -> int:
        """Write the records as Parquet, once, and return their number. Of a run that never began nothing is left."""
        from toolkit.records.parquet import pack_to_parquet

        if self._packed is None:
            with suppress(BrokenPipeError):
                assert self._process.stdin
                self._process.stdin.close()
            self._follower.read()
            self._follower.close()
            self._packed = pack_to_parquet(self.folder) if self._begun else 0
            if not self._begun:
                (self.folder / run_folder.LOG_NAME).unlink(missing_ok=True)
                with suppress(OSError):  # locust may have left a file
                    self.folder.rmdir()
        return self._packed

    def _lines(self, name: str) -> tuple[str, ...]:
        try:
            lines = (self.folder / name).read_text(encoding="utf-8").splitlines()
            return tuple(dict.fromkeys(lines))  # several workers may have written the same line
        except FileNotFoundError:
            return ()

    def _describe_end(self, code: int) -> str:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        with (self.folder / run_folder.LOG_NAME).open("rb") as log:
            return f"locust {how}: {last_lines(log, _SHOWN_LINES)}"
