"""Plant hosts with wrong clocks, and find them again by the delays of messages that two hosts handled."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.limited import Sliding, decide, hammered

from toolkit import analysis
from toolkit.api.return_codes import ReturnCode
from toolkit.simulation import SimulationPlan, simulate
from toolkit.simulation.plan import IncidentKind

NS = 1_000_000_000
RULE = Sliding(1, 60)


def _two_calls_a_message(seed: int, hosts: int) -> pd.DataFrame:
    """Return sends under one limit and their verifies, each by a host chosen at random."""
    rng = np.random.default_rng(seed)
    sends = decide(hammered(rng, range(40), 40, 6), lambda now, mobile: (RULE,), rng)
    accepted = sends[sends["return_code"] == int(ReturnCode.SUCCESS)]
    sends["msg_key"] = pd.Series(np.arange(len(accepted)), accepted.index).reindex(sends.index).astype("Int64")
    verifies = sends[sends["msg_key"].notna()].assign(endpoint="verify", mobile_key=pd.NA)
    verifies["started_ns"] += (rng.lognormal(2.7, 0.6, len(verifies)) * NS).astype(np.int64)
    calls = pd.concat([sends, verifies], ignore_index=True)
    return calls.assign(source=[f"host-{it}" for it in rng.integers(0, hosts, len(calls))])


def _slow(calls: pd.DataFrame, host: str, by_s: int) -> pd.DataFrame:
    is_slow = calls["source"] == host
    return calls.assign(started_ns=calls["started_ns"] - np.where(is_slow, by_s * NS, 0))


def test_one_of_seven_clocks_45_s_slow_is_named_and_corrected_before_rules_are_inferred():
    calls = _slow(_two_calls_a_message(1, 7), "host-4", 45)
    (found,) = analysis.clock_offsets(calls).to_dict("records")
    assert found["source"] == "host-4"
    assert found["offset_s"] == pytest.approx(-45, abs=4 * found["offset_error_s"])
    assert found["offset_error_s"] < 2
    rules = analysis.limits(calls)
    (rule,) = rules.dropna(subset=["max_sends"]).to_dict("records")
    assert (rule["max_sends"], rule["window_s"]) == (1, 60)
    assert rule["refusals"] / rule["refused"] > 0.97
    assert "host-4" in rules["note"].iloc[-1]
    assert "slow" in rules["note"].iloc[-1]


@pytest.mark.parametrize("by_s", [0, 2])
def test_no_clock_is_named_where_the_delays_vary_by_more_than_the_offset(by_s: int):
    for seed in range(5):
        assert analysis.clock_offsets(_slow(_two_calls_a_message(seed, 7).head(8_000), "host-4", by_s)).empty


def test_no_clock_is_named_by_a_few_messages():
    calls = _slow(_two_calls_a_message(1, 7), "host-4", 45)
    keys = calls.loc[calls["endpoint"] == "verify", "msg_key"].iloc[:60]
    assert analysis.clock_offsets(calls[calls["msg_key"].isin(keys)]).empty


def test_of_two_hosts_the_one_with_fewer_messages_is_named():
    calls = _two_calls_a_message(1, 2)
    is_moved = (calls["source"] == "host-1") & (np.arange(len(calls)) % 3 == 0)
    calls.loc[is_moved, "source"] = "host-0"
    (found,) = analysis.clock_offsets(_slow(calls, "host-1", 45)).to_dict("records")
    assert found["source"] == "host-1"
    assert found["offset_s"] == pytest.approx(-45, abs=3)


def test_hosts_of_which_one_sends_and_the_other_verifies_show_no_offset():
    calls = _two_calls_a_message(1, 2)
    calls["source"] = np.where(calls["endpoint"] == "send", "host-0", "host-1")
    assert analysis.clock_offsets(_slow(calls, "host-1", 45)).empty


def test_a_clock_that_was_slow_for_11_hours_is_dated(tmp_path: Path):
    for seed in (1, 2, 3):
        plan = SimulationPlan(days=10, calls=30_000, seed=seed, incidents=(IncidentKind.CLOCK_SKEW,))
        folder = tmp_path / str(seed)
        simulate(folder, plan)
        (label,) = json.loads((folder / "incidents.json").read_text())["incidents"]
        (found,) = analysis.clock_offsets(analysis.read(folder)).to_dict("records")
        assert found["source"] == label["source"]
        assert found["offset_s"] == pytest.approx(label["changed"]["skew_s"], abs=4 * found["offset_error_s"])
        for ours, planted in (("since", "started"), ("until", "ended")):
            assert abs(found[ours] - pd.Timestamp(label[planted])) < pd.Timedelta("1h")
