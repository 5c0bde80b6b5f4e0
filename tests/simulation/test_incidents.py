"""The schedule of incidents, and their effects on the calls."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.simulated import Simulated, read

from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.simulation import ALL_INCIDENTS, IncidentKind, SimulationPlan, simulate
from toolkit.simulation.apps import APPS, HOSTS
from toolkit.simulation.billing_statement import StatementError
from toolkit.simulation.incidents import (
    CALENDAR_KINDS,
    DURATION_MINUTES,
    SKEW_S,
    SKEWED_HOST,
    find,
    lowered_limit,
    schedule,
)
from toolkit.simulation.plan import DAY_NS

_NOT_IN_NOVEMBER = {IncidentKind.WRONG_STATEMENT, IncidentKind.PUBLIC_HOLIDAY}

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
    happening = [it for it in happening if it.kind not in CALENDAR_KINDS]
    days = [(it.started_ns - plan.start_ns) // DAY_NS for it in happening]
    assert len(set(days)) == len(days)
    assert all(0 < day < plan.days - 1 for day in days) or plan.days < 3
    for it in happening:
        ends_ns = it.started_ns // DAY_NS * DAY_NS + DAY_NS
        assert it.ended_ns <= ends_ns if it.kind in DURATION_MINUTES else it.started_ns % DAY_NS == 0


@given(PLANS)
def test_the_first_planned_incidents_happen_if_days_run_out(plan: SimulationPlan) -> None:
    asked = [kind for kind in plan.incidents if kind not in {IncidentKind.WRONG_STATEMENT, *CALENDAR_KINDS}]
    room = max(1, plan.days - 2)
    assert {it.kind for it in schedule(plan)} - set(CALENDAR_KINDS) == set(asked[:room])


@given(PLANS)
def test_a_lowered_limit_is_the_last_incident(plan: SimulationPlan) -> None:
    happening = schedule(plan)
    if limit := find(happening, IncidentKind.LIMIT_LOWERED):
        assert all(it.started_ns <= limit.started_ns for it in happening if it.kind not in CALENDAR_KINDS)
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
    assert kinds == {*simulated.plan.incidents, *StatementError} - _NOT_IN_NOVEMBER
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
    assert (to & ~simulated.during("pumping")).sum() <= 5
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


def test_an_empty_balance_refuses_the_sends_of_one_app(simulated: Simulated) -> None:
    label, calls = simulated.label("balance_empty"), simulated.calls
    refused = calls["return_code"].eq(ReturnCode.NO_MONEY).fillna(False)
    of_app = simulated.during("balance_empty") & (calls["app_key"] == label["app_key"]) & (calls["endpoint"] == "send")
    assert share(refused, of_app) > 0.95
    assert int(refused.sum()) == int((refused & of_app).sum()) == label["calls"] > 50


def test_a_bombing_sends_to_one_mobile_through_every_app(simulated: Simulated) -> None:
    label, calls = simulated.label("bombing"), simulated.calls
    sends = calls[calls["mobile_key"].isin(label["changed"]["mobile_keys"]) & simulated.during("bombing")]
    assert label["calls"] == len(sends) > 150
    assert set(sends["app_key"]) == {app.app_key for app in APPS}
    assert sends["prefix"].dropna().nunique() == 1
    accepted = sends[sends["return_code"].eq(ReturnCode.SUCCESS).fillna(False)]
    assert 25 <= len(accepted) <= 5 * sends["temp_id"].nunique()  # 5 an hour and app
    assert not calls["msg_id"][calls["endpoint"] == "verify"].isin(accepted["msg_id"]).any()


@pytest.mark.parametrize(("kind", "times"), [("campaign", 2.0), ("flash_sale", 3.0)])
def test_a_burst_brings_many_people_at_once(simulated: Simulated, kind: str, times: float) -> None:
    label, calls = simulated.label(kind), simulated.calls
    sends = calls[(calls["endpoint"] == "send") & (calls["temp_id"] == label["temp_id"])]
    started = pd.Timestamp(label["started"])
    hour = sends["started"].between(started, started + pd.Timedelta("1h"))
    usual = sends["started"].dt.floor("h")[simulated.quietly()[sends.index]].value_counts()
    same_hour = usual[usual.index.hour == started.hour].mean()
    assert hour.sum() > times * same_hour
    assert 0 < label["calls"] <= len(sends[simulated.during(kind)[sends.index]])


def test_a_flash_sale_begins_at_midnight_in_china_on_11_november() -> None:
    (sale,) = (it for it in schedule(SimulationPlan()) if it.kind is IncidentKind.FLASH_SALE)
    started = pd.Timestamp(sale.started_ns, tz="UTC").tz_convert("Asia/Shanghai")
    assert started == pd.Timestamp("2026-11-11", tz="Asia/Shanghai")
    assert sale.ended_ns - sale.started_ns == DAY_NS


def test_public_holidays_are_calmer(tmp_path: Path) -> None:
    plan = SimulationPlan(
        days=14, calls=60_000, start=date(2026, 9, 24), incidents=(IncidentKind.PUBLIC_HOLIDAY,), growth_per_day=0.0
    )
    simulated = run(tmp_path, plan)
    assert [label["started"][:16] for label in simulated.labels] == ["2026-09-24T16:00", "2026-09-30T16:00"]
    days = simulated.calls["started"].dt.tz_convert("Asia/Shanghai").dt.date.astype(str).value_counts()
    assert days["2026-10-02"] < 0.85 * days["2026-09-29"]
    assert days["2026-09-26"] < 0.95 * days["2026-09-29"]


def test_traffic_grows_as_planned(tmp_path: Path) -> None:
    calls = run(tmp_path, SimulationPlan(days=15, calls=90_000, incidents=(), growth_per_day=0.02)).calls
    days = calls["started"].dt.date.value_counts().sort_index()
    assert 1.2 < days.iloc[14] / days.iloc[0] < 1.5  # 1.32, and the noise of two Sundays


def test_a_skewed_clock_shifts_the_times_of_one_host(tmp_path: Path) -> None:
    plan = SimulationPlan(days=1, calls=20_000, incidents=(IncidentKind.CLOCK_SKEW,))
    right, skewed = run(tmp_path / "right", replace(plan, incidents=())), run(tmp_path / "skewed", plan)
    label = skewed.label("clock_skew")
    assert (label["source"], label["changed"]) == (HOSTS[SKEWED_HOST], {"skew_s": SKEW_S})
    joined = right.calls.merge(skewed.calls, on=["msg_id", "endpoint", "latency_ns"], suffixes=("", "_skewed"))
    shift_s = (joined["started_ns_skewed"] - joined["started_ns"]) / 1e9
    started, ended = pd.Timestamp(label["started"]), pd.Timestamp(label["ended"])
    during = (joined["started"] >= started) & (joined["started"] < ended) & (joined["source"] == label["source"])
    assert len(joined) > 15_000
    assert set(shift_s[during]) == {SKEW_S}
    assert set(shift_s[~during]) == {0}
    assert label["calls"] >= during.sum() > 500


def run(folder: Path, plan: SimulationPlan) -> Simulated:
    simulate(folder, plan)
    return read(folder, plan)
