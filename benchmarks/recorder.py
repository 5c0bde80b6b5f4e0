"""Measure the cost of recording: `python benchmarks/recorder.py`. Takes under a minute; needs Linux.

CPU time in microseconds a call in the load generator: a send and its verify are recorded in turn, as in a journey,
including the writes to a file. The script prints the median and the best round, and the longest pause. The open loop
records its calls in batches of 5 ms, a locust user one call at a time. "a list" only appends the calls to a list: the
lower bound. Bytes a call, packed and as Parquet, are from a real run against a sandbox.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import metadata
from itertools import islice, pairwise
from pathlib import Path
from uuid import uuid4

from side_by_side import OTHER_CORE, interpreter, pin

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.load_test.generator.results.recorder import Recorder
from toolkit.load_test.generator.steps import CallResult, Outcome, Send, Verify
from toolkit.load_test.launch import locust_process
from toolkit.load_test.launch.sandbox_process import sandbox
from toolkit.load_test.plan.mobile_pools import uniform
from toolkit.load_test.plan.options import LoadOptions
from toolkit.records.call_record import RecordBuilder
from toolkit.records.parquet import PARQUET_NAME

ROUNDS, TURNS, JOURNEYS = 15, 200, 200  # as many calls a turn as the open loop makes in 5 ms, still in the cache
FLUSH_TURNS = 25  # 10,000 calls, a quarter of a second of 40,000 a second
RECORDS = RecordBuilder.of("benchmark", "worker-0", "key", "secret")


def calls() -> list[CallResult]:
    """Make the values that a generator has when calls have ended."""
    made: list[CallResult] = []
    for mobile in islice(uniform(1), JOURNEYS):
        msg_id, now_ns = str(uuid4()), time.time_ns()
        sent, verified = (
            ApiResponse(200, ReturnCode.SUCCESS, "success", msg_id),
            ApiResponse(200, ReturnCode.SUCCESS, "success"),
        )
        made.append((Send(mobile), Outcome(Endpoint.SEND, now_ns, 312_345, sent)))
        made.append((Verify(msg_id, "123456"), Outcome(Endpoint.VERIFY, now_ns, 212_345, verified)))
    return made


def measure(
    made: list[CallResult], append: Callable[[list[CallResult]], None], flush: Callable[[], None], at_once: int
) -> tuple[float, float]:
    """Return the microseconds a call and the longest pause in ms."""
    handed = [made[at : at + at_once] for at in range(0, len(made), at_once)]
    marks, started_s = [time.perf_counter()], time.thread_time()
    for turn in range(TURNS):
        for kept in handed:
            append(kept)
        if turn % FLUSH_TURNS == 0:
            flush()
        marks.append(time.perf_counter())
    each_s = (time.thread_time() - started_s) / (TURNS * len(made))
    return 1e6 * each_s, 1e3 * max(after - before for before, after in pairwise(marks))


def measure_recording() -> None:
    made, kept = calls(), []
    measured: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(folder, "0", RECORDS, 1)
        for _ in range(ROUNDS):
            measured["a list"].append(measure(made, kept.append, kept.clear, 1))
            measured["the recorder, of the open loop"].append(measure(made, recorder.append, recorder.flush, len(made)))
            measured["the recorder, of a locust user"].append(measure(made, recorder.append, recorder.flush, 1))
    print(f"| way | µs a call (median) | best | longest turn of {len(made)} calls, ms |\n|---|---:|---:|---:|")
    for name, rounds in measured.items():
        each_us, longest_ms = zip(*rounds, strict=True)
        print(f"| {name} | {statistics.median(each_us):.2f} | {min(each_us):.2f} | {max(longest_ms):.1f} |")


def measure_bytes() -> None:
    with tempfile.TemporaryDirectory() as name, sandbox() as target:
        folder = Path(name)
        options = LoadOptions(duration_s=10, users=20, seed=1)
        with locust_process.start("throughput", target, options, folder=folder) as run:
            packed = [sum(path.stat().st_size for path in folder.glob("*.msgpack")) for _ in run.follow()]
            count = run.wait().calls
        parquet = (folder / PARQUET_NAME).stat().st_size
    print(f"\n{count:,} calls of a run: packed {max(packed) / count:.0f} bytes a call, Parquet {parquet / count:.1f}")


def main() -> None:
    gc.disable()  # a list that grows is what it would look through
    pin(OTHER_CORE)
    versions = (f"{name} {metadata.version(name)}" for name in ("msgpack", "pyarrow", "gevent"))
    print(f"{interpreter()}, {', '.join(versions)}\n")
    measure_recording()
    measure_bytes()


if __name__ == "__main__":
    main()
