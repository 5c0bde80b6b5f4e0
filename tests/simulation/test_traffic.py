"""What the records of a simulation are like: as the contract has it, and as real clients write them."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.simulated import Simulated

from toolkit.api.defaults import TRIES, TTL_S
from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import Kind, ReturnCode, kind_of
from toolkit.records.call_record import Failure
from toolkit.simulation import SimulationPlan, simulate
from toolkit.simulation.plan import random_stream
from toolkit.simulation.prefixes import Prefixes
from toolkit.simulation.traffic import generate_days

S = 1_000_000_000
MOBILE = re.compile(r"(?<!\d)(?:\+?86)?1[3-9]\d{9}(?!\d)")
FAILURES = Rule(30, 3600)


def sends(simulated: Simulated) -> pd.DataFrame:
    return simulated.calls[simulated.calls["endpoint"] == "send"]


def verifies(simulated: Simulated) -> pd.DataFrame:
    return simulated.calls[simulated.calls["endpoint"] == "verify"]


def is_over(rules: Iterable[Rule], times_ns: list[int], now_ns: int) -> bool:
    return any(sum(at + rule.window_s * S > now_ns for at in times_ns) >= rule.count for rule in rules)


# The contract.


def test_a_send_is_refused_exactly_when_it_exceeds_a_rate_limit(simulated: Simulated) -> None:
    label = simulated.label("limit_lowered")
    lowered_ns = pd.Timestamp(label["started"]).value
    before = simulated.plan.rules
    after = [Rule.parse(label["changed"]["becomes"]) if str(it) == label["changed"]["rule"] else it for it in before]
    assert after != list(before)
    accepted: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    judged = sends(simulated)[sends(simulated)["return_code"].isin([ReturnCode.SUCCESS, ReturnCode.OUT_OF_FREQ])]
    columns = (judged[name].tolist() for name in ("app_key", "mobile_key", "started_ns", "return_code"))
    for app_key, mobile_key, now_ns, return_code in zip(*columns, strict=True):
        times_ns = accepted[app_key, mobile_key]
        over = is_over(after if now_ns >= lowered_ns else before, times_ns, now_ns)
        assert return_code == (ReturnCode.OUT_OF_FREQ if over else ReturnCode.SUCCESS)
        times_ns += [now_ns] * (not over)


def test_verifies_have_the_outcomes_of_the_contract(simulated: Simulated) -> None:
    calls = simulated.calls[simulated.calls["msg_id"].notna() & (simulated.calls["kind"] != Kind.SERVER)]
    calls = calls[calls["error"].isna() & (calls["return_code"] != ReturnCode.AUTH_FAILED)]
    sent: dict[str, tuple[int, tuple[str, int]]] = {}
    tries: defaultdict[str, int] = defaultdict(int)
    failures: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    verified: set[str] = set()
    names = ("endpoint", "msg_id", "started_ns", "return_code", "app_key", "mobile_key")
    columns = (calls[name].tolist() for name in names)
    for endpoint, msg_id, now_ns, return_code, app_key, mobile_key in zip(*columns, strict=True):
        if endpoint == "send":
            sent[msg_id] = now_ns, (app_key, mobile_key)
            continue
        sent_ns, mobile = sent[msg_id]
        if is_over([FAILURES], failures[mobile], now_ns):
            assert return_code == ReturnCode.OUT_OF_FREQ
        elif msg_id in verified:
            assert return_code == ReturnCode.VERIFIED_CODE
        elif now_ns >= sent_ns + TTL_S * S or tries[msg_id] >= TRIES:
            assert return_code == ReturnCode.EXPIRED_CODE
        elif return_code == ReturnCode.SUCCESS:
            verified.add(msg_id)
        else:
            assert return_code == ReturnCode.INVALID_CODE
            tries[msg_id] += 1
            failures[mobile].append(now_ns)


def test_a_verify_follows_a_send_of_the_same_app(simulated: Simulated) -> None:
    sent = sends(simulated).dropna(subset="msg_id").set_index("msg_id")
    assert sent.index.is_unique
    calls = verifies(simulated)
    of = sent.loc[calls["msg_id"]]
    assert (calls["started_ns"].to_numpy() > (of["started_ns"] + of["latency_ns"]).to_numpy()).all()
    assert calls["app_key"].tolist() == of["app_key"].tolist()


# The records.


def test_a_send_has_the_columns_that_a_client_records(simulated: Simulated) -> None:
    calls = sends(simulated)
    accepted = calls["return_code"].eq(ReturnCode.SUCCESS).fillna(False)
    assert (calls["msg_id"].notna() == accepted).all()
    assert (calls["msg_key"].notna() == accepted).all()
    assert (calls["segments"].notna() == accepted).all()
    assert calls[["mobile_key", "temp_id", "app_key", "source"]].notna().all(axis=None)
    no_mobile = calls["return_code"].isin([ReturnCode.MISSING_MOBILE, ReturnCode.INVALID_MOBILE])
    assert (calls["prefix"].isna() == no_mobile).all()


def test_a_verify_has_the_columns_that_a_client_records(simulated: Simulated) -> None:
    calls = verifies(simulated)
    assert calls[["msg_id", "msg_key", "app_key", "source"]].notna().all(axis=None)
    assert calls[["mobile_key", "prefix", "temp_id", "segments"]].isna().all(axis=None)


def test_status_return_code_kind_and_error_are_consistent(simulated: Simulated) -> None:
    columns = ["http_status", "return_code", "kind", "error"]
    seen = simulated.calls[columns].drop_duplicates().astype(object)
    for http_status, return_code, kind, error in seen.where(seen.notna(), None).itertuples(index=False):
        if error is None:
            assert (http_status, kind) == (ReturnCode(return_code).http_status, kind_of(return_code))
        else:
            assert (return_code, kind, error in list(Failure)) == (None, None, True)
            assert http_status == (502 if error == Failure.PROTOCOL else None)


def test_a_msg_id_is_a_uuid_and_has_the_key_of_records(simulated: Simulated) -> None:
    some = simulated.calls.dropna(subset="msg_id").sample(2_000, random_state=1)
    for msg_id, key in zip(some["msg_id"], some["msg_key"], strict=True):
        assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", msg_id)
        digest = hashlib.blake2b(msg_id.encode(), digest_size=8).digest()
        assert key == int.from_bytes(digest, "big", signed=True)


def test_no_file_contains_a_whole_mobile(simulated: Simulated) -> None:
    columns = simulated.calls.drop(columns=["msg_id", "started"])  # a msg_id is chance: it could spell anything
    for name, column in columns.items():
        assert not column.drop_duplicates().dropna().astype(str).str.fullmatch(MOBILE).any(), name
    told = [path.read_text() for path in simulated.folder.glob("*.[jt]*")]
    assert len(told) == 3
    assert not any(MOBILE.search(text) for text in told)


def test_a_mobile_has_another_key_in_another_app(simulated: Simulated) -> None:
    calls = sends(simulated)
    assert (calls.groupby("mobile_key")["app_key"].nunique() == 1).all()


def test_a_mobile_is_used_in_several_apps() -> None:
    plan = SimulationPlan(days=1, calls=50_000, incidents=())
    (day,) = generate_days(plan, (), Prefixes.sample(random_stream(plan, "prefixes")))
    sends = pd.DataFrame({name: day.sends[name] for name in ("number", "app")})
    assert 100 < (sends.groupby("number")["app"].nunique() > 1).sum() < len(sends) / 10


# The traffic.


@pytest.mark.parametrize("endpoint", ["send", "verify"])
def test_quiet_days_are_alike(simulated: Simulated, endpoint: str) -> None:
    calls = simulated.calls[simulated.quietly() & (simulated.calls["endpoint"] == endpoint)]
    days = pd.crosstab(calls["started"].dt.date, calls["return_code"].astype(object).fillna("error"))
    shares = days.sum() / days.sum().sum()
    expected = np.outer(days.sum(axis=1), shares)
    apart = ((days - expected) ** 2 / expected).sum() / (len(days) - 1)
    assert len(days) >= 4
    assert (apart < 4).all(), apart  # 1 for mere chance


@pytest.mark.parametrize(
    ("endpoint", "return_code", "least", "most"),
    [
        ("send", ReturnCode.SUCCESS, 0.94, 0.98),
        ("send", ReturnCode.OUT_OF_FREQ, 0.02, 0.05),
        ("send", ReturnCode.INVALID_MOBILE, 0.002, 0.007),
        ("send", ReturnCode.MISSING_MOBILE, 0.0003, 0.002),
        ("send", ReturnCode.INVALID_TEMP_ID, 0.0002, 0.002),
        ("send", ReturnCode.SERVER_ERROR, 0.0001, 0.001),
        ("verify", ReturnCode.SUCCESS, 0.90, 0.96),
        ("verify", ReturnCode.INVALID_CODE, 0.03, 0.07),
        ("verify", ReturnCode.EXPIRED_CODE, 0.007, 0.025),
        ("verify", ReturnCode.VERIFIED_CODE, 0.003, 0.01),
    ],
)
def test_outcomes_have_realistic_shares(
    simulated: Simulated, endpoint: str, return_code: ReturnCode, least: float, most: float
) -> None:
    calls = simulated.calls[simulated.quietly() & (simulated.calls["endpoint"] == endpoint)]
    assert least < calls["return_code"].eq(return_code).fillna(False).mean() < most


def test_most_messages_are_verified_and_some_are_not(simulated: Simulated) -> None:
    quiet = simulated.calls[simulated.quietly() & simulated.calls["return_code"].eq(ReturnCode.SUCCESS).fillna(False)]
    by_endpoint = quiet["endpoint"].value_counts()
    assert 0.7 < by_endpoint["verify"] / by_endpoint["send"] < 0.88


def test_days_have_two_peaks_and_a_quiet_night_in_china(simulated: Simulated) -> None:
    hours = simulated.calls["started"].dt.tz_convert("Asia/Shanghai").dt.hour.value_counts()
    assert hours[[10, 11, 20]].min() > hours[[13, 17, 18]].max()
    assert hours[[3, 4, 5]].max() < hours.max() / 8


def test_apps_templates_and_prefixes_have_their_shares(simulated: Simulated) -> None:
    calls = sends(simulated)
    shares = calls["app_key"].value_counts(normalize=True)
    for app_key, share in {"shop": 0.56, "bank": 0.26, "game": 0.12, "ride": 0.02, "food": 0.02, "video": 0.02}.items():
        assert abs(shares[app_key] - share) < 0.02
    charged = calls.dropna(subset="segments").groupby("temp_id")["segments"].agg(["min", "max"])
    assert charged.T.to_dict("list") == {it: [2, 2] if it == 3 else [1, 1] for it in range(1, 9)}
    assert calls["prefix"].nunique() > 2_000
    assert simulated.calls["source"].nunique() == 10


def test_most_people_come_rarely_and_a_few_all_day(simulated: Simulated) -> None:
    times = sends(simulated)["mobile_key"].value_counts()
    assert times.median() == 1
    assert times.iloc[3:10].min() > 20  # three stand for no mobile, one of each app


@pytest.mark.parametrize("plan", [SimulationPlan(days=1, calls=100_000), SimulationPlan(days=3, calls=150_000, seed=2)])
def test_the_total_is_within_2_percent_of_the_plan(plan: SimulationPlan, tmp_path: Path, simulated: Simulated) -> None:
    assert abs(simulate(tmp_path, plan).calls / plan.calls - 1) < 0.02
    assert abs(len(simulated.calls) / simulated.plan.calls - 1) < 0.02
