"""When a run says that its load generator held it back. Nothing here takes time: the clocks are the test's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.results.bottleneck import BottleneckMonitor, join_reports
from toolkit.load_test.generator.results.in_flight import InFlight
from toolkit.load_test.plan.schedule import ArrivalCounts
from toolkit.runs.generator_state import read_generator_state

TICK_S = 0.02


class Process:
    """A process of a load generator whose time the test sets."""

    def __init__(self, folder: Path | None = None, connections: int | None = None, **arrivals: int) -> None:
        self.now_s = self.cpu_s = 0.0
        self.in_flight = InFlight()
        self.monitor = BottleneckMonitor(
            ArrivalCounts(**arrivals),
            lambda: self.in_flight,
            connections,
            folder,
            "0",
            clock_s=lambda: self.now_s,
            cpu_s=lambda: self.cpu_s,
        )

    def run(self, seconds: int, *, stopped_s: float = 0.0, cpu: float = 0.3) -> None:
        """Run for some seconds, in each of which the process is stopped once and uses a share of its core."""
        for _ in range(seconds):
            ends_s = round(self.now_s) + 1
            self._wake_up(stopped_s, cpu)
            while self.now_s < ends_s - 1e-9:
                self._wake_up(0.0, cpu, min(TICK_S, ends_s - self.now_s))

    def _wake_up(self, lag_s: float, cpu: float, slept_s: float = TICK_S) -> None:
        self.now_s = round(self.now_s + slept_s + lag_s, 6)
        self.cpu_s += cpu * (slept_s + lag_s)
        self.monitor.tick(lag_s)


def test_a_process_that_keeps_up_is_no_bottleneck() -> None:
    process = Process()
    process.run(60, stopped_s=0.015, cpu=0.9)
    assert process.monitor.bottleneck() is None


def test_a_process_that_is_stopped_for_a_quarter_of_every_second_is_one() -> None:
    process = Process()
    process.run(8, stopped_s=0.25)
    text = process.monitor.bottleneck() or ""
    assert "did not run for 2.0 of 8.0 s (25%), up to 250 ms at once" in text


def test_one_hiccup_is_none_but_a_hundredth_of_a_long_run_is() -> None:
    process = Process()
    process.run(1, stopped_s=0.45)
    assert process.monitor.bottleneck() is None
    process.run(100, stopped_s=0.021)
    assert "did not run" in (process.monitor.bottleneck() or "")


def test_a_process_that_uses_all_of_its_core_is_one() -> None:
    process = Process()
    process.run(28)
    process.run(2, cpu=1.0)
    assert process.monitor.bottleneck() == (
        "the load generator used all of its core in 7% of the seconds: give it more --workers"
    )


def test_all_causes_are_told_the_largest_first() -> None:
    process = Process(due=1_000, late=900)
    process.run(10, stopped_s=0.25)
    process.run(10, stopped_s=0.25, cpu=1.0)
    shares = [cause.share for cause in process.monitor.causes()]
    assert shares == [0.9, pytest.approx(0.5), pytest.approx(0.25, abs=0.01)]
    assert (process.monitor.bottleneck() or "").split("; ")[0].startswith("90.0% of the arrivals were begun late")


@pytest.mark.parametrize("arrivals", [{"due": 0}, {"due": 30, "late": 3}, {"due": 1_000, "late": 10, "dropped": 10}])
def test_a_few_late_arrivals_and_a_hundredth_of_them_say_nothing(arrivals: dict[str, int]) -> None:
    monitor = Process(connections=10, **arrivals).monitor
    assert monitor.bottleneck() is None
    assert monitor.saturation() is None


@pytest.mark.parametrize(
    ("arrivals", "text"),
    [
        ({"due": 30, "late": 4}, "13.3% of the arrivals were begun late"),
        ({"due": 1_000, "late": 11}, "1.1% of the arrivals were begun late"),
        ({"due": 2_000, "orphaned": 1_000, "late": 11}, "1.1% of the arrivals were begun late"),
    ],
)
def test_more_late_arrivals_are_told_in_figures(arrivals: dict[str, int], text: str) -> None:
    assert (Process(connections=10, **arrivals).monitor.bottleneck() or "").startswith(text)


def test_arrivals_that_wait_while_the_target_holds_every_connection_do_not_blame_the_generator(tmp_path: Path) -> None:
    process = Process(tmp_path, connections=10, due=1_000, queued=300, dropped=50)
    for _ in range(10):
        process.in_flight.add_call(Endpoint.SEND, 7_000_000_000, 7_000_000_000)
    process.in_flight.close()
    process.run(2)
    assert process.monitor.bottleneck() is None
    state = read_generator_state(tmp_path)
    assert state is not None
    assert state.settings()["bottleneck"] is None
    assert state.settings()["saturation"] == (
        "all 10 connections were busy with calls to the target: 30.0% of the arrivals waited for one, 5.0% never got"
        " one; up to 10 calls were in flight, the oldest for 7.0 s"
    )
    assert (state.in_flight, state.waiting, state.oldest_s) == (10, 0, 7.0)


def test_the_causes_of_all_processes_are_told_the_largest_first(tmp_path: Path) -> None:
    for number, (share, text) in enumerate([(0.02, "small"), (0.3, "large"), (0.3, "large")]):
        process = Process(tmp_path)
        process.run(1)
        state = json.loads((tmp_path / "generator-0.json").read_text())
        state["causes"] = [{"share": share, "text": text}]
        (tmp_path / f"generator-{number + 1}.json").write_text(json.dumps(state))
    (tmp_path / "generator-0.json").unlink()
    state = read_generator_state(tmp_path)
    assert state is not None
    assert state.bottlenecks == ("large", "small")


def test_a_closed_loop_writes_no_counts_of_arrivals(tmp_path: Path) -> None:
    Process(tmp_path).run(2)
    assert [it.name for it in tmp_path.iterdir()] == ["generator-0.json"]


def test_a_folder_that_cannot_be_written_to_ends_no_measurement(tmp_path: Path) -> None:
    process = Process(tmp_path / "later", connections=5)
    process.run(3, stopped_s=0.4)
    (tmp_path / "later").mkdir()
    process.run(1)
    state = read_generator_state(tmp_path / "later")
    assert state
    assert "did not run for 1.2 of 4" in state.bottlenecks[0]


@pytest.mark.parametrize(
    ("reports", "connected", "has_ended", "expected"),
    [
        ({}, {"a"}, False, None),
        ({}, set(), True, None),
        ({"a": ""}, {"a"}, False, ""),
        ({"a": "", "b": ""}, {"a", "successor"}, False, None),
        ({"a": "", "b": "busy"}, {"a", "successor"}, False, "busy"),
        ({"lost": "", "a": ""}, {"a"}, False, ""),
        ({"lost": ""}, set(), False, None),
        ({"a": "", "b": ""}, set(), True, ""),
    ],
)
def test_a_bottleneck_is_unknown_until_each_connected_worker_has_reported(
    reports: dict[str, str], connected: set[str], has_ended: bool, expected: str | None
) -> None:
    assert join_reports(reports, connected, has_ended=has_ended) == expected
