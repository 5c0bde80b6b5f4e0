import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.limited import DAY_S, START_S, Clock, FirstSend, Sliding, decide, hammered, ordinary

from toolkit import analysis
from toolkit.analysis.calls_table import lazy
from toolkit.analysis.rate_limits.candidates import AttemptSlice, RuleFamily, WindowShape, score_sends, sliding_families
from toolkit.analysis.rate_limits.rule_cover import cover_refusals
from toolkit.analysis.rate_limits.send_attempts import collect_attempts
from toolkit.api.errors import InputError

API = (Sliding(1, 60), Sliding(5, 3600), Sliding(10, 86_400))
NS = 1_000_000_000


def _always(*rules):
    return lambda now, mobile: rules


def _found(limits):
    """Return the rules of each app and period: (count, window, shape if it doesn't slide)."""
    return [
        {
            (int(count), window_s, *([] if shape in ("sliding", "undecided") else [shape]))
            for count, window_s, shape in part[["max_sends", "window_s", "window_shape"]].itertuples(index=False)
            if not pd.isna(count)
        }
        for _, part in limits.groupby(["app_key", "since"], dropna=False, observed=True)
    ]


def _tries(rng, mobiles=40, every_s=100, hours=6):
    return ordinary(rng, 4000, 2000) + hammered(rng, range(2000, 2000 + mobiles), every_s, hours)


def _left(limits):
    return limits.loc[limits["max_sends"].isna(), "refusals"].tolist()


def test_the_apis_rules_are_found_and_explain_everything():
    rng = np.random.default_rng(1)
    found = analysis.limits(decide(_tries(rng), _always(*API), rng))
    assert _found(found) == [{(1, 60), (5, 3600), (10, 86_400)}]
    assert _left(found) == [0]
    rules = found[found["max_sends"].notna()]
    assert (rules["window_low_s"] <= rules["window_s"]).all()
    assert (rules["window_s"] <= rules["window_high_s"]).all()
    assert (rules["window_high_s"] / rules["window_low_s"] < 1.01).all()
    assert rules["window_shape"].tolist() == ["sliding"] * 3
    assert (rules["broken_by"] == 0).all()


def test_the_windows_of_a_clock_that_ran_faster_are_its_own():
    rng = np.random.default_rng(1)
    calls = decide(_tries(rng), _always(Sliding(1, 60), Sliding(5, 3600)), rng)
    begun_ns = calls["started_ns"].min()
    as_recorded = calls.assign(
        started_ns=begun_ns + (calls["started_ns"] - begun_ns) // 60, latency_ns=calls["latency_ns"] // 60
    )
    found = analysis.limits(as_recorded, speed=60)
    assert _found(found) == [{(1, 60), (5, 3600)}]
    assert _left(found) == [0]
    assert found["since"].iloc[0].value == pytest.approx(begun_ns, abs=60 * NS)
    assert found["until"].max().value <= as_recorded["started_ns"].max() + NS
    most = analysis.most_accepted(as_recorded, ["1min", "1h"], speed=60)
    assert most["most_accepted"].tolist() == [1, 5]
    assert most["reached_at"].max().value <= as_recorded["started_ns"].max()


def test_refusals_are_counted_by_rule_and_by_rule_alone():
    rng = np.random.default_rng(1)
    calls = decide(_tries(rng), _always(Sliding(1, 60), Sliding(5, 3600)), rng)
    found = analysis.limits(calls)
    whole = int((calls["return_code"] == 50009).sum())
    both = found["refusals"][0] - found["alone"][0]
    assert found["refusals"][1] - found["alone"][1] == both
    assert found["alone"][0] + found["alone"][1] + both == whole


def test_each_row_says_how_many_of_all_refusals_it_explains():
    rng = np.random.default_rng(1)
    calls = decide(_tries(rng), _always(*API), rng, refused_ratio=0.02)
    found = analysis.limits(calls)
    assert set(found["refused"]) == {int((calls["return_code"] == 50009).sum())}
    assert 0 < _left(found)[0] < found["refused"].iloc[0]


@pytest.mark.parametrize(
    ("rules", "more", "expected"),
    [
        ([Sliding(3, 600)], (20, 120, 3), {(3, 600)}),
        ([Sliding(200, 86_400)], (3, 250, 60), {(200, 86_400)}),
        ([Sliding(200, 86_400)], (5, 420, 27), {(200, 86_400)}),
        ([Sliding(2, 300), Sliding(3, 1800)], (0, 1, 1), {(2, 300), (3, 1800)}),
        ([Clock(5, 3600)], (30, 300, 12), {(5, 3600, "clock")}),
        ([Sliding(1, 60), Clock(10, 86_400)], (30, 1000, 50), {(1, 60), (10, 86_400, "clock")}),
        ([Clock(10, 86_400, 57_600)], (30, 1000, 50), {(10, 86_400, "clock")}),
        ([FirstSend(5, 3600)], (30, 300, 12), {(5, 3600, "first send")}),
    ],
)
def test_the_exact_rules_are_found(rules, more, expected):
    rng = np.random.default_rng(2)
    found = analysis.limits(decide(_tries(rng, *more), _always(*rules), rng))
    assert _found(found) == [expected]
    assert _left(found) == [0]


def test_a_day_that_begins_in_china_is_noted():
    rng = np.random.default_rng(1)
    found = analysis.limits(decide(_tries(rng, 30, 1000, 50), _always(Clock(10, 86_400, 57_600)), rng))
    assert found["note"][0] == "begins at 16:00 UTC"


@pytest.mark.parametrize(
    "noise", [{"skew_ms": 40}, {"refused_ratio": 0.02}, {"leak_ratio": 0.005}, {"lost_ratio": 0.01}]
)
@pytest.mark.parametrize("seed", range(2))
def test_noise_hides_no_rule_and_adds_none(noise, seed):
    rng = np.random.default_rng(seed)
    found = analysis.limits(decide(_tries(rng), _always(*API), rng, **noise))
    assert _found(found) == [{(1, 60), (5, 3600), (10, 86_400)}]


def test_clock_skew_is_tolerated():
    rng = np.random.default_rng(1)
    found = analysis.limits(decide(_tries(rng), _always(Sliding(1, 60)), rng, skew_ms=40))
    assert (_left(found), found["broken_by"].tolist()) == ([0], [0, 0])


def test_breaches_of_a_rule_are_counted():
    rng = np.random.default_rng(1)
    found = analysis.limits(decide(_tries(rng), _always(Sliding(1, 60)), rng, leak_ratio=0.02))
    assert _found(found) == [{(1, 60)}]
    assert found["broken_by"][0] > 0


@pytest.mark.parametrize("ratio", [0.02, 0.2])
def test_random_refusals_imply_no_rule(ratio):
    rng = np.random.default_rng(1)
    calls = decide(_tries(rng), _always(), rng, refused_ratio=ratio)
    found = analysis.limits(calls)
    assert _found(found) == [set()]
    assert _left(found) == [int((calls["return_code"] == 50009).sum())]


def test_without_refusals_there_are_no_rules():
    rng = np.random.default_rng(1)
    assert analysis.limits(decide(_tries(rng), _always(), rng)).empty


def test_apps_with_contradicting_rules_have_rows_of_their_own():
    rng = np.random.default_rng(1)
    rules = (Sliding(1, 120), Sliding(3, 3600)), (Sliding(1, 60), Sliding(5, 3600))
    calls = decide(_tries(rng), lambda _, mobile: rules[mobile % 2], rng, app=lambda mobile: f"app-{mobile % 2}")
    found = analysis.limits(calls)
    assert found["app_key"].drop_duplicates().tolist() == ["app-0", "app-1"]
    assert _found(found) == [{(1, 120), (3, 3600)}, {(1, 60), (5, 3600)}]


def test_apps_with_the_same_rules_share_rows():
    rng = np.random.default_rng(1)
    found = analysis.limits(decide(_tries(rng), _always(*API), rng, app=lambda mobile: f"app-{mobile % 2}"))
    assert found["app_key"].isna().all()


@pytest.mark.parametrize(("before", "after"), [(5, 2), (2, 6)])
def test_changed_rules_have_their_periods(before, after):
    rng = np.random.default_rng(1)
    at = START_S + 1.3 * DAY_S
    changed = {True: (Sliding(1, 60), Sliding(before, 3600)), False: (Sliding(1, 60), Sliding(after, 3600))}
    found = analysis.limits(decide(_tries(rng), lambda now, _: changed[now < at], rng))
    assert _found(found) == [{(1, 60), (before, 3600)}, {(1, 60), (after, 3600)}]
    assert abs(found["since"].max() - pd.Timestamp(at, unit="s", tz="UTC")) < pd.Timedelta("30min")
    assert found["until"].min() == found["since"].max()


def test_a_change_is_dated_by_refusals_that_a_longer_window_of_the_old_rule_would_explain():
    rng = np.random.default_rng(1)
    change = START_S + 3 * DAY_S

    def bursts(first, begin, hours, minutes):
        begins = begin + rng.uniform(0, hours * 3600, 40)
        return [(it + 60 * (n + rng.random()), first + mobile) for mobile, it in enumerate(begins) for n in minutes]

    tries = bursts(0, START_S, 68, [0, 2, 4, 6, 8, 10, 215])  # no send bounds the window below 3.5 hours
    tries += bursts(100, change, 10, [-100, -98, 1, 3, 5, 7])  # 5 were accepted within 2 hours, but 3 within one
    tries += bursts(200, change + 36_000, 60, [0, 2, 4, 6, 8, 215])
    found = analysis.limits(decide(tries, lambda now, _: [Sliding(5 if now < change else 3, 3600)], rng))
    assert _found(found) == [{(5, 3600)}, {(3, 3600)}]
    assert abs(found["since"].max() - pd.Timestamp(change, unit="s", tz="UTC")) < pd.Timedelta("1h")


def test_a_window_without_a_round_length_has_bounds():
    rng = np.random.default_rng(1)
    row = analysis.limits(decide(_tries(rng), _always(Sliding(2, 77)), rng)).iloc[0]
    assert (row["max_sends"], pd.isna(row["window_s"])) == (2, True)
    assert 76 < row["window_low_s"] <= 77 <= row["window_high_s"] < 78


def test_one_mobile_tried_for_minutes_shows_a_rule():
    rng = np.random.default_rng(1)
    found = analysis.limits(decide([(START_S + it, 1) for it in range(0, 900, 10)], _always(Sliding(1, 60)), rng))
    assert _found(found) == [{(1, 60)}]


def test_a_refusal_or_two_imply_nothing():
    rng = np.random.default_rng(1)
    found = analysis.limits(decide([(START_S + it, 1) for it in (0, 10, 61)], _always(Sliding(1, 60)), rng))
    assert (_found(found), _left(found)) == ([set()], [1])


def test_unexplained_refusals_after_a_lost_response_are_noted():
    rng = np.random.default_rng(1)
    calls = decide(_tries(rng), _always(*API), rng, lost_ratio=0.02)
    assert "after a send whose response was lost" in analysis.limits(calls)["note"].iloc[-1]


def test_a_sample_of_mobiles_finds_the_same():
    rng = np.random.default_rng(1)
    calls = decide(_tries(rng), _always(*API), rng)
    found = analysis.limits(calls, most=4000)
    assert _found(found) == [{(1, 60), (5, 3600), (10, 86_400)}]
    assert "% of the mobiles that were refused a send" in found["note"].iloc[-1]


def test_verifies_out_of_frequency_are_another_rule(call):
    records = [call("verify", 50009, mobile_key=1), call(mobile_key=1)]
    assert analysis.limits(analysis.from_records(records)).empty


def test_without_calls_the_frame_is_empty_with_the_same_columns():
    rng = np.random.default_rng(1)
    none = analysis.limits(analysis.from_records([]))
    some = analysis.limits(decide([(START_S + it, 1) for it in range(0, 900, 10)], _always(Sliding(1, 60)), rng))
    assert none.empty
    expected = some.dtypes.astype(str).drop("app_key").tolist()
    assert none.dtypes.astype(str).drop("app_key").tolist() == expected


@settings(deadline=None)
@given(
    times=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 3)), min_size=1, max_size=30),
    window_s=st.sampled_from([1, 10, 60, 1000]),
)
def test_the_most_that_was_accepted_in_a_window_agrees_with_counting(times, window_s):
    frame = pd.DataFrame(times, columns=["second", "mobile_key"]).astype("Int64")
    started_ns = (START_S + frame["second"].astype("int64")) * NS
    calls = frame.assign(started_ns=started_ns, endpoint="send", latency_ns=0, return_code=50000, app_key="a")
    row = analysis.most_accepted(calls, [f"{window_s}s"], skew_ms=0).iloc[0]
    counts = {
        last: max(sum(mobile == of and last - window_s < it <= last for it, of in times) for mobile in (1, 2, 3))
        for last, _ in times
    }
    assert (row["window_s"], row["most_accepted"], row["app_key"]) == (window_s, max(counts.values()), "a")
    firsts = [last for last, count in counts.items() if count == max(counts.values())]
    assert row["reached_at"].value == (START_S + min(firsts)) * NS


def test_without_accepted_sends_most_accepted_is_0(call):
    none, some = (analysis.most_accepted(analysis.from_records(it)) for it in ([], [call(mobile_key=1, app_key="a")]))
    assert none["most_accepted"].tolist() == [0, 0, 0, 0]
    assert some["most_accepted"].tolist() == [1, 1, 1, 1]
    assert none["reached_at"].isna().all()
    assert none.dtypes.astype(str).drop("app_key").tolist() == some.dtypes.astype(str).drop("app_key").tolist()


def test_an_invalid_window_is_an_input_error():
    with pytest.raises(InputError, match="invalid bucket width"):
        analysis.most_accepted(analysis.from_records([]), ["soon"])


# The score of a send, compared with its definition.


@st.composite
def _sends(draw):
    """Sends of a few mobiles within two hours, that take no time: (second, mobile, accepted)."""
    send = st.tuples(st.integers(0, 7200), st.integers(1, 3), st.booleans())
    return draw(st.lists(send, max_size=25, unique_by=lambda it: it[:2]))


def _calls(sends):
    frame = pd.DataFrame(sends, columns=["second", "mobile_key", "accepted"]).astype({"mobile_key": "Int64"})
    return frame.assign(
        started_ns=(START_S + frame["second"].astype("int64")) * NS,
        endpoint="send",
        latency_ns=0,
        return_code=np.where(frame["accepted"].astype(bool), 50000, 50009),
    )


def _slice(sends):
    attempts = collect_attempts(lazy(_calls(sends)), 10**6, 0.0)
    return AttemptSlice(attempts, np.ones(len(attempts.accepted), bool), np.arange(len(attempts.refused)))


def _placed(sends, place):
    """Place each send by the accepted ones before it of its mobile; return the accepted and the refused, in order."""
    placed = {True: [], False: []}
    for now, mobile, accepted in sorted(sends, key=lambda it: (it[1], it[0])):
        before = sorted(second for second, other, good in sends if good and other == mobile and second < now)
        placed[accepted].append(place(now, before))
    return placed[True], placed[False]


@settings(deadline=None)
@given(sends=_sends(), count=st.integers(1, 4))
def test_the_score_in_a_sliding_family_is_the_age_of_the_count_th_last_accepted_send(sends, count):
    scores = score_sends(_slice(sends), RuleFamily(WindowShape.SLIDING, count))
    ages, refused = _placed(sends, lambda now, before: now - before[-count] if len(before) >= count else np.inf)
    assert scores.accepted.tolist() == [it for it in ages if it < np.inf]
    assert scores.refused.tolist() == refused


@settings(deadline=None)
@given(sends=_sends(), window_s=st.sampled_from([60, 600, 3600]), offset_s=st.sampled_from([0, 30]))
def test_the_score_in_a_clock_family_counts_the_sends_since_the_window_began(sends, window_s, offset_s):
    def place(now, before):
        begin = (now - offset_s) // window_s * window_s + offset_s
        return -sum(it >= begin for it in before)

    scores = score_sends(_slice(sends), RuleFamily(WindowShape.CLOCK, 0, window_s, offset_s))
    assert (scores.accepted.tolist(), scores.refused.tolist()) == _placed(sends, place)


@settings(deadline=None)
@given(sends=_sends(), window_s=st.sampled_from([60, 600, 3600]))
def test_the_score_in_a_first_send_family_counts_the_sends_since_the_opener(sends, window_s):
    def place(now, before):
        begin, held = -np.inf, 0
        for it in before:
            begin, held = (it, 1) if it >= begin + window_s else (begin, held + 1)
        return -held if now < begin + window_s else 0

    scores = score_sends(_slice(sends), RuleFamily(WindowShape.FIRST_SEND, 0, window_s))
    assert (scores.accepted.tolist(), scores.refused.tolist()) == _placed(sends, place)


# The example at the head of the module.

_EXAMPLE = [(0, True), (20, False), (58, False), (61, True), (90, False), (200, True), (225, False), (262, True)]
_EXAMPLE += [(300, False), (322, True)]


def _example(mobiles):
    return [(second + 1000 * mobile, mobile, accepted) for mobile in range(mobiles) for second, accepted in _EXAMPLE]


def test_the_example_of_the_module_has_the_scores_and_gains_that_it_states():
    sends = _slice(_example(1))
    refused = sends.attempts.refused
    families = list(sliding_families(sends))
    first, second = (score_sends(sends, family) for family in families[:2])
    assert (first.refused.tolist(), first.accepted.tolist()) == ([20, 58, 29, 25, 38], [61, 139, 62, 60])
    assert (second.refused[:2].tolist(), refused.rows.sum(), len(families)) == ([np.inf, np.inf], 4, 3)
    ascending = score_sends(sends, families[0], lowest=10)
    assert cover_refusals([ascending], refused.weight, refused.rows, 5, 3) == []
    (rule,) = cover_refusals([ascending], refused.weight, refused.rows, 5, 0.1)
    assert (rule.threshold, rule.breaches, int(rule.explains.sum())) == (60, 0, 5)
    assert rule.chance == pytest.approx(0.1 * (4 / 9) ** 4)


def test_ten_sends_of_the_example_show_no_rule_and_twenty_do():
    one, two = (analysis.limits(_calls(_example(mobiles)), skew_ms=0) for mobiles in (1, 2))
    assert one["max_sends"].isna().all()
    row = two.iloc[0]
    assert (row["max_sends"], row["window_s"], row["window_low_s"], row["window_high_s"]) == (1, 60, 58, 60)
    assert (row["window_shape"], row["chance"]) == ("sliding", pytest.approx(4 * (8 / 18) ** 8))
