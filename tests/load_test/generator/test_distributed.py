"""One run of a master and several workers: started by this project on one machine, and by locust alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.api import Api
from support.locust import plain_locust, run_locust
from support.processes import notes_without_bottlenecks, of_run, parent_of_a_run, wait_gone
from support.redis import free_port

from toolkit.api.errors import RunError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.load_test.launch import locust_process
from toolkit.load_test.launch.locust_process import Cause, LoadRun
from toolkit.load_test.plan.options import LoadOptions
from toolkit.records.parquet import pack_to_parquet
from toolkit.runs.begun_calls import read_begun
from toolkit.runs.check_results import read_check_results
from toolkit.runs.thresholds import Status

LONG_S = 240
RATE_PER_S = 100
NUMBERS = ["13800138000", "13800138001", "13800138002"]


def start(api: Api, folder: Path, *, duration_s: float = LONG_S, users: int = 6, workers: int = 2) -> LoadRun:
    options = LoadOptions(seed=1, duration_s=duration_s, users=users, workers=workers)
    return locust_process.start("throughput", api.target, options, folder=folder)


def rows(folder: Path) -> list[dict[str, object]]:
    return pq.read_table(folder / "calls.parquet", columns=["endpoint", "return_code", "source"]).to_pylist()


def recorded(folder: Path) -> Counter[tuple[object, object]]:
    return Counter((row["endpoint"], row["return_code"]) for row in rows(folder))


def workers_of(folder: Path) -> list[psutil.Process]:
    """Return the workers of a run, which its master has forked."""
    return [process for process in of_run(folder) if process.parent() in of_run(folder)]


def counted_by_locust(folder: Path) -> dict[str, int]:
    return {entry["name"]: entry["num_requests"] for entry in json.loads((folder / "locust.json").read_text())}


def wait_for_parts(run: LoadRun, workers: int) -> None:
    """Wait until so many workers have brought records into their files."""
    for _ in run.follow():
        if sum(path.stat().st_size > 0 for path in run.folder.glob("calls-*.msgpack")) == workers:
            return


# By `smscode load --workers`.


def test_the_records_and_locusts_statistics_are_those_of_all_workers(api: Api, tmp_path: Path) -> None:
    with start(api, tmp_path, duration_s=4) as run:
        *_, last = run.follow()
        ended = run.wait()
    assert (ended.cause, notes_without_bottlenecks(ended), ended.calls) == (Cause.FINISHED, (), api.answered.total())
    assert recorded(tmp_path) == last.outcomes == api.answered
    assert sum(read_begun(tmp_path).values()) == ended.calls
    assert {row["source"] for row in rows(tmp_path)} == {"worker-0", "worker-1"}
    sent = sum(calls for (endpoint, _), calls in api.answered.items() if endpoint == Endpoint.SEND)
    assert counted_by_locust(tmp_path) == {"send": sent, "verify": ended.calls - sent}


def test_workers_share_the_users_and_no_number_is_loaded_twice(api: Api, tmp_path: Path) -> None:
    with start(api, tmp_path, duration_s=3, users=7, workers=3) as run:
        run.wait()
    assert api.connections == 7
    assert len(set(api.mobiles)) == len(api.mobiles) > 7


def test_a_worker_that_is_killed_is_reported_its_users_move_and_its_records_stay(api: Api, tmp_path: Path) -> None:
    with start(api, tmp_path, users=4) as run:
        wait_for_parts(run, 2)
        workers_of(tmp_path)[-1].kill()
        api.wait_for_connections(6)  # four, and two once more, of the other worker
        after = api.answered.total()
        api.wait_for(calls=after + 200)
        run.stop()
        ended = run.wait()
    (note,) = notes_without_bottlenecks(ended)
    assert "was lost" in note
    assert "moved to the other 1" in note
    kept = Counter(row["source"] for row in rows(tmp_path))
    assert set(kept) == {"worker-0", "worker-1"}
    assert kept.total() == ended.calls > after / 2
    assert sum(read_begun(tmp_path).values()) >= api.answered.total()
    assert len(set(api.mobiles)) == len(api.mobiles)


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_check_passes_only_if_every_worker_has_reported_its_last_calls(
    api: Api, tmp_path: Path, is_killed: bool
) -> None:
    limits = ("ok_ratio(send) >= 0%",)
    options = LoadOptions(stages=f"{LONG_S}s@4000", workers=2, limits=limits, max_bottleneck="100%", max_dropped="100%")
    with locust_process.start("throughput", api.target, options, folder=tmp_path) as run:
        wait_for_parts(run, 2)
        if is_killed:
            workers_of(tmp_path)[-1].kill()
        next(it for it in run.follow() if it.elapsed_s > 5)  # a slot of 2 s is over
        run.stop()
        run.wait()
    check, *implied = read_check_results(tmp_path)
    assert {it.status for it in implied} <= {Status.NO_DATA}
    reason = "1 worker ended without a report on the last calls" if is_killed else check.description
    assert (check.status, check.reason) == (Status.NO_DATA if is_killed else Status.PASS, reason)


def rate_run(api: Api, folder: Path, duration_s: float, **given: Any) -> LoadRun:
    options = LoadOptions(seed=1, duration_s=duration_s, rate_per_s=RATE_PER_S, workers=2, **given)
    return locust_process.start("throughput", api.target, options, folder=folder)


def due_ns(folder: Path) -> dict[object, list[int]]:
    """Return when the journeys of each worker were due, whenever they began."""
    table = pq.read_table(folder / "calls.parquet", columns=["source", "endpoint", "started_ns", "wait_ns"])
    due: dict[object, list[int]] = defaultdict(list)
    for row in table.to_pylist():
        if row["endpoint"] == Endpoint.SEND:
            due[row["source"]].append(row["started_ns"] - row["wait_ns"])
    return due


def test_the_rate_is_that_of_all_workers_together(api: Api, tmp_path: Path) -> None:
    with rate_run(api, tmp_path, duration_s=4) as run:
        ended = run.wait()
    assert ended.pacing
    assert ended.pacing.due == 4 * RATE_PER_S or ended.pacing.elapsed_s < 4  # begun late on a busy machine, and cut off
    assert len(set(api.mobiles)) == len(api.mobiles) == ended.pacing.due - ended.pacing.dropped
    assert read_begun(tmp_path)[Endpoint.SEND] == len(api.mobiles)
    assert {row["source"] for row in rows(tmp_path)} == {"worker-0", "worker-1"}


def test_a_lost_workers_share_of_the_rate_is_taken_over(api: Api, tmp_path: Path) -> None:
    """When a worker is missed is told in test_worker_takeover.py: here no time is compared with a constant."""
    with rate_run(api, tmp_path, duration_s=12) as run:
        wait_for_parts(run, 2)
        workers_of(tmp_path)[-1].kill()
        killed_ns = time.time_ns()
        orphaned = next(it.orphaned for _ in run.follow() if (it := run.pacing()) and it.orphaned)
        taken_over_ns = time.time_ns()
        ended = run.wait()
    assert "moved to the other 1" in notes_without_bottlenecks(ended)[0]
    assert len(set(api.mobiles)) == len(api.mobiles)
    assert ended.pacing
    assert ended.pacing.due == 12 * RATE_PER_S
    assert ended.pacing.started + ended.pacing.dropped + ended.pacing.orphaned == ended.pacing.due
    of_survivor = max(due_ns(tmp_path).values(), key=max)
    both_shares = sum(0 <= at_ns - taken_over_ns < 2 * 10**9 for at_ns in of_survivor)  # each has a clock of its own
    assert 2 * RATE_PER_S - ended.pacing.dropped - 2 <= both_shares <= 2 * RATE_PER_S + 2
    assert len(api.mobiles) <= read_begun(tmp_path)[Endpoint.SEND] <= 12 * RATE_PER_S
    of_lost = len(api.mobiles) - len(of_survivor)  # some of which it may not have reported
    while_orphaned = (taken_over_ns - killed_ns) / 1e9 * RATE_PER_S / 2
    assert ended.generator
    behind = 2 * ended.generator.max_lag_ms / 1000 * RATE_PER_S  # begun late by a busy machine, the lost worker too
    assert orphaned <= ended.pacing.orphaned <= while_orphaned + of_lost + behind + 2


def test_a_worker_that_comes_back_ends_and_leaves_its_share_to_the_others(api: Api, tmp_path: Path) -> None:
    with rate_run(api, tmp_path, duration_s=LONG_S, max_messages=LONG_S * RATE_PER_S // 2) as run:
        wait_for_parts(run, 2)
        worker = workers_of(tmp_path)[-1]
        worker.suspend()
        next(it for _ in run.follow() if (it := run.pacing()) and it.orphaned)
        worker.resume()
        wait_gone([worker])
        gone_ns, after = time.time_ns(), len(api.mobiles)
        api.wait_for(calls=api.answered.total() + 4 * RATE_PER_S)
        run.stop()
        ended = run.wait()
    assert "moved to the other 1" in notes_without_bottlenecks(ended)[0]
    assert len(api.mobiles) > after
    assert len(set(api.mobiles)) == len(api.mobiles)
    due = due_ns(tmp_path)
    assert sum(max(times) > gone_ns for times in due.values()) == 1
    since_s = (max(max(times) for times in due.values()) - gone_ns) / 1e9
    begun = sum(at_ns > gone_ns for times in due.values() for at_ns in times)
    assert begun <= since_s * RATE_PER_S + 2


def test_the_budget_holds_although_a_worker_comes_back(api: Api, tmp_path: Path) -> None:
    budget = 8 * RATE_PER_S
    with rate_run(api, tmp_path, duration_s=LONG_S, max_messages=budget) as run:
        wait_for_parts(run, 2)
        worker = workers_of(tmp_path)[-1]
        worker.suspend()
        next(it for _ in run.follow() if (it := run.pacing()) and it.orphaned)
        worker.resume()
        ended = run.wait()
    assert ended.cause is Cause.BUDGET
    assert 0 < len(api.mobiles) <= budget


def test_the_share_of_a_worker_that_was_lost_before_its_first_report_is_orphaned(api: Api, tmp_path: Path) -> None:
    with rate_run(api, tmp_path, duration_s=3, max_bottleneck="1%") as run:
        wait_for_parts(run, 2)
        workers_of(tmp_path)[-1].kill()
        ended = run.wait()
    assert ended.pacing
    assert ended.generator
    share = f"{ended.pacing.orphaned / ended.pacing.due:.1%} of the arrivals were never begun"
    assert f"{share}, because their worker was lost" in ended.generator.bottlenecks
    assert ended.pacing.due == 3 * RATE_PER_S
    assert ended.pacing.orphaned > 0
    assert ended.pacing.started + ended.pacing.dropped + ended.pacing.orphaned == 3 * RATE_PER_S


def test_a_run_whose_workers_were_all_killed_is_an_error(api: Api, tmp_path: Path) -> None:
    with start(api, tmp_path) as run:
        wait_for_parts(run, 2)
        for worker in workers_of(tmp_path):
            worker.kill()
        with pytest.raises(RunError, match="none is left"):
            run.wait()
    assert recorded(tmp_path).total() > 0


def test_a_refusal_that_every_further_call_would_get_ends_all_workers(api: Api, tmp_path: Path) -> None:
    api.refuse = {Endpoint.SEND: (100, ReturnCode.NO_MONEY)}
    with start(api, tmp_path) as run:
        ended = run.wait()
    assert (ended.cause, ended.reason) == (Cause.REFUSED, "50014 no money")
    assert recorded(tmp_path) == api.answered
    assert not of_run(tmp_path)


def test_a_note_of_several_workers_is_shown_once(api: Api, tmp_path: Path) -> None:
    api.sandbox = False
    with start(api, tmp_path, duration_s=2) as run:
        assert len(notes_without_bottlenecks(run.wait())) == 1


def test_stopping_lets_all_users_finish_and_leaves_nothing_behind(api: Api, tmp_path: Path) -> None:
    with start(api, tmp_path) as run:
        api.wait_for(calls=100)
        run.stop()
        assert run.wait().cause is Cause.INTERRUPTED
    assert recorded(tmp_path) == api.answered
    assert not of_run(tmp_path)


def test_ctrl_c_in_the_parent_leaves_a_readable_run_and_no_process(api: Api, tmp_path: Path) -> None:
    with parent_of_a_run(api.target, tmp_path, workers=2) as parent:
        processes = of_run(tmp_path)
        assert len(processes) == 3
        parent.send_signal(signal.SIGINT)
        parent.communicate(timeout=240)
    assert not [each for each in processes if each.is_running()]
    assert recorded(tmp_path) == api.answered


def test_a_parent_that_is_killed_takes_master_and_workers_with_it(api: Api, tmp_path: Path) -> None:
    with parent_of_a_run(api.target, tmp_path, workers=2) as parent:
        processes = of_run(tmp_path)
        assert len(processes) == 3
        parent.kill()
        wait_gone(processes)
    pack_to_parquet(tmp_path)
    assert recorded(tmp_path).total() >= api.answered.total() - 5  # the calls that five users were in


def test_a_master_that_is_killed_is_an_error_and_leaves_no_worker(api: Api, tmp_path: Path) -> None:
    with start(api, tmp_path) as run:
        api.wait_for(calls=100)
        workers = workers_of(tmp_path)
        master = workers[0].parent()
        assert master
        master.kill()
        with pytest.raises(RunError, match="SIGKILL"):
            run.wait()
    wait_gone(workers)


# By locust alone.


@contextmanager
def master_and_workers(api: Api, folders: list[Path], *options: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Run a master, the first of the processes, and a worker for each folder."""
    port = str(free_port())
    with ExitStack() as stack:

        def run(*options: str, **settings: str) -> subprocess.Popen[str]:
            process = stack.enter_context(plain_locust(api.target, *options, **settings))
            stack.callback(process.kill)
            return process

        master = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
        processes = [run(*master, "--expect-workers", str(len(folders)), "--stop-timeout", "5", *options)]
        for folder in folders:
            folder.mkdir()
            worker = ["--worker", "--master-host", "127.0.0.1", "--master-port", port]
            processes.append(run(*worker, SMSCODE_RUN_DIR=str(folder)))
        yield processes


def samples(port: int) -> Counter[tuple[str, str | None]]:
    """Return the sums of the exported metrics of a run by name and status."""
    text = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=240).read().decode()
    found: Counter[tuple[str, str | None]] = Counter()
    for family in text_string_to_metric_families(text):
        for it in family.samples:
            found[it.name, it.labels.get("status")] += it.value  # type: ignore[assignment] # a Counter adds floats too
    return found


def test_workers_of_a_master_record_where_they_are_and_share_no_number(api: Api, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    with master_and_workers(api, folders, "-t", "3") as processes:
        codes = [process.wait(timeout=240) for process in processes]
    assert codes == [0, 0, 0]
    for folder in folders:
        assert pack_to_parquet(folder) > 0
    assert recorded(folders[0]) + recorded(folders[1]) == api.answered
    assert len(set(api.mobiles)) == len(api.mobiles) > 0


def test_a_worker_whose_master_was_killed_ends(api: Api, tmp_path: Path) -> None:
    with master_and_workers(api, [tmp_path / "one"], "-u", "2") as (master, worker):
        api.wait_for(calls=10)
        master.kill()
        _, stderr = worker.communicate(timeout=240)
    assert "the master has sent nothing for 15 s" in stderr


_PARENT = """
import signal, subprocess, sys
for number in (signal.SIGINT, signal.SIGHUP):  # a process that ignores one of them was detached
    signal.signal(number, signal.SIG_DFL)
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
print(child.pid, flush=True)
child.wait()
"""


def test_plain_locust_ends_with_the_process_that_started_it(api: Api, tmp_path: Path) -> None:
    with plain_locust(api.target, SMSCODE_RUN_DIR=str(tmp_path), run_by=[sys.executable, "-c", _PARENT]) as parent:
        assert parent.stdout
        locust = psutil.Process(int(parent.stdout.readline()))
        api.wait_for(calls=10)
        parent.kill()
        wait_gone([locust])
    assert (tmp_path / "ended.txt").read_text() == "interrupted the end of the process that had started it\n"


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_threshold_passes_only_if_every_worker_has_reported_its_last_calls(
    api: Api, tmp_path: Path, is_killed: bool
) -> None:
    port = free_port()
    options = ["--metrics-port", str(port), "--threshold", "ok_ratio(send) >= 0%"]
    with master_and_workers(api, [tmp_path / "one", tmp_path / "other"], *options) as (master, worker, _):
        api.wait_for(calls=100)
        if is_killed:
            worker.kill()
            while samples(port)["smscode_load_workers", None] != 1:
                time.sleep(0.1)
            assert samples(port)["smscode_load_threshold_status", "PASS"] == 0
        master.send_signal(signal.SIGINT)
        _, stderr = master.communicate(timeout=240)
    lost = "1 worker ended without a report on the last calls: no threshold passes" in stderr
    assert (master.returncode, lost, "PASS " in stderr) == (99 * is_killed, is_killed, not is_killed), stderr


def test_a_run_ends_when_each_worker_has_used_up_its_mobiles(api: Api, tmp_path: Path) -> None:
    """The third number is kept for a worker that would join late."""
    pool = tmp_path / "numbers.txt"
    pool.write_text("\n".join(NUMBERS))
    with master_and_workers(api, [tmp_path / "one", tmp_path / "other"], "--sms-mobiles", f"file:{pool}") as processes:
        assert [process.wait(timeout=240) for process in processes] == [0, 0, 0]
    assert sorted(api.mobiles) == NUMBERS[:2]


def test_processes_of_plain_locust_share_no_number(api: Api, tmp_path: Path) -> None:
    port = str(free_port())
    ports = ("--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port)
    done = run_locust(api.target, "--processes", "2", *ports, "-t", "3", "-s", "5", SMSCODE_RUN_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    pack_to_parquet(tmp_path)
    assert recorded(tmp_path) == api.answered
    assert len(set(api.mobiles)) == len(api.mobiles) > 0
    assert not of_run(tmp_path)


def test_a_master_shows_the_bottleneck_of_a_worker_while_the_run_is_on(api: Api, tmp_path: Path) -> None:
    port = free_port()
    options = ["--metrics-port", str(port), "--threshold", "ok_ratio(send) >= 0%", "--max-bottleneck", "1%"]
    with master_and_workers(api, [tmp_path / "one", tmp_path / "other"], *options) as (_, worker, _):
        api.wait_for(calls=100)
        until_s = time.monotonic() + 240
        while (shown := samples(port)).get(("smscode_load_bottleneck", None)) != 1:
            assert time.monotonic() < until_s
            worker.send_signal(signal.SIGSTOP)
            time.sleep(0.7)
            worker.send_signal(signal.SIGCONT)
            time.sleep(0.7)
        assert shown["smscode_load_threshold_status", "PASS"] == 0


def test_processes_of_plain_locust_whose_master_is_killed_end_too(api: Api) -> None:
    port = str(free_port())
    ports = ("--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port)
    with plain_locust(api.target, "--processes", "2", *ports) as locust:
        api.wait_for(calls=100)
        workers = psutil.Process(locust.pid).children()
        assert len(workers) == 2
        locust.kill()
        locust.communicate(timeout=240)
    wait_gone(workers)
