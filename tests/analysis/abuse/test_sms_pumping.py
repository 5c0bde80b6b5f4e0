import math
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import in_an_engine

from toolkit import analysis
from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
START = 1_793_966_400 * SECOND  # 2026-11-06 12:00:00 UTC
FIGURES = [
    *(
        "sends",
        "sends_ratio",
        "verified",
        "conversion_ratio",
        "conversion_ratio_elsewhere",
        "peak_at",
        "peak_sends",
        "peak_verified",
    ),
    *("peak_expected", "run_ratio", "run_ratio_expected", "conversion_score", "burst_score", "runs_score"),
]


def _wilson(found, calls):
    """The ends of the interval of three standard deviations."""
    share, spread = found / calls, 9 / calls
    reach = 3 * math.sqrt(share * (1 - share) / calls + spread / (4 * calls))
    ends = ((share + spread / 2 + sign * reach) / (1 + spread) for sign in (-1, 1))
    low, high = ends
    return (0.0 if found == 0 else low), (1.0 if found == calls else high)


def _ratio(part, whole):
    return part / whole if whole > 0 else math.nan


def _unit(value):
    return 0.0 if math.isnan(value) else min(max(value, 0.0), 1.0)


def _slow_suspects(records):
    """Each figure by itself, from its definition."""
    sends = [it for it in records if it.endpoint == "send" and it.return_code == 50000 and it.prefix]
    typed = [it for it in records if it.endpoint == "verify" and it.return_code == 50000]
    typed_keys = {it.msg_key for it in typed if it.msg_key is not None}
    runs = Counter()
    by_hour = defaultdict(list)
    for it in sends:
        by_hour[it.app_key, it.started_ns // HOUR].append(it)
    for rows in by_hour.values():
        rows.sort(key=lambda it: (it.started_ns, int(it.prefix), it.mobile_key))
        for last, it in pairwise(rows):
            runs[it.prefix] += int(it.prefix) - int(last.prefix) in (0, 1) and it.mobile_key != last.mobile_key
    sent = Counter(it.prefix for it in sends)
    verified = Counter(it.prefix for it in sends if it.msg_key in typed_keys)
    all_sent, all_typed = (Counter(it.started_ns // HOUR for it in rows) for rows in (sends, typed))
    whole, whole_verified = len(sends), sum(verified.values())
    found = {}
    for prefix in sent:
        theirs = [it for it in sends if it.prefix == prefix]
        hours = defaultdict(lambda: [0, 0])
        for it in theirs:
            hours[it.started_ns // HOUR][it.msg_key in typed_keys] += 1
        peak = max(hours, key=lambda hour: (*hours[hour], hour))
        lost, good = hours[peak]
        others = all_sent[peak] - lost - good
        others_typed = max(all_typed[peak] - good, 0)
        others_lost_then = max(others - others_typed, 0)
        lost_in_all = sent[prefix] - verified[prefix]
        others_lost = max(whole - whole_verified - lost_in_all - others_lost_then, 0)
        expected = (lost_in_all - lost) * others_lost_then / others_lost if others_lost > others_lost_then else math.nan
        elsewhere = _ratio(whole_verified - verified[prefix], whole - sent[prefix])
        then = min(_ratio(others_typed, others), 1) if others else math.nan
        by_chance = (sent[prefix] + sent[str(int(prefix) - 1)]) / whole
        lacks = [
            _unit(1 - _wilson(good_, all_)[1] / rest) if rest > 0 else 0.0
            for good_, all_, rest in ((verified[prefix], sent[prefix], elsewhere), (good, lost + good, then))
        ]
        times = max(lost - 3 * math.sqrt(lost), 1) / (expected + 3 * math.sqrt(expected) + 1)
        found[prefix] = [
            *(sent[prefix], sent[prefix] / whole, verified[prefix], verified[prefix] / sent[prefix], elsewhere),
            *(peak * HOUR, lost + good, good, expected, runs[prefix] / sent[prefix], by_chance),
            *(40 * max(lacks), 30 * _unit(math.log(times) / math.log(30) if times > 0 else math.nan)),
            30 * _unit((_wilson(runs[prefix], sent[prefix])[0] - by_chance) / 0.3),
        ]
    return found


@st.composite
def _logs(draw, call):
    """Sends to a few neighbouring prefixes within some hours, with ties, of which some are verified."""
    records = []
    for key in range(draw(st.integers(0, 30))):
        sent = {
            "started_ns": START + draw(st.integers(0, 4)) * HOUR + draw(st.integers(0, 5)) * SECOND,
            "prefix": draw(st.sampled_from(["1380000", "1380001", "1380003", "1590000"])),
            "mobile_key": draw(st.integers(1, 4)),
            "app_key": draw(st.sampled_from(["a", "b"])),
            "code": draw(st.sampled_from([50000, 50000, 50000, 50009])),
        }
        records.append(call(msg_key=2**60 + key, **sent))
        at = {"msg_key": 2**60 + key, "started_ns": sent["started_ns"] + HOUR // 2}
        codes = draw(st.lists(st.sampled_from([50000, 50010]), max_size=1))
        records += [call(Endpoint.VERIFY, code, **at) for code in codes]
    return records


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_suspects_equal_a_slow_computation_of_each_figure(data, call):
    records = data.draw(_logs(call))
    found = analysis.suspects(in_an_engine(records), all_prefixes=True)
    expected = _slow_suspects(records)
    assert set(found["prefix"]) == set(expected)
    for row in found.assign(peak_at=found["peak_at"].astype("int64")).to_dict("records"):
        figures = [float(row[name]) for name in FIGURES]
        assert figures == pytest.approx(expected[row["prefix"]], nan_ok=True, abs=1e-9)
    parts = found["conversion_score"] + found["burst_score"] + found["runs_score"]
    assert found["score"].tolist() == pytest.approx(parts.tolist())
    assert found["score"].is_monotonic_decreasing


def _sends(rng, prefix, count, hours, conversion, mobiles=10_000):
    """Draw sends to a prefix within some hours, with whether they were verified."""
    low, high = hours
    return pd.DataFrame(
        {
            "started_ns": START + (rng.uniform(low, high, count) * HOUR).astype(np.int64),
            "prefix": prefix,
            "mobile_key": rng.integers(0, mobiles, count) + int(prefix) * 10_000,
            "typed": rng.random(count) < conversion,
        }
    )


def _as_calls(*sends):
    """Make the calls of sends, and of the verifies of those that were verified."""
    rows = pd.concat(sends, ignore_index=True)
    rows = rows.assign(endpoint="send", return_code=50000, latency_ns=1, msg_key=np.arange(len(rows)), app_key="a")
    verifies = rows[rows.pop("typed")].assign(endpoint="verify", prefix=None, mobile_key=pd.NA)
    verifies["started_ns"] += 20 * SECOND
    calls = pd.concat([rows.astype({"mobile_key": "Int64"}), verifies.astype({"mobile_key": "Int64"})])
    return calls.reset_index(drop=True)


def _ordinary(rng, days=4):
    """A thousand prefixes of people, one of them as busy as a hundred others."""
    prefixes = [str(1_380_000 + 7 * place) for place in range(1000)]
    sizes = rng.poisson(20 * rng.dirichlet(np.full(1000, 2.0)) * 1000)
    sizes[0] = 2000
    return [_sends(rng, *it, (0, 24 * days), 0.8) for it in zip(prefixes, sizes, strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_traffic_is_not_flagged(seed):
    rng = np.random.default_rng(seed)
    tiny = [_sends(rng, "1990001", 3, (50, 50.1), 0.0), _sends(rng, "1990011", 12, (0, 96), 0.0)]
    found = analysis.suspects(_as_calls(*_ordinary(rng), *tiny), all_prefixes=True)
    assert not found["flagged"].any()
    assert found["score"].max() < 40


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [150, 3000])
def test_only_the_attacked_prefix_is_flagged(count, seed):
    rng = np.random.default_rng(seed)
    found = analysis.suspects(_as_calls(*_ordinary(rng), _sends(rng, "1990001", count, (50, 52), 0.0)))
    assert found["prefix"].tolist() == ["1990001"]


def test_days_of_the_peak_begin_at_midnight_of_the_time_zone():
    rng = np.random.default_rng(1)
    calls = _as_calls(*_ordinary(rng), _sends(rng, "1990001", 300, (3, 6), 0.0))  # 23:00 to 02:00 in Shanghai
    found = analysis.suspects(calls, every="1D", timezone="Asia/Shanghai")
    assert found["peak_at"].tolist() == [pd.Timestamp("2026-11-07", tz="Asia/Shanghai")]
    is_then = (calls["prefix"] == "1990001") & (calls["started_ns"] >= START + 4 * HOUR)
    assert found["peak_sends"].tolist() == [is_then.sum()]
    assert str(found["peak_at"].dtype) == "datetime64[ns, UTC]"


def test_an_attack_on_a_busy_prefix_is_flagged():
    rng = np.random.default_rng(1)
    found = analysis.suspects(
        _as_calls(*_ordinary(rng), _sends(rng, "1380000", 1500, (50, 52), 0.0)), all_prefixes=True
    )
    assert found.loc[found["flagged"], "prefix"].tolist() == ["1380000"]


def test_an_attack_that_walks_from_prefix_to_prefix_is_flagged_in_each():
    rng = np.random.default_rng(1)
    walk = [_sends(rng, str(1_990_000 + step), 300, (50 + step / 2, 50.5 + step / 2), 0.02) for step in range(6)]
    found = analysis.suspects(_as_calls(*_ordinary(rng), *walk), all_prefixes=True)
    assert sorted(found.loc[found["flagged"], "prefix"]) == [str(1_990_000 + step) for step in range(6)]


def test_a_campaign_and_a_carrier_that_loses_messages_are_not_flagged():
    rng = np.random.default_rng(1)
    campaign, silent = _sends(rng, "1990001", 2000, (50, 52), 0.8), _sends(rng, "1990011", 2000, (0, 96), 0.0)
    found = analysis.suspects(_as_calls(*_ordinary(rng), campaign, silent), all_prefixes=True).set_index("prefix")
    assert not found.loc[["1990001", "1990011"], "flagged"].any()
    assert found.loc["1990011", "conversion_score"] > 39  # ranked, so that it is seen


def test_an_hour_without_successful_verifies_flags_no_prefix():
    rng = np.random.default_rng(1)
    sends = pd.concat(_ordinary(rng), ignore_index=True)
    sends["typed"] &= ~sends["started_ns"].between(START + 50 * HOUR, START + 51 * HOUR)
    assert not analysis.suspects(_as_calls(sends), all_prefixes=True)["flagged"].any()


def test_an_invalid_bucket_width_is_an_input_error(call):
    calls = analysis.from_records([call(prefix="1380000", msg_key=1)])
    with pytest.raises(InputError, match="invalid bucket width"):
        analysis.suspects(calls, every="soon", all_prefixes=True)


def test_no_calls_give_no_rows_and_the_same_columns(call):
    none, some = analysis.from_records([]), analysis.from_records([call(prefix="1380000", msg_key=1, mobile_key=1)])
    assert analysis.suspects(none, all_prefixes=True).empty
    assert (
        analysis.suspects(none, all_prefixes=True).dtypes.astype(str).tolist()
        == analysis.suspects(some, all_prefixes=True).dtypes.astype(str).tolist()
    )
