"""Every store passes the same cases."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.naive import Naive
from support.stores import CODE, MOBILE, OTHER_CODE, Case, claim, new_message, put_app

from toolkit.api.basic_auth import Credentials
from toolkit.api.errors import InputError
from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Refusal
from toolkit.service.core.accounts import Template
from toolkit.service.core.messages import Decision, Delivery, DeliveryState
from toolkit.service.core.policy import Policy
from toolkit.service.core.send_and_verify import VerificationService
from toolkit.service.stores.base import LEASE_S

SUCCESS, OUT_OF_FREQ, NO_MONEY = ReturnCode.SUCCESS, ReturnCode.OUT_OF_FREQ, ReturnCode.NO_MONEY
INVALID, EXPIRED, VERIFIED = ReturnCode.INVALID_CODE, ReturnCode.EXPIRED_CODE, ReturnCode.VERIFIED_CODE
NO_RULES = Policy(rules=())
STRICT = Policy((Rule(1, 10), Rule(3, 40)), (Rule(4, 30),), tries=2, failures_per_hour=4)

# Windows.


@claim
async def test_a_mobile_is_rate_limited_until_its_window_has_passed_to_the_millisecond(case: Case) -> None:
    await case.begin()
    assert await case.send() is SUCCESS
    case.wall.now_ms += 59_999
    decision = await case.store.send(new_message())
    assert decision == Decision(OUT_OF_FREQ, 1)
    case.wall.now_ms += 1
    assert await case.send() is SUCCESS


@claim
async def test_every_rule_holds_and_the_longest_wait_is_returned(case: Case) -> None:
    await case.begin(Policy((Rule(1, 60), Rule(2, 3600))))
    assert await case.send() is SUCCESS
    case.pass_s(60)
    assert await case.send() is SUCCESS
    case.pass_s(30)
    assert (await case.store.send(new_message())).wait_ms == 3_510_000
    case.pass_s(3510)
    assert await case.send() is SUCCESS


@claim
async def test_a_window_stays_exact_after_many_sends(case: Case) -> None:
    await case.begin(Policy((Rule(1, 5), Rule(3, 10)), (Rule(3, 10),)))
    for _ in range(20):
        assert await case.send() is SUCCESS
        case.pass_s(5)
    assert await case.send() is SUCCESS
    case.pass_s(4)
    assert (await case.store.send(new_message())).wait_ms == 1000
    assert await case.send(MOBILE + 1) is SUCCESS
    assert (await case.store.send(new_message(MOBILE + 2))).wait_ms == 1000


@claim
async def test_a_refused_send_is_not_counted_and_costs_nothing(case: Case) -> None:
    await case.begin(Policy((Rule(1, 60), Rule(2, 3600))))
    assert [await case.send() for _ in range(5)] == [SUCCESS] + [OUT_OF_FREQ] * 4
    case.pass_s(60)
    assert await case.send() is SUCCESS
    assert await case.balance() == 998
    assert await case.store.backlog() == 2


@claim
async def test_mobiles_and_apps_have_windows_of_their_own(case: Case) -> None:
    await case.begin(apps=2)
    assert [await case.send(MOBILE + n, app_id=app_id) for n in (0, 1) for app_id in (1, 2)] == [SUCCESS] * 4


@claim
async def test_app_rules_count_the_apps_sends_to_all_mobiles(case: Case) -> None:
    await case.begin(Policy((), (Rule(3, 60),)), apps=2)
    assert [await case.send(MOBILE + n) for n in range(4)] == [SUCCESS] * 3 + [OUT_OF_FREQ]
    assert await case.send(app_id=2) is SUCCESS
    case.pass_s(60)
    assert await case.send() is SUCCESS


@claim
async def test_a_send_without_rate_limits_is_neither_counted_nor_refused(case: Case) -> None:
    await case.begin(Policy((Rule(1, 60),), (Rule(2, 60),)))
    assert [await case.send(rate_limited=False) for _ in range(3)] == [SUCCESS] * 3
    assert await case.send() is SUCCESS
    assert await case.send(rate_limited=False) is SUCCESS
    assert await case.send(MOBILE + 1) is SUCCESS
    assert await case.balance() == 994


@claim
async def test_windows_survive_a_restart(case: Case) -> None:
    await case.begin()
    await case.send()
    case.pass_s(30)
    await case.reopen()
    assert (await case.store.send(new_message())).wait_ms == 30_000


# Balance.


@claim
async def test_a_send_costs_its_segments_and_the_balance_never_falls_below_zero(case: Case) -> None:
    await case.begin(NO_RULES, balance=5)
    assert [await case.send(segments=2) for _ in range(3)] == [SUCCESS, SUCCESS, NO_MONEY]
    assert await case.balance() == 1
    assert [await case.send(), await case.send()] == [SUCCESS, NO_MONEY]
    assert await case.balance() == 0


@claim
async def test_a_send_without_balance_is_not_counted(case: Case) -> None:
    await case.begin(balance=0)
    assert await case.send() is NO_MONEY
    await case.store.put(app=case.store.apps()[0], credit=1)
    assert await case.send() is SUCCESS


@claim
async def test_rate_limits_are_checked_before_the_balance(case: Case) -> None:
    await case.begin(balance=1)
    assert [await case.send(), await case.send()] == [SUCCESS, OUT_OF_FREQ]


@claim
async def test_a_change_that_takes_a_balance_below_zero_changes_nothing(case: Case) -> None:
    store = await case.begin(balance=5)
    app = store.apps()[0]
    with pytest.raises(InputError):
        await store.put(app=replace(app, suspended=True), credit=-6)
    assert (await case.balance(), store.apps()) == (5, [app])
    await store.put(app=app, credit=-5)
    assert await case.balance() == 0


# Verifying.


@claim
async def test_a_right_code_is_right_once(case: Case) -> None:
    await case.begin()
    msg_id = await case.sent()
    assert [await case.verify(msg_id, code) for code in (CODE, CODE, OTHER_CODE)] == [SUCCESS, VERIFIED, VERIFIED]


@claim
async def test_after_a_messages_tries_no_code_is_right(case: Case) -> None:
    await case.begin(Policy(tries=3))
    msg_id = await case.sent()
    assert [await case.verify(msg_id, OTHER_CODE) for _ in range(4)] == [INVALID] * 3 + [EXPIRED]
    assert await case.verify(msg_id) is EXPIRED


@claim
async def test_the_last_try_may_be_the_right_one(case: Case) -> None:
    await case.begin(Policy(tries=2))
    msg_id = await case.sent()
    assert [await case.verify(msg_id, OTHER_CODE), await case.verify(msg_id)] == [INVALID, SUCCESS]


@claim
async def test_a_code_is_valid_until_its_last_millisecond(case: Case) -> None:
    await case.begin(NO_RULES)
    early, late = await case.sent(ttl_s=10), await case.sent(ttl_s=10)
    case.wall.now_ms += 9_999
    assert await case.verify(early) is SUCCESS
    case.wall.now_ms += 1
    assert [await case.verify(late), await case.verify(early)] == [EXPIRED, VERIFIED]


@claim
async def test_an_earlier_code_stays_valid(case: Case) -> None:
    await case.begin(NO_RULES)
    first, second = await case.sent(code=OTHER_CODE), await case.sent()
    assert [await case.verify(second, OTHER_CODE), await case.verify(first, OTHER_CODE)] == [INVALID, SUCCESS]


@claim
async def test_another_apps_message_is_unknown_and_stays_as_it_is(case: Case) -> None:
    await case.begin(Policy(tries=1), apps=2)
    msg_id = await case.sent()
    assert [await case.verify(msg_id, code, app_id=2) for code in (OTHER_CODE, CODE)] == [INVALID, INVALID]
    assert await case.verify(msg_id) is SUCCESS


@pytest.mark.parametrize("msg_id", ["", "0", "nothing of the kind", "a b\nc", "\0", "验证码", "\ud800", "x" * 5000])
@claim
async def test_any_text_is_accepted_as_a_msg_id(case: Case, msg_id: str) -> None:
    await case.begin()
    assert await case.verify(msg_id) is INVALID
    assert await case.store.message(msg_id) is None
    assert await case.store.pending_job(1, msg_id) is None


@pytest.mark.parametrize("code", ["", "0", "1234567", "六位数字验证", "\0", "\ud800"])
@claim
async def test_any_text_is_accepted_as_a_typed_code(case: Case, code: str) -> None:
    await case.begin()
    assert await case.verify(await case.sent(), code) is INVALID


@claim
async def test_wrong_codes_of_a_mobile_are_limited_per_hour_over_all_its_messages(case: Case) -> None:
    await case.begin(Policy((), tries=2, failures_per_hour=3))
    first, second = await case.sent(), await case.sent()
    assert [await case.verify(first, OTHER_CODE), await case.verify(first, OTHER_CODE)] == [INVALID] * 2
    case.pass_s(60)
    assert await case.verify(second, OTHER_CODE) is INVALID
    assert await case.store.verify(1, second, CODE) == Decision(OUT_OF_FREQ, 3_540_000)
    assert await case.verify(first) is OUT_OF_FREQ
    assert await case.verify("unknown") is INVALID
    assert await case.verify(await case.sent(MOBILE + 1)) is SUCCESS
    third = await case.sent(ttl_s=7200)
    case.pass_s(3540)
    assert await case.verify(third) is SUCCESS


@pytest.mark.parametrize("forced", [INVALID, EXPIRED, VERIFIED])
@claim
async def test_a_forced_verdict_ignores_the_typed_code_and_uses_no_try(case: Case, forced: ReturnCode) -> None:
    await case.begin(Policy((), tries=1, failures_per_hour=1))
    msg_id, other = await case.sent(forced=forced), await case.sent()
    assert [await case.verify(msg_id, code) for code in (CODE, OTHER_CODE, CODE)] == [forced] * 3
    assert await case.verify(other) is SUCCESS


@claim
async def test_verdicts_survive_a_restart(case: Case) -> None:
    await case.begin(NO_RULES)
    verified, tried, fresh = [await case.sent() for _ in range(3)]
    await case.verify(verified)
    for _ in range(5):
        await case.verify(tried, OTHER_CODE)
    await case.reopen(NO_RULES)
    assert [await case.verify(it) for it in (verified, tried, fresh)] == [VERIFIED, EXPIRED, SUCCESS]
    assert await case.balance() == 997


# At once.


@claim
async def test_of_many_sends_to_a_mobile_at_once_as_many_as_allowed_are_accepted(case: Case) -> None:
    await case.begin(Policy((Rule(3, 60),)))
    assert Counter(await asyncio.gather(*[case.send() for _ in range(50)])) == {SUCCESS: 3, OUT_OF_FREQ: 47}


@claim
async def test_of_many_sends_at_once_as_many_as_paid_for_are_accepted(case: Case) -> None:
    await case.begin(balance=7)
    assert Counter(await asyncio.gather(*[case.send(MOBILE + n) for n in range(50)])) == {SUCCESS: 7, NO_MONEY: 43}


@claim
async def test_of_many_right_codes_at_once_one_is_right(case: Case) -> None:
    await case.begin()
    msg_id = await case.sent()
    assert Counter(await asyncio.gather(*[case.verify(msg_id) for _ in range(50)])) == {SUCCESS: 1, VERIFIED: 49}


@claim
async def test_of_many_wrong_codes_at_once_no_more_than_the_tries_are_judged(case: Case) -> None:
    await case.begin()
    msg_id = await case.sent()
    verdicts = await asyncio.gather(*[case.verify(msg_id, OTHER_CODE) for _ in range(50)])
    assert Counter(verdicts) == {INVALID: 5, EXPIRED: 45}


# Accounts.


@claim
async def test_accounts_can_be_stored_changed_and_found(case: Case) -> None:
    store = await case.begin(apps=2)
    app, template = store.app("key1"), store.template(2)
    assert app
    assert template == Template(2, 2, "code {code}")
    await store.put(app=replace(app, suspended=True, permitted=False))
    await store.put(template=Template(2, 2, "短信 {code}", 60, enabled=False))
    store = await case.reopen()
    assert store.app("key1") == replace(app, suspended=True, permitted=False)
    assert store.template(2) == Template(2, 2, "短信 {code}", 60, enabled=False)
    assert [it.app_key for it in sorted(store.apps(), key=lambda it: it.app_id)] == ["key1", "key2"]
    assert {it.temp_id for it in store.templates()} == {1, 2}
    assert (store.app("key3"), store.template(3)) == (None, None)
    assert await store.balances() == {1: 1000, 2: 1000}


@claim
async def test_ids_start_at_one_and_are_never_reused(case: Case) -> None:
    store = await case.open()
    assert [await store.new_id("app"), await store.new_id("template"), await store.new_id("app")] == [1, 1, 2]
    for n in (1, 2):
        await put_app(store, n)
    store = await case.reopen()
    assert await store.new_id("app") == 3


# Delivery.


@claim
async def test_an_accepted_send_waits_for_delivery_with_its_code(case: Case) -> None:
    await case.begin(apps=2)
    msg_id = await case.sent(code="000042")
    (job,) = await case.store.take_jobs(10)
    assert job == (1, msg_id, MOBILE, 1, "000042", case.store.clock.now_ms() + 300_000, 0, 1, "")
    assert await case.store.pending_job(2, msg_id) is None


@claim
async def test_jobs_are_taken_oldest_first_over_all_apps_up_to_the_limit(case: Case) -> None:
    await case.begin(NO_RULES, apps=3)
    msg_ids = []
    for app_id in (2, 1, 3, 1, 2):
        msg_ids.append(await case.sent(app_id=app_id, temp_id=app_id))
        case.pass_s(1)
    taken = [[it.msg_id for it in await case.store.take_jobs(2)] for _ in range(4)]
    assert [sorted(it) for it in taken] == [sorted(msg_ids[:2]), sorted(msg_ids[2:4]), msg_ids[4:], []]


@claim
async def test_a_taken_job_is_leased_and_returns_if_nobody_completes_it(case: Case) -> None:
    await case.begin()
    msg_id = await case.sent()
    assert [it.attempts for it in await case.store.take_jobs(9)] == [0]
    case.pass_s(LEASE_S - 1)
    assert await case.store.take_jobs(9) == []
    assert await case.store.backlog() == 1
    case.pass_s(1)
    (job,) = await case.store.take_jobs(9)
    assert (job.msg_id, job.attempts, job.code) == (msg_id, 1, CODE)


@claim
async def test_a_postponed_job_is_due_at_the_given_time(case: Case) -> None:
    await case.begin()
    await case.sent()
    (job,) = await case.store.take_jobs(9)
    await case.store.postpone(job, 7)
    case.pass_s(6)
    assert await case.store.take_jobs(9) == []
    case.pass_s(1)
    assert [it.attempts for it in await case.store.take_jobs(9)] == [1]


@claim
async def test_jobs_survive_a_restart(case: Case) -> None:
    await case.begin()
    msg_id = await case.sent()
    await case.reopen()
    assert [it.msg_id for it in await case.store.take_jobs(9)] == [msg_id]


@claim
async def test_a_completed_job_is_deleted_with_its_code_and_its_result_kept(case: Case) -> None:
    await case.begin()
    msg_id = await case.sent()
    before = await case.store.message(msg_id)
    assert before
    assert before.delivery == Delivery(DeliveryState.WAITING)
    (job,) = await case.store.take_jobs(9)
    case.pass_s(2)
    await case.store.record_delivery(job, Delivery(DeliveryState.FAILED, "410", "n-1"))
    after = await case.store.message(msg_id)
    assert after == before._replace(
        delivery=Delivery(DeliveryState.FAILED, "410", "n-1"), attempts=1, settled_ms=before.sent_ms + 2000
    )
    assert (await case.store.backlog(), await case.store.pending_job(1, msg_id)) == (0, None)
    case.pass_s(LEASE_S)
    assert await case.store.take_jobs(9) == []
    assert await case.verify(msg_id) is SUCCESS


@claim
async def test_a_message_has_all_the_values_that_it_was_sent_with(case: Case) -> None:
    await case.begin(apps=2)
    now_ms = case.store.clock.now_ms()
    msg_id = await case.sent(app_id=2, segments=3, ttl_s=60)
    waiting = Delivery(DeliveryState.WAITING)
    assert await case.store.message(msg_id) == (2, msg_id, MOBILE, 2, 3, now_ms, now_ms + 60_000, waiting, 0, 0)


@claim
async def test_a_receipt_finds_its_message_by_the_carriers_id(case: Case) -> None:
    await case.begin()
    msg_id = await case.sent()
    (job,) = await case.store.take_jobs(9)
    assert not await case.store.record_receipt("n-1", Delivery(DeliveryState.DELIVERED, "000"))
    await case.store.record_delivery(job, Delivery(DeliveryState.SENT, "0", "n-1"))
    assert not await case.store.record_receipt("n-2", Delivery(DeliveryState.DELIVERED, "000"))
    assert await case.store.record_receipt("n-1", Delivery(DeliveryState.DELIVERED, "000"))
    message = await case.store.message(msg_id)
    assert message
    assert message.delivery == Delivery(DeliveryState.DELIVERED, "000", "n-1")


@claim
async def test_a_rotated_secret_is_kept_and_the_old_one_ends_with_its_time(case: Case) -> None:
    await case.begin()
    [app] = case.store.apps()
    until_ms, digest = case.store.clock.now_ms() + 60_000, case.store.digests.secret("new")
    rotated = replace(app, secret_digest=digest, old_digest=app.secret_digest, old_until_ms=until_ms)
    await case.store.put(app=rotated)
    await case.reopen()
    assert case.store.apps() == [rotated]
    service = VerificationService(case.store)
    old, new = (Credentials(app.app_key, secret).authorization.encode() for secret in ("secret", "new"))
    assert [service.authenticate(it) for it in (old, new, old)] == [rotated] * 3
    case.pass_s(60)
    refused = Refusal(ReturnCode.AUTH_FAILED)
    assert [service.authenticate(it) for it in (old, new)] == [refused, rotated]


@claim
async def test_a_top_up_with_a_key_is_credited_once_also_after_a_restart(case: Case) -> None:
    await case.begin(balance=10, apps=2)
    [app] = [it for it in case.store.apps() if it.app_id == 1]
    await asyncio.gather(*[case.store.put(app=app, credit=5, credit_key="inv-1") for _ in range(3)])
    await case.store.put(app=app, credit=5, credit_key="inv-2")
    assert await case.balance() == 20
    await case.reopen()
    await case.store.put(app=app, credit=5, credit_key="inv-1")
    assert await case.balance() == 20
    with pytest.raises(InputError, match="'inv-1': it was used for another top-up"):
        await case.store.put(app=app, credit=6, credit_key="inv-1")
    with pytest.raises(InputError):
        await case.store.put(app=app, credit=-100, credit_key="inv-3")
    await case.store.put(app=app, credit=1, credit_key="inv-3")
    assert await case.balance() == 21


@claim
async def test_a_message_is_refunded_once_however_often_its_end_is_reported(case: Case) -> None:
    await case.begin(balance=10)
    msg_id = await case.sent(segments=3)
    (job,) = await case.store.take_jobs(9)
    await case.store.postpone(job, 0, fault="404")
    (job,) = await case.store.take_jobs(9)
    assert (job.fault, job.segments, job.attempts) == ("404", 3, 1)
    ends = [case.store.record_delivery(job, Delivery(DeliveryState.EXPIRED, "404"), refund=True) for _ in range(3)]
    await asyncio.gather(*ends)
    await case.store.record_delivery(job, Delivery(DeliveryState.EXPIRED, "404"), refund=True)
    assert await case.balance() == 10
    message = await case.store.message(msg_id)
    assert message
    assert message.delivery == Delivery(DeliveryState.EXPIRED, "404")
    await case.reopen()
    assert (await case.balance(), await case.store.backlog()) == (10, 0)


@claim
async def test_a_fault_of_the_operator_is_known_until_another_attempt_ends_otherwise(case: Case) -> None:
    await case.begin()
    msg_id = await case.sent()
    for fault, expected in [("404", "404"), (None, "404"), ("", "")]:
        (job,) = await case.store.take_jobs(9)
        await case.store.postpone(job, 0, fault)
        await case.reopen()
        pending = await case.store.pending_job(1, msg_id)
        assert pending
        assert pending.fault == expected


@claim
async def test_a_receipt_for_another_mobile_is_not_recorded(case: Case) -> None:
    await case.begin()
    await case.sent()
    (job,) = await case.store.take_jobs(9)
    await case.store.record_delivery(job, Delivery(DeliveryState.SENT, "0", "n-1"))
    assert not await case.store.record_receipt("n-1", Delivery(DeliveryState.DELIVERED), job.mobile + 1)
    assert await case.store.record_receipt("n-1", Delivery(DeliveryState.DELIVERED), job.mobile)


@claim
async def test_a_receipt_does_not_change_a_final_result(case: Case) -> None:
    await case.begin()
    msg_id = await case.sent()
    (job,) = await case.store.take_jobs(9)
    await case.store.record_delivery(job, Delivery(DeliveryState.SENT, "0", "n-1"))
    assert await case.store.record_receipt("n-1", Delivery(DeliveryState.DELIVERED, "000"))
    assert not await case.store.record_receipt("n-1", Delivery(DeliveryState.FAILED, "999"))
    message = await case.store.message(msg_id)
    assert message
    assert message.delivery.state is DeliveryState.DELIVERED


@claim
async def test_a_job_with_an_expired_code_is_still_taken_so_that_it_is_recorded(case: Case) -> None:
    await case.begin()
    msg_id = await case.sent(ttl_s=10)
    case.pass_s(11)
    (job,) = await case.store.take_jobs(9)
    assert (job.msg_id, job.expires_ms) == (msg_id, case.store.clock.now_ms() - 1000)
    await case.store.record_delivery(job, Delivery(DeliveryState.EXPIRED))
    assert await case.store.backlog() == 0


@claim
async def test_a_message_that_was_not_delivered_while_its_code_was_valid_is_expired(case: Case) -> None:
    await case.begin()
    msg_id = await case.sent(ttl_s=10)
    case.pass_s(10)
    message = await case.store.message(msg_id)
    assert message
    assert message.delivery == Delivery(DeliveryState.EXPIRED)


# The clock.


@claim
async def test_a_faster_clock_affects_windows_and_lifetimes_but_not_leases(case: Case) -> None:
    await case.begin(speed=60)
    msg_id = await case.sent()
    await case.store.take_jobs(9)
    case.pass_s(1)
    assert await case.send() is SUCCESS
    case.pass_s(4)
    assert await case.verify(msg_id) is EXPIRED
    assert len(await case.store.take_jobs(9)) == 1
    case.pass_s(LEASE_S - 5)
    assert len(await case.store.take_jobs(9)) == 1


@claim
async def test_the_clock_continues_from_its_time_when_its_speed_changes(case: Case) -> None:
    await case.begin(speed=3600)
    case.pass_s(1)
    ahead_ms = case.store.clock.now_ms()
    await case.reopen(speed=1)
    assert case.store.clock.now_ms() == ahead_ms
    await case.store.ping()


# The sandbox.


@claim
async def test_an_emptied_app_has_no_messages_windows_and_tries_also_after_a_restart(case: Case) -> None:
    policy = Policy(app_rules=(Rule(3, 60),), failures_per_hour=2)
    await case.begin(policy, apps=2)
    case.store.keep_inbox()
    msg_id, other = await case.sent(segments=2), await case.sent(app_id=2)
    assert [await case.verify(msg_id, code) for code in ("000000", "000000", CODE)] == [INVALID, INVALID, OUT_OF_FREQ]
    assert await case.store.empty(1) == 2
    for _ in range(2):
        assert await case.verify(msg_id) is INVALID
        assert await case.store.pending_job(1, msg_id) is None
        assert await case.store.message(msg_id) is None
        assert await case.store.inbox(1, None, "", 9) == []
        assert [it.msg_id for it in await case.store.inbox(2, None, msg_id, 9)] == [other]
        await case.reopen(policy)
        case.store.keep_inbox()
    assert await case.send() is SUCCESS
    assert await case.verify(await case.sent(MOBILE + 1), "000000") is INVALID
    assert await case.send(app_id=2) is OUT_OF_FREQ
    assert await case.store.empty(1) == 2
    assert await case.store.empty(1) == 0
    assert await case.balance() == 996


@claim
async def test_the_clock_moves_ahead_for_windows_and_codes_and_stays_there(case: Case) -> None:
    await case.begin()
    msg_id, before_ms = await case.sent(), case.store.clock.now_ms()
    await case.store.advance(60_000)
    assert case.store.clock.now_ms() == before_ms + 60_000
    assert [await case.send(), await case.send()] == [SUCCESS, OUT_OF_FREQ]
    await case.store.advance(240_000)
    await case.reopen()
    assert case.store.clock.now_ms() == before_ms + 300_000
    assert await case.verify(msg_id) is EXPIRED


# Against a naive model.

MOBILES = st.integers(MOBILE, MOBILE + 1)
SENDS = st.tuples(st.just("send"), MOBILES, st.integers(1, 2))
GUESSES = st.tuples(st.just("verify"), st.integers(0, 5), st.booleans())
STEPS = st.tuples(st.just("step"), st.integers(1, 15_000), st.none())
PLAYS = st.lists(st.one_of(SENDS, GUESSES, STEPS), max_size=30)


def test_any_order_of_sends_guesses_and_clock_steps_matches_a_naive_model(case: Case) -> None:
    async def play(moves: list[tuple[str, int, int | bool | None]]) -> None:
        store = case.store
        app_id = await store.new_id("app")
        await put_app(store, app_id, balance=8)
        naive, msg_ids = Naive(STRICT, balance=8), list[str]()
        for word, first, second in moves:
            now_ms = store.clock.now_ms()
            if word == "step":
                case.wall.now_ms += first
            elif word == "send":
                decision = await store.send(new_message(first, app_id, ttl_s=30, segments=second or 1))
                assert (decision.return_code, decision.wait_ms) == naive.send(now_ms, first, 30_000, second or 1)
                msg_ids += [decision.msg_id] if decision.msg_id else []
            elif first < len(msg_ids):
                decision = await store.verify(app_id, msg_ids[first], CODE if second else OTHER_CODE)
                assert (decision.return_code, decision.wait_ms) == naive.verify(now_ms, first, bool(second))

    with asyncio.Runner() as runner:
        runner.run(case.open(STRICT))

        @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
        @given(PLAYS)
        def judge(moves: list[tuple[str, int, int | bool | None]]) -> None:
            runner.run(play(moves))

        judge()
        runner.run(case.close())
