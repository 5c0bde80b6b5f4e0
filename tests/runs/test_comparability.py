"""Which runs can be compared."""

from __future__ import annotations

from typing import Any

import pytest

from toolkit.runs.comparability import LOAD_SETTINGS, different_settings, unusable_reason

FINISHED = {"ended": "finished", "bottleneck": None, "saturation": None, "target_at_end": "answered"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"ended": "incomplete"}, "incomplete: it was killed or is still running"),
        ({"ended": "interrupted", "ended_because": "SIGINT"}, "ended early (interrupted: SIGINT)"),
        ({"ended": "missed", "ended_because": "failed < 1%"}, "ended early (missed: failed < 1%)"),
        ({"bottleneck": "3% of the arrivals were late"}, "the load generator was the bottleneck"),
        ({"saturation": "40% of the arrivals waited"}, "saturated: arrivals waited for a connection"),
        ({"target_at_end": "timed out"}, "the target could not be reached at the end: timed out"),
    ],
)
def test_only_a_complete_run_that_the_target_kept_up_with_is_compared(change: dict[str, str], words: str) -> None:
    assert unusable_reason(FINISHED | change) == words


def test_calls_that_are_no_load_test_are_complete() -> None:
    assert unusable_reason({}) == ""
    assert different_settings({}, {}) == []


@pytest.mark.parametrize("unset", [None, "", 0, 0.0, False, [], {}])
def test_a_setting_that_an_older_version_did_not_write_is_like_an_unset_one(unset: object) -> None:
    assert different_settings({"warm_up_s": unset}, {}) == different_settings({}, {"warm_up_s": unset}) == []
    assert different_settings({"warm_up_s": 5.0}, {"warm_up_s": unset}) == ["warm_up_s 5.0, not unset"]


def test_the_load_must_be_the_same_but_not_the_target_the_seed_or_the_label() -> None:
    one: dict[str, Any] = {
        "scenario": "soak",
        "rate_per_s": 50.0,
        "rules": ["1/60s"],
        "seed": 1,
        "target": "a",
        "label": "v1",
    }
    assert different_settings(one, one | {"seed": 2, "target": "b", "label": "v2", "versions": {}}) == []
    other = one | {"rate_per_s": 20.0, "rules": [], "users": 3}
    found = ["users unset, not 3", "rate_per_s 50.0, not 20.0", "rules 1/60s, not unset"]
    assert different_settings(one, other) == found
    assert {it.split()[0] for it in found} <= set(LOAD_SETTINGS)
