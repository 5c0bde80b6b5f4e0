"""The schedule of incidents, and their effects on the calls."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.simulated import Simulated

from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.simulation import ALL_INCIDENTS, IncidentKind, SimulationPlan
from toolkit.simulation.billing_statement import StatementError
from toolkit.simulation.incidents import DURATION_MINUTES, find, lowered_limit, schedule
from toolkit.simulation.plan import DAY_NS

PLANS = st.builds(
    SimulationPlan,
    days=st.integers(1, 60),
    calls=st.just(1_000_000),
    seed=st.integers(0, 1 << 32),
    incidents=st.sets(st.sampled_from(ALL_INCIDENTS)).map(tuple),
)


def share(of: pd.Series, among: pd.Series) -> float:
    return float(of[among].mean())


# Schedule.


@given(PLANS)
def test_each_incident_has_a_day_of_its_own_inside_the_period(plan: SimulationPlan) -> None:
    happening = schedule(plan)
    days = [(it.started_ns - plan.start_ns) // DAY_NS for it in happening]
    assert len(set(days)) == len(days)
    assert all(0 < day < plan.days - 1 for day in days) or plan.days < 3
    for it in happening:
        ends_ns = it.started_ns // DAY_NS * DAY_NS + DAY_NS
        assert it.ended_ns <= ends_ns if it.kind in DURATION_MINUTES else it.started_ns % DAY_NS == 0


@given(PLANS)
def test_the_first_planned_incidents_happen_if_days_run_out(plan: SimulationPlan) -> None:
    asked = [kind for kind in plan.incidents if kind is not IncidentKind.WRONG_STATEMENT]
    room = max(1, plan.days - 2)
    assert {it.kind for it in schedule(plan)} == set(asked[:room])


@given(PLANS)
def test_a_lowered_limit_is_the_last_incident(plan: SimulationPlan) -> None:
    happening = schedule(plan)
    if limit := find(happening, IncidentKind.LIMIT_LOWERED):
        assert all(it.started_ns <= limit.started_ns for it in happening)
        assert limit.ended_ns == plan.start_ns + plan.days * DAY_NS


def test_another_seed_gives_another_schedule() -> None:
    assert len({schedule(SimulationPlan(seed=seed)) for seed in range(20)}) == 20


@pytest.mark.parametrize(
    ("rules", "becomes"),
    [
        (("1/60s", "5/3600s", "10/86400s"), (1, 2)),
        (("2/60s",), (0, 1)),
        (("100/3600s", "10/60s"), (1, 4)),
        (("1/60s",), None),
        ((), None),
    ],
)
def test_the_lowerable_rule_of_the_shortest_window_is_lowered(
    rules: tuple[str, ...], becomes: tuple[int, int] | None
) -> None:
    plan = SimulationPlan(rules=tuple(map(Rule.parse, rules)))
    assert lowered_limit(plan) == becomes
    assert (find(schedule(plan), IncidentKind.LIMIT_LOWERED) is None) == (becomes is None)


# Effects. Each incident has one of the days.


def test_every_kind_is_labelled(simulated: Simulated) -> None:
    kinds = {label["kind"] for label in simulated.labels}
    assert kinds == {*ALL_INCIDENTS, *StatementError} - {IncidentKind.WRONG_STATEMENT}
    started = [datetime.fromisoformat(label["started"]) for label in simulated.labels]
    assert started == sorted(started)
    assert all(it.tzinfo == UTC for it in started)
    assert len({tuple(label) for label in simulated.labels}) == 1


def test_an_outage_fails_most_calls(simulated: Simulated) -> None:
    calls, during = simulated.calls, simulated.during("outage")
    failed = calls["error"].notna() | (calls["kind"] == "SERVER")
    assert share(failed, during) > 0.8
    assert int((failed & during).sum()) == simulated.label("outage")["calls"]
    elsewhere = failed[~during].groupby(calls["started"][~during].dt.floor("25min"))
    assert elsewhere.mean()[elsewhere.size() > 200].max() < 0.05


def test_a_slow_database_takes_six_times_as_long(simulated: Simulated) -> None:
    calls, during = simulated.calls, simulated.during("slow_database")
    for endpoint in ("send", "verify"):
        of = (calls["endpoint"] == endpoint) & calls["error"].isna() & (calls["kind"] != "SERVER")
        usual = calls["latency_ns"][of & simulated.quietly()].median()
        assert 5.5 < calls["latency_ns"][of & during].median() / usual < 7.5
        hours = calls[of & ~during].groupby(calls["started"].dt.floor("h"))["latency_ns"]
        assert (hours.median()[hours.size() > 100] / usual).between(0.75, 1.35).all()


def test_pumping_sends_to_one_rare_prefix_and_nobody_verifies(simulated: Simulated) -> None:
    label, calls = simulated.label("pumping"), simulated.calls
    to = (calls["prefix"] == label["prefix"]) & (calls["app_key"] == label["app_key"])
    pumped = calls[to & simulated.during("pumping")]
    assert label["calls"] == len(pumped) >= 0.9 * label["changed"]["messages"] > 200
    assert (to & ~simulated.during("pumping")).sum() <= 2
    assert pumped["mobile_key"].nunique() == len(pumped)
    assert set(pumped["temp_id"].dropna()) <= {label["temp_id"], 9}
    verified = calls[(calls["endpoint"] == "verify")]["msg_id"].isin(pumped["msg_id"].dropna())
    assert verified.sum() <= 2  # somebody has one of these numbers


def test_a_brute_force_guesses_the_codes_of_a_few_mobiles(simulated: Simulated) -> None:
    label, calls = simulated.label("brute_force"), simulated.calls
    messages = calls[calls["mobile_key"].isin(label["changed"]["mobile_keys"])]["msg_id"].dropna()
    guesses = calls[(calls["endpoint"] == "verify") & calls["msg_id"].isin(messages)]
    during = guesses[simulated.during("brute_force")[guesses.index]]
    assert (label["calls"], label["changed"]["mobiles"]) == (len(during), 3)
    assert {ReturnCode.INVALID_CODE, ReturnCode.EXPIRED_CODE} <= set(during["return_code"].dropna())
    assert during.groupby("msg_id").size().median() == label["changed"]["guesses_a_message"]
    tries = calls[(calls["endpoint"] == "verify") & ~calls["msg_id"].isin(messages)].groupby("msg_id").size()
    assert tries.max() < label["changed"]["guesses_a_message"] / 2


def test_a_lowered_limit_refuses_more_sends(simulated: Simulated) -> None:
    calls, during = simulated.calls, simulated.during("limit_lowered")
    sends = calls["endpoint"] == "send"
    refused = calls["return_code"].eq(ReturnCode.OUT_OF_FREQ).fillna(False)
    ratio = share(refused, sends & during) / share(refused, sends & simulated.quietly())
    assert 1.3 < ratio < 3
    assert (simulated.label("limit_lowered")["changed"]) == {"rule": "5/3600s", "becomes": "2/3600s"}


def test_a_badly_rotated_key_refuses_one_apps_calls(simulated: Simulated) -> None:
    label, calls = simulated.label("key_rotated_badly"), simulated.calls
    refused = calls["return_code"].eq(ReturnCode.AUTH_FAILED).fillna(False)
    of_app = simulated.during("key_rotated_badly") & (calls["app_key"] == label["app_key"])
    assert share(refused, of_app) > 0.95
    assert int(refused.sum()) == int((refused & of_app).sum()) == label["calls"]
