from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.runs.arrival_counts import (
    ArrivalCounts,
    ArrivalRate,
    ArrivalRateMeter,
    read_arrival_counts,
    read_shard_spans,
)


def leave(folder: Path, worker: int, **counts: object) -> None:
    known = {"elapsed_s": 10.0, "late": 0, "queued": 0, "dropped": 0, "orphaned": 0, **counts}
    (folder / f"arrivals-{worker}.json").write_text(json.dumps(known))


def test_a_closed_loop_has_no_arrival_counts(tmp_path: Path) -> None:
    assert read_arrival_counts(tmp_path) is None


def test_counts_of_workers_are_summed_and_dropped_arrivals_were_intended(tmp_path: Path) -> None:
    leave(tmp_path, 0, due=500, dropped=20)
    leave(tmp_path, 1, due=500, orphaned=80, late=3)
    pacing = read_arrival_counts(tmp_path)
    assert pacing == ArrivalCounts(10.0, 1000, 3, 0, 20, 80)
    assert (pacing.intended_per_s, pacing.achieved_per_s) == (100.0, 90.0)
    assert pacing.settings()["pacing"]["unowned"] == 80


def test_the_key_of_earlier_versions_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "arrivals-0.json").write_text(
        json.dumps({"elapsed_s": 1.0, "due": 9, "late": 0, "queued": 0, "dropped": 0, "unowned": 4, "bottleneck": None})
    )
    pacing = read_arrival_counts(tmp_path)
    assert pacing
    assert pacing.orphaned == 4


def test_the_rate_is_that_of_the_last_second() -> None:
    pacer = ArrivalRateMeter()
    assert pacer.rate(ArrivalCounts(2.0, 100, 0, 0, 0, 0)) == ArrivalRate(50.0, 50.0)
    assert pacer.rate(ArrivalCounts(2.1, 400, 0, 0, 0, 0)) == ArrivalRate(50.0, 50.0)  # until a second is over
    assert pacer.rate(ArrivalCounts(4.0, 500, 0, 0, 40, 0)) == ArrivalRate(200.0, pytest.approx(180.0))
    assert pacer.rate(ArrivalCounts(4.0, 500, 0, 0, 40, 0)) == ArrivalRate(200.0, pytest.approx(180.0))


def test_planned_arrivals_that_no_worker_reported_are_orphaned(tmp_path: Path) -> None:
    leave(tmp_path, 0, due=50, dropped=2, until_s={"0": 2.0})
    counts = read_arrival_counts(tmp_path)
    assert counts
    whole = counts.account(planned=100)
    assert (whole.due, whole.orphaned, whole.dropped, whole.started) == (100, 50, 2, 48)
    assert whole.started + whole.dropped + whole.orphaned == 100
    assert counts.account(planned=50) == counts


def test_the_successor_of_a_lost_worker_tells_how_far_its_shard_has_come(tmp_path: Path) -> None:
    leave(tmp_path, 0, due=50, until_s={"0": 9.0, "1": 9.0})
    leave(tmp_path, 1, due=5, until_s={"1": 1.0})
    assert read_shard_spans(tmp_path) == {0: 9.0, 1: 9.0}
