"""What recording costs: `python benchmarks/recorder.py`. Takes under a minute; Linux.

Microseconds of CPU a call in the load generator: a send and its verify, recorded in turn, as a journey makes them, with
the writing to a file; the median and the best of rounds, and the longest pause by the clock. "a list" is what merely
keeping the calls costs, the floor. Bytes a call: of a real run against a sandbox, packed and as Parquet.
"""

from __future__ import annotations

import gc
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from itertools import islice, pairwise
from pathlib import Path
from uuid import uuid4

from side_by_side import OTHER_CORE, pin

from toolkit import launch, records
from toolkit.codes import ReturnCode
from toolkit.load.mobiles import uniform
from toolkit.load.recorder import Recorder
from toolkit.load.steps import Call, Outcome
from toolkit.records import Scribe
from toolkit.wire import Answer, Endpoint

ROUNDS, TURNS, JOURNEYS = 15, 200, 200  # few journeys, many turns: a generator records what its cache still holds
FLUSH_TURNS = 25  # 10,000 calls, a quarter of a second of 40,000 a second
SCRIBE = Scribe.of("benchmark", "worker-0", "key", "secret")

Made = list[tuple[Call, Outcome]]


def calls() -> Made:
    """Make what a generator has at hand when a call is over."""
    made: Made = []
    for mobile in islice(uniform(1), JOURNEYS):
        msg_id, now_ns = str(uuid4()), time.time_ns()
        sent, verified = Answer(200, ReturnCode.SUCCESS, "success", msg_id), Answer(200, ReturnCode.SUCCESS, "success")
        send, verify = Call(Endpoint.SEND, b"", (), mobile, 1), Call(Endpoint.VERIFY, b"", (), msg_id=msg_id)
        made.append((send, Outcome(Endpoint.SEND, now_ns, 312_345, sent)))
        made.append((verify, Outcome(Endpoint.VERIFY, now_ns, 212_345, verified)))
    return made


def measure(made: Made, append: Callable[[Call, Outcome], None], flush: Callable[[], None]) -> tuple[float, float]:
    """Return the microseconds a call, and the longest turn in ms."""
    marks, started_s = [time.perf_counter()], time.thread_time()
    for turn in range(TURNS):
        for call, outcome in made:
            append(call, outcome)
        if turn % FLUSH_TURNS == 0:
            flush()
        marks.append(time.perf_counter())
    each_s = (time.thread_time() - started_s) / (TURNS * len(made))
    return 1e6 * each_s, 1e3 * max(after - before for before, after in pairwise(marks))


def measure_recording() -> None:
    made, kept = calls(), []
    measured: dict[str, list[tuple[float, float]]] = {"a list": [], "the recorder": []}
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(folder, "0", SCRIBE)
        for _ in range(ROUNDS):
            measured["a list"].append(measure(made, lambda *both: kept.append(both), kept.clear))
            measured["the recorder"].append(measure(made, recorder.append, recorder.flush))
    print(f"| way | µs a call (median) | best | longest turn of {len(made)} calls, ms |\n|---|---:|---:|---:|")
    for name, rounds in measured.items():
        each_us, longest_ms = zip(*rounds, strict=True)
        print(f"| {name} | {statistics.median(each_us):.2f} | {min(each_us):.2f} | {max(longest_ms):.1f} |")


def measure_bytes() -> None:
    with tempfile.TemporaryDirectory() as name, launch.sandbox() as target:
        folder = Path(name)
        with launch.start("throughput", target, launch.Plan(10, users=20), folder=folder, seed=1) as run:
            packed = [sum(path.stat().st_size for path in folder.glob("*.msgpack")) for _ in run.follow()]
            count = run.wait().calls
        parquet = (folder / records.PARQUET_NAME).stat().st_size
    print(f"\n{count:,} calls of a run: packed {max(packed) / count:.0f} bytes a call, Parquet {parquet / count:.1f}")


def main() -> None:
    gc.disable()  # a list that grows is what it would look through
    pin(OTHER_CORE)
    versions = (f"{name} {metadata.version(name)}" for name in ("msgpack", "pyarrow", "gevent"))
    print(f"Python {platform.python_version()}, {', '.join(versions)}\n")
    measure_recording()
    measure_bytes()


if __name__ == "__main__":
    main()
