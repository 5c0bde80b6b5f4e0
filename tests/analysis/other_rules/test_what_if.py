"""Rule sets are compared with what happened: by hand, with the service's own decisions, and with other results."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from support.bench import DAY_0, Bench, Wall
from support.engines import in_polars
from support.priced import MIDNIGHT_NS, SECOND_NS, TODAY, YESTERDAY, calls, send, verify

from toolkit import analysis
from toolkit.analysis import RuleSet, charts, from_records, recorded_sends, what_if, what_if_sweep
from toolkit.analysis.other_rules.recorded_sends import _batches, _Loader
from toolkit.analysis.other_rules.what_if import _on_pareto_front, remarks
from toolkit.api.errors import InputError
from toolkit.api.rate_rules import Rule, parse_rules
from toolkit.api.wire import Refusal, SendFields
from toolkit.price_list import PricedTemplate, PriceList, PriceRow
from toolkit.records.call_record import CallRecord
from toolkit.service.core.policy import Policy
from toolkit.simulation import SimulationPlan, simulate

PRICES = PriceList(
    (PriceRow(YESTERDAY, Decimal("0.045"), "CNY"), PriceRow(YESTERDAY, Decimal("0.05"), "CNY", None, "China Unicom")),
    (PricedTemplate(1, "code"), PricedTemplate(2, "notice", 2)),
)
DEAR = PriceList((PriceRow(YESTERDAY, Decimal("1"), "CNY"),))


def at(second: float, mobile: int | None = 1, code: int | None = 50000, **changes: Any) -> CallRecord:
    return send(MIDNIGHT_NS + int(second * SECOND_NS), mobile, code, **changes)


FIRST, SECOND, THIRD = at(0), at(70), at(140, temp_id=2)
LOG = [FIRST, at(20, code=50009), SECOND, THIRD, verify(THIRD, 50000), at(1, 2, temp_id=2), at(400, 3, 50009)]


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def test_a_stricter_rule_is_compared_with_what_happened() -> None:
    recorded, stricter = rows(what_if(from_records(LOG), [RuleSet.parse("1/90s")], PRICES))
    assert (recorded["sends"], recorded["messages"], recorded["refused"]) == (6, 4, 2)
    assert recorded["money"] == pytest.approx(0.045 * 2 + 0.09 + 0.1)
    # The sends at 0 and 140 s are allowed, that at 70 s isn't, and that to mobile 3 is.
    assert (stricter["messages"], stricter["newly_refused"], stricter["newly_allowed"]) == (4, 1, 1)
    assert stricter["messages_saved"] == 0
    assert (stricter["verified_lost"], stricter["users_lost"], stricter["users_lost_low"]) == (0, 0, 0)
    # Who is refused at 70 s and gives up is lost. Who tries again gets a message at 90 s, and is then refused at 140 s.
    assert (stricter["messages_saved_low"], stricter["messages_saved_high"]) == (-1, 1)
    assert stricter["users_lost_high"] == 1
    assert stricter["users_gained_high"] == 1


def test_a_looser_rule_allows_what_was_refused() -> None:
    _, looser = rows(what_if(from_records(LOG), [RuleSet.parse("1/10s")], PRICES))
    assert (looser["newly_allowed"], looser["messages_saved"], looser["money_saved"]) == (2, -2, pytest.approx(-0.09))
    # Who got a code at 20 s would not have sent at 70 and 140 s.
    assert (looser["messages_saved_low"], looser["messages_saved_high"]) == (-2, 0)
    assert looser["users_lost_high"] == 0


def test_a_block_list_refuses_prefixes_and_keeps_the_recorded_rules() -> None:
    blocked = RuleSet(blocked=("138001",))
    _, row = rows(what_if(from_records(LOG), [blocked], PRICES))
    assert (row["rule_set"], row["messages"], row["newly_allowed"]) == ("recorded rules without 138001", 1, 0)
    assert (row["messages_saved"], row["verified_lost"], row["users_lost_low"]) == (3, 1, 1)


def test_other_prices_change_the_money_and_nothing_else() -> None:
    recorded, row = rows(what_if(from_records(LOG), [RuleSet(prices=DEAR, label="dear")], PRICES))
    assert (row["messages_saved"], row["newly_refused"]) == (0, 0)
    assert row["money"] == pytest.approx(4.0)  # a message has one segment: the dear list has no templates
    assert row["money_saved"] == pytest.approx(recorded["money"] - row["money"])


def test_prices_in_two_currencies_are_refused() -> None:
    in_dollars = RuleSet(prices=PriceList((PriceRow(YESTERDAY, Decimal("1"), "USD"),)), label="dollars")
    for sets, prices in (([in_dollars], PRICES), ([in_dollars, RuleSet(prices=DEAR)], None)):
        with pytest.raises(InputError, match="prices in CNY and USD can't be compared: give all in one currency"):
            what_if(from_records(LOG), sets, prices)
    for log_prices in (PriceList(), None):  # unknown prices have no currency
        recorded, row = rows(what_if(from_records(LOG), [in_dollars], log_prices))
        assert (recorded["currency"], row["currency"], row["money_saved"]) == (None, "USD", None)


def test_a_message_that_loses_its_price_is_not_money_saved() -> None:
    # The new list knows no price on the day before: the message at -1 s had one, and its cost is unknown now.
    loaded = recorded_sends(from_records([*LOG, at(-1, 4)]))
    later = PriceList((PriceRow(TODAY, Decimal("0.01"), "CNY"),))
    sets = [RuleSet(prices=later, label="later"), RuleSet((Rule(1, 10),), label="loose")]
    frame = what_if(loaded, sets, PRICES)
    _, new, loose = rows(frame)
    assert (new["messages"], new["unpriced"], new["money"]) == (5, 1, pytest.approx(0.04))
    assert [new[name] for name in ("money_saved", "money_saved_low", "money_saved_high")] == [None] * 3
    assert loose["money_saved"] == pytest.approx(-0.09)
    assert any(
        it.startswith("The money saved, or a bound of it, is unknown for later:") for it in remarks(loaded, frame)
    )
    assert "messages saved" in charts.to_svg(charts.what_if(frame))
    by = what_if(loaded, sets[:1], PRICES, by="prefix").set_index(["prefix", "rule_set"])["money_saved"]
    assert by["1380013", "later"] == pytest.approx(0.18 - 0.03)
    assert by.isna().sum() == 1


@settings(deadline=None, max_examples=10)
@given(records=calls())
def test_the_recorded_money_is_that_of_cost(records: list[CallRecord]) -> None:
    frame = in_polars(records)
    recorded = what_if(recorded_sends(frame, find_abuse=False), [], PRICES).iloc[0]
    accepted = [it for it in records if it.endpoint == "send" and it.return_code == 50000]
    assert recorded["messages"] == len(accepted)
    costs = analysis.cost(frame, PRICES, by=[])
    expected = costs["money"].iloc[0] if accepted else 0.0
    assert recorded["money"] == pytest.approx(expected, nan_ok=True)


@settings(deadline=None, max_examples=8)
@given(records=calls())
def test_groups_add_up_to_the_total(records: list[CallRecord]) -> None:
    frame, sets = in_polars(records), [RuleSet.parse("1/300s"), RuleSet((), ("1380013",))]
    loaded = recorded_sends(frame, find_abuse=False)
    total = what_if(loaded, sets, PRICES).set_index("rule_set")
    names = ["sends", "messages", "refused", "newly_refused", "newly_allowed", "messages_saved", "undecided"]
    for by in ("app_key", "prefix", "temp_id") if len(loaded) else ():
        of_groups = what_if(loaded, sets, PRICES, by=by).groupby("rule_set", observed=True)[names].sum(min_count=1)
        pd.testing.assert_frame_equal(of_groups, total[names], check_dtype=False, check_index_type=False)


@pytest.mark.parametrize("rules", ["1/60s 5/3600s 10/86400s", "3/600s"])
def test_the_replay_decides_as_a_store_with_the_same_rules(tmp_path: Path, rules: str) -> None:
    rng = np.random.default_rng(1)
    starts_ms = np.unique(DAY_0 + np.cumsum(rng.integers(1, 400, 4_000) * rng.choice([1, 60], 4_000)))
    mobiles = 13_800_138_000 + rng.integers(0, 40, len(starts_ms))
    bench = Bench(tmp_path / "store", Wall(), Policy(parse_rules(rules)))

    async def play() -> list[CallRecord]:
        verification = await bench.open(balance=10**6)
        found = []
        for time_ms, mobile in zip(starts_ms.tolist(), mobiles.tolist(), strict=True):
            bench.wall.now_ms = time_ms
            answer = await verification.send(bench.app, SendFields(str(mobile), 1))
            code = 50009 if isinstance(answer, Refusal) else 50000
            record = send(time_ms * 10**6 + int(rng.integers(10**6)), 1, code)
            found.append(replace(record, mobile_key=mobile))
        await bench.store.close()
        return found

    records = asyncio.run(play())
    # The log of a service without rules, replayed with the rules, gives the decisions of the service with the rules.
    as_sent = [replace(it, return_code=50000, msg_key=number) for number, it in enumerate(records)]
    _, row = rows(what_if(in_polars(as_sent), [RuleSet.parse(rules)]))
    refused = sum(it.return_code == 50009 for it in records)
    assert 20 < refused < len(records) - 20
    assert row["newly_refused"] == row["refused"] == refused
    _, same = rows(what_if(in_polars(records), [RuleSet.parse(rules)]))
    assert same["newly_refused"] == same["newly_allowed"] == 0


def test_a_simulated_month_has_no_other_outcome_with_its_own_rules(tmp_path: Path) -> None:
    incidents = ("pumping", "brute_force")
    simulate(tmp_path, SimulationPlan(days=4, calls=20_000, incidents=incidents))  # type: ignore[arg-type]
    month = analysis.read(tmp_path)
    _, row = rows(what_if(month, [RuleSet.parse("1/60s 5/3600s 10/86400s")]))
    assert row["newly_refused"] == row["newly_allowed"] == 0
    (attacked,) = analysis.suspects(month)["prefix"]
    _, blocked = rows(what_if(month, [RuleSet(blocked=(str(attacked),))]))
    assert blocked["pumping_caught"] == blocked["pumping"] > 50
    _, strict = rows(what_if(month, [RuleSet.parse("1/3600s")]))
    assert 0 < strict["guessing_caught"] < strict["guessing"]


def test_sends_without_a_mobile_key_keep_their_answer() -> None:
    records = [at(0), at(1), at(2, None), at(3, None, 50009)]
    loaded = recorded_sends(from_records(records))
    frame = what_if(loaded, [RuleSet.parse("1/60s")])
    assert (frame["undecided"].tolist(), frame["messages"].tolist()) == ([2, 2], [3, 2])
    assert "2 sends have no mobile key and keep their recorded answer." in remarks(loaded, frame)


def test_sends_without_a_prefix_are_undecided_by_a_block_list() -> None:
    records = [at(0), at(100, 4), at(200, None, prefix="1390000"), at(300, None)]
    loaded = recorded_sends(from_records(records))
    sets = [RuleSet(blocked=("1",)), RuleSet((), ("1",)), RuleSet(())]
    frame = what_if(loaded, sets)
    assert (frame["undecided"].tolist(), frame["messages"].tolist()) == ([2, 2, 3, 2], [4, 2, 2, 4])
    said = "2 sends have no prefix: a block list can't refuse them."
    assert said in remarks(loaded, frame, sets)
    assert said not in remarks(loaded, frame, sets[2:])


def test_figures_that_the_log_cannot_tell_are_null_and_said() -> None:
    records = [replace(it, mobile_key=None, msg_key=None, msg_id=None) for it in LOG]
    loaded = recorded_sends(from_records([*records, at(9, code=None)]))
    frame = what_if(loaded, [RuleSet.parse("1/90s"), RuleSet(blocked=("138",))])
    recorded, ruled, blocked = rows(frame)
    unknown = ("messages", "refused", "newly_refused", "messages_saved", "money", "users_lost", "pumping_caught")
    assert [ruled[name] for name in unknown] == [None] * len(unknown)
    assert (recorded["messages"], recorded["money"], recorded["users_lost"]) == (4, None, None)
    assert (blocked["messages"], blocked["verified_lost"], blocked["money_saved"]) == (1, None, None)
    said = " ".join(remarks(loaded, frame))
    for part in ("No send has a mobile key", "No verify can be joined", "1 sends got no response", "No price is known"):
        assert part in said


def test_no_sends_are_no_result() -> None:
    loaded = recorded_sends(from_records([]))
    frame = what_if(loaded, [RuleSet.parse("1/90s")], PRICES)
    assert frame["messages"].tolist() == [0, 0]
    assert "nothing was replayed" in remarks(loaded, frame)[0]


def test_the_number_of_parts_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    records = [
        replace(at(second, 1), mobile_key=int(mobile), app_key=app, msg_key=second)
        for second, (mobile, app) in enumerate(
            zip(
                rng.integers(-(2**62), 2**62, 50)[rng.integers(0, 50, 3_000)],
                rng.choice(["a", "b"], 3_000),
                strict=True,
            )
        )
    ]
    whole = recorded_sends(from_records(records), find_abuse=False)
    loader = _Loader(8)
    for batch in _batches(analysis.from_frame(from_records(records)).table):
        loader.add(batch)
    parts = replace(whole, parts=tuple(loader.parts(None)), values=loader.values)
    assert [len(it) > 0 for it in parts.parts].count(True) > 4
    sets = [RuleSet.parse("1/60s 5/1h"), RuleSet(blocked=("138",))]
    found = what_if(parts, sets, PRICES)
    pd.testing.assert_frame_equal(found, what_if(whole, sets, PRICES))
    assert found["newly_refused"].iloc[1] > 0


def test_more_apps_and_templates_than_a_16_bit_number_holds_stay_apart() -> None:
    names = [f"a{number}" for number in range(33_000)]
    frame = pd.DataFrame(
        {"started_ns": range(len(names)), "endpoint": "send", "return_code": 50000, "app_key": names}
    ).assign(temp_id=range(len(names)), mobile_key=1, run="r", source="s", latency_ns=1)
    loaded = recorded_sends(frame, find_abuse=False)
    for by, found in (("app_key", names), ("temp_id", list(range(len(names))))):
        groups = what_if(loaded, [], by=by)
        assert groups["sends"].eq(1).all()
        assert sorted(groups[by].tolist()) == sorted(found)


def test_a_sweep_marks_the_rules_that_no_other_one_is_better_than() -> None:
    frame = what_if_sweep(from_records(LOG), [1, 2], [90, 300], PRICES)
    assert frame[["max_sends", "window_s"]].to_numpy().tolist() == [[1, 90], [2, 90], [1, 300], [2, 300]]
    assert frame["rule_set"].astype(str).tolist() == ["1/90s", "2/90s", "1/300s", "2/300s"]
    lost, saved = frame["users_lost"].tolist(), frame["money_saved"].tolist()
    assert [bool(it) for it in frame["is_best"]] == [
        not any(a <= x and b >= y and (a < x or b > y) for a, b in zip(lost, saved, strict=True))
        for x, y in zip(lost, saved, strict=True)
    ]
    with_others = what_if_sweep(from_records(LOG), [2], [90], PRICES, others=[Rule(1, 100)])
    assert with_others["newly_refused"].iloc[0] == 1


def test_unknown_users_are_on_no_front() -> None:
    assert _on_pareto_front(np.array([np.nan, 1.0]), np.array([9.0, 1.0])).tolist() == [False, True]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RuleSet.parse(""), "empty rule set"),
        (lambda: RuleSet.parse("often"), "invalid rule 'often'"),
        (lambda: RuleSet(blocked=("13800138000",)), "invalid blocked '13800138000'"),
        (lambda: RuleSet(label="recorded"), "choose another one"),
        (lambda: what_if(from_records([]), [RuleSet(), RuleSet()]), "is given twice"),
        (lambda: what_if(from_records([]), [], by="day"), "invalid by 'day'"),
        (lambda: what_if_sweep(from_records([]), [], [60]), "nothing to sweep"),
        (lambda: recorded_sends(from_records([]), timezone="Mars"), "Mars"),
    ],
)
def test_invalid_input_is_named(make: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()


def test_days_of_prices_begin_at_midnight_of_the_time_zone() -> None:
    prices = PriceList(
        (PriceRow(date(2026, 1, 1), Decimal("1"), "CNY"), PriceRow(date(2026, 11, 6), Decimal("3"), "CNY"))
    )
    records = [send(MIDNIGHT_NS - 8 * 3600 * SECOND_NS + it, 1, 50000) for it in (-1, 0)]
    loaded = recorded_sends(from_records(records), timezone="Asia/Shanghai")
    assert what_if(loaded, [], prices)["money"].tolist() == [4.0]
