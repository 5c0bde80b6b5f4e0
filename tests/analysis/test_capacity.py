"""The trials of a search as a frame, and the model of scalability that fits them or does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from toolkit.analysis import charts
from toolkit.analysis.capacity import capacity, read_capacity, scalability
from toolkit.api.errors import InputError


def content(throughput: Any, result: str = "held", unit: str = "users") -> dict[str, Any]:
    """Return a search with trials at 1 to 64 users, whose throughput is a function of the users."""
    trials = [
        {
            "name": f"trial-{users}",
            "load": float(users),
            "result": result,
            "is_long": True,
            "duration_s": 10.0,
            "messages": 5,
            "achieved_per_s": throughput(users),
            "in_flight": float(users),
            "doubt_text": "",
            "p50_ms": 2.0 + users,
            "p99_ms": None if users == 1 else 9.0 + users,
            "failed_ratio": 0.001 * users,
        }
        for users in (1, 2, 4, 8, 16, 32, 64)
    ]
    return {"trials": trials, "capacity": {"held": 32.0, "missed": 33.0}, "unit": unit}


def usl(users: float) -> float:
    return 100 * users / (1 + 0.05 * (users - 1) + 0.001 * users * (users - 1))


def test_a_search_is_a_row_for_each_trial_with_the_borders_in_each() -> None:
    frame = capacity(content(usl))
    assert list(frame["load"]) == [1, 2, 4, 8, 16, 32, 64]
    assert (set(frame["held_load"]), set(frame["missed_load"])) == ({32.0}, {33.0})
    assert "object" not in frame.dtypes.astype(str).tolist()


def test_the_model_of_a_service_that_follows_it_is_found() -> None:
    model = scalability(capacity(content(usl)))
    assert model["speed"].iloc[0] == pytest.approx(100)
    assert model["contention"].iloc[0] == pytest.approx(0.05)
    assert model["coherency"].iloc[0] == pytest.approx(0.001)
    assert model["peak_in_flight"].iloc[0] == pytest.approx(np.sqrt(0.95 / 0.001))


@pytest.mark.parametrize("throughput", [lambda users: 100 + users % 7 * 40, lambda users: 50 if users < 20 else 900])
def test_a_service_that_does_not_follow_the_model_has_none(throughput: Any) -> None:
    assert len(scalability(capacity(content(throughput)))) == 0


def test_trials_of_an_open_loop_that_missed_are_no_steady_state() -> None:
    assert len(scalability(capacity(content(usl, "missed", "journeys/s")))) == 0
    assert len(scalability(capacity(content(usl, "missed")))) == 7


def test_the_charts_name_their_axes() -> None:
    frame = capacity(content(usl))
    assert "time of sends (ms)" in charts.to_svg(charts.capacity(frame))
    assert "successful sends per second" in charts.to_svg(charts.scalability(scalability(frame)))


def test_a_folder_without_a_search_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no capacity\.json"):
        read_capacity(tmp_path)
    (tmp_path / "capacity.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="is not JSON"):
        read_capacity(tmp_path)
    (tmp_path / "capacity.json").write_text(json.dumps(content(usl)), encoding="utf-8")
    assert isinstance(capacity(read_capacity(tmp_path)), pd.DataFrame)
