"""The Redis store is shared exactly, keeps no old data, and survives failures of Redis."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from redis import Redis, RedisCluster
from redis.exceptions import OutOfMemoryError, ResponseError
from support.redis import RedisServer, Wire, free_port, wire
from support.stores import CODE, MOBILE, OTHER_CODE, Case, new_message, put_app

from toolkit.api.errors import InputError, RunError, StoreError
from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.service.core.messages import Delivery, DeliveryState
from toolkit.service.core.policy import Policy
from toolkit.service.stores.base import Store
from toolkit.service.stores.redis.pipeline import is_refusal
from toolkit.service.stores.redis.store import POLL_S, RedisStore

SUCCESS, OUT_OF_FREQ = ReturnCode.SUCCESS, ReturnCode.OUT_OF_FREQ
TIMEOUT_S = 0.4
T = TypeVar("T")


@asynccontextmanager
async def opened(case: Case, machines: int = 1, **options: object) -> AsyncIterator[list[Store]]:
    """Open one database on several machines, by its own clock."""
    case.wall = None
    try:
        await case.begin(**options)
        for _ in range(machines - 1):
            await case.open(options.get("policy"))
        yield case.opened
    finally:
        await case.close()


async def until(trying: Callable[[], Awaitable[T]], right: Callable[[T], bool] = lambda _: True) -> T:
    """Try until it succeeds, as a caller would."""
    async with asyncio.timeout(240):
        while True:
            try:
                if right(got := await trying()):
                    return got
            except StoreError:
                pass
            await asyncio.sleep(0.01)


# Machines that share.


def test_machines_share_windows_and_balance_exactly(shared: Case) -> None:
    async def judge() -> None:
        async with opened(shared, machines=2, policy=Policy((Rule(3, 60),)), balance=5) as stores:
            sends = [stores[n % 2].send(new_message(MOBILE + n % 2)) for n in range(100)]
            answers = Counter([it.return_code for it in await asyncio.gather(*sends)])
            assert answers[SUCCESS] == 5
            assert await stores[1].balances() == {1: 0}

    asyncio.run(judge())


def test_a_right_code_is_right_on_one_machine_only(shared: Case) -> None:
    async def judge() -> None:
        async with opened(shared, machines=2) as stores:
            msg_id = await shared.sent()
            verdicts = await asyncio.gather(*[stores[n % 2].verify(1, msg_id, CODE) for n in range(50)])
            assert Counter(it.return_code for it in verdicts) == {SUCCESS: 1, ReturnCode.VERIFIED_CODE: 49}

    asyncio.run(judge())


def test_a_job_is_taken_by_one_machine(shared: Case) -> None:
    async def judge() -> None:
        async with opened(shared, machines=2, policy=Policy(()), apps=3) as stores:
            sent = {await shared.sent(app_id=1 + n % 3) for n in range(30)}
            taken = [job.msg_id for _ in range(10) for jobs in await both(stores) for job in jobs]
            assert (len(taken), set(taken)) == (30, sent)

    async def both(stores: list[Store]) -> list[list[object]]:
        return await asyncio.gather(*[store.take_jobs(4) for store in stores])

    asyncio.run(judge())


def test_a_change_on_one_machine_takes_effect_on_the_others_that_ask_twice_a_second(shared: Case) -> None:
    assert POLL_S <= 0.5

    async def judge() -> None:
        async with opened(shared, machines=2) as (one, other):
            app = one.apps()[0]
            await one.put(app=replace(app, suspended=True))
            assert one.apps()[0].suspended
            async with asyncio.timeout(240):
                while not other.apps()[0].suspended:
                    await asyncio.sleep(0.01)

    asyncio.run(judge())


def test_a_top_up_does_not_undo_a_change_of_another_machine(shared: Case) -> None:
    async def judge() -> None:
        async with opened(shared, machines=2) as (one, other):
            app = one.apps()[0]
            await other.put(app=replace(app, suspended=True))
            assert one.apps() == [app]
            await one.put(app=app, credit=1)
            assert (one.apps()[0].suspended, await one.balances()) == (True, {1: 1001})

    asyncio.run(judge())


def test_an_app_key_is_given_once_and_the_second_attempt_changes_nothing(shared: Case) -> None:
    async def judge() -> None:
        async with opened(shared, machines=2) as (one, other):
            app = replace(one.apps()[0], app_id=2)
            with pytest.raises(InputError, match="another app has this key"):
                await other.put(app=app, credit=7)
            assert [it.app_id for it in other.apps()] == [1]
            await put_app(one, 2)
            assert (await one.balances())[2] == 1000

    asyncio.run(judge())


def test_the_speed_that_was_set_last_applies_to_every_machine(redis: RedisServer, tmp_path: Path) -> None:
    async def judge() -> None:
        redis.empty()
        case = Case(redis.url, tmp_path, wall=None)
        one = await case.begin(speed=1)
        before_ms = one.clock.now_ms()
        other = await case.open(speed=10)
        while one.clock.speed != 10:
            await asyncio.sleep(0.01)
        assert before_ms <= one.clock.now_ms() <= other.clock.now_ms() + 1000
        await case.close()

    asyncio.run(judge())


# What is left behind.


def test_every_key_has_a_ttl_except_accounts_and_balances(shared: Case) -> None:
    async def judge() -> None:
        async with opened(shared, policy=Policy((Rule(1, 60),), (Rule(9, 60),)), speed=10) as (store,):
            msg_id, other = await shared.sent(), await shared.sent(MOBILE + 1)
            for code in (OTHER_CODE, CODE, CODE):
                await shared.verify(msg_id, code)
            await shared.verify(other, OTHER_CODE)
            for job, state in zip(await store.take_jobs(2), (DeliveryState.SENT, DeliveryState.FAILED), strict=True):
                await store.record_delivery(job, Delivery(state, "0", f"n-{state}"))
            await store.record_receipt("n-sent", Delivery(DeliveryState.DELIVERED))
            await shared.sent(MOBILE + 2)

    asyncio.run(judge())
    found = ttls_ms(shared)
    stay = {key for key, ttl_ms in found.items() if ttl_ms < 0}
    assert stay == {f"sms:{{accounts}}:{it}" for it in ("store", "apps", "templates", "keys")} | {"sms:{1}:balance"}
    kinds = {key.split("}")[1].split(":")[1][:1] for key in found.keys() - stay if "receipt" not in key}
    assert kinds == {"m", "d", "w", "f", "j"}
    day_ms = 24 * 3_600_000
    assert all(ttl_ms <= 2 * day_ms / 10 for ttl_ms in found.values())
    assert {key for key, ttl_ms in found.items() if 0 < ttl_ms <= 6000} == {
        f"sms:{{1}}:w:{mobile}" for mobile in (0, MOBILE, MOBILE + 1, MOBILE + 2)
    }


def ttls_ms(case: Case) -> dict[str, int]:
    """Return every key that there is with its TTL, negative without one."""
    engine = RedisCluster if "+cluster" in case.url else Redis
    with engine.from_url(case.url.replace("+cluster", "")) as client:
        keys = list(client.scan_iter(count=1000))
        return {key.decode(): client.pttl(key) for key in keys}


def test_a_window_stores_at_most_twice_the_times_that_its_rules_count(redis: RedisServer, tmp_path: Path) -> None:
    async def judge() -> None:
        redis.empty()
        case = Case(redis.url, tmp_path)
        await case.begin(Policy((), (Rule(5, 1),)))
        with redis.client() as client:
            for n in range(30):
                await case.sent(MOBILE + n)
                assert client.strlen("sms:{1}:w:0") <= 2 * 5 * 8
                case.pass_s(1)
        await case.close()

    asyncio.run(judge())


def test_jobs_that_nobody_takes_do_not_pile_up(redis: RedisServer, tmp_path: Path) -> None:
    async def judge() -> None:
        redis.empty()
        case = Case(redis.url, tmp_path)
        await case.begin(Policy(()))
        for _ in range(6):
            await case.sent()
        case.pass_s(49 * 3600)
        for left in (5, 4, 3, 4):
            await case.sent()
            assert await case.store.backlog() == left
        await case.close()

    asyncio.run(judge())


def test_no_code_or_secret_is_readable_in_redis(redis: RedisServer, tmp_path: Path) -> None:
    async def fill() -> None:
        redis.empty()
        case = Case(redis.url, tmp_path)
        await case.begin(Policy(()))
        for _ in range(20):
            await case.sent()
        await case.close()

    asyncio.run(fill())
    with redis.client() as client:
        kept = b"".join(client.dump(key) for key in client.scan_iter())
    assert CODE.encode() not in kept
    assert b'"secret"' not in kept


# When Redis doesn't answer.


def test_calls_fail_while_redis_is_frozen_and_nothing_else_happens(own: RedisServer, tmp_path: Path) -> None:
    async def judge() -> None:
        case = Case(own.url, tmp_path, wall=None)
        await case.begin(timeout_s=TIMEOUT_S)
        msg_id = await case.sent()
        own.freeze()
        failing = [case.send(MOBILE + 1), case.verify(msg_id), case.verify(msg_id, OTHER_CODE), case.store.ping()]
        problems = await asyncio.gather(*failing, return_exceptions=True)
        assert [type(it) for it in problems] == [StoreError] * 4
        with pytest.raises(StoreError):
            await case.send(MOBILE + 2)
        own.thaw()
        assert await until(lambda: case.send(MOBILE + 1)) is SUCCESS
        assert await case.balance() == 998
        assert await case.verify(msg_id) is SUCCESS
        await case.close()

    asyncio.run(judge())


def test_a_killed_redis_recovers_with_everything_it_answered(own: RedisServer, tmp_path: Path) -> None:
    async def judge() -> None:
        case = Case(own.url, tmp_path, wall=None)
        await case.begin(timeout_s=TIMEOUT_S)
        msg_id = await case.sent()
        own.kill()
        with pytest.raises(StoreError):
            await case.send(MOBILE + 1)
        own.start()
        assert await until(lambda: case.send(MOBILE + 1)) is SUCCESS
        assert await case.send() is OUT_OF_FREQ
        assert await case.verify(msg_id) is SUCCESS
        assert await case.balance() == 998
        await case.close()

    asyncio.run(judge())


def test_after_a_restart_of_redis_every_connection_works(own: RedisServer, tmp_path: Path) -> None:
    async def judge() -> None:
        case = Case(own.url, tmp_path, wall=None)
        await case.begin(timeout_s=TIMEOUT_S)
        await use_many_connections(case)
        own.kill()
        own.start()
        await until(case.balance)
        await use_many_connections(case)
        await case.close()

    async def use_many_connections(case: Case) -> None:
        await asyncio.gather(*[case.store.ping() for _ in range(8)])

    asyncio.run(judge())


@asynccontextmanager
async def wired(server: RedisServer, folder: Path) -> AsyncIterator[tuple[Case, Wire]]:
    """Open a store over a wire that can be cut."""
    async with wire(server) as led:
        case = Case(led.url, folder, wall=None)
        try:
            await case.begin(Policy(tries=2), timeout_s=TIMEOUT_S)
            yield case, led
        finally:
            await case.close()


def test_calls_that_were_carried_out_without_an_answer_are_rolled_back(redis: RedisServer, tmp_path: Path) -> None:
    async def judge() -> None:
        async with wired(redis, tmp_path) as (case, led):
            verified, tried = await case.sent(), await case.sent(MOBILE + 1)
            await case.verify(tried, OTHER_CODE)
            led.is_cut = True
            lost = [case.send(MOBILE + 2), case.verify(verified), case.verify(tried, OTHER_CODE)]
            problems = await asyncio.gather(*lost, return_exceptions=True)
            assert [type(it) for it in problems] == [StoreError] * 3
            with redis.client() as client:
                assert client.get("sms:{1}:balance") == b"997"
            led.is_cut = False
            assert await until(case.balance, lambda balance: balance == 998) == 998
            assert await until(lambda: case.verify(verified)) is SUCCESS
            assert await case.verify(tried) is SUCCESS
            assert await case.send(MOBILE + 2) is SUCCESS
            assert await case.store.backlog() == 3

    redis.empty()
    asyncio.run(judge())


def test_a_code_that_was_verified_without_an_answer_is_right_at_the_next_attempt(
    redis: RedisServer, tmp_path: Path
) -> None:
    async def judge() -> None:
        async with wired(redis, tmp_path) as (case, led):
            msg_id = await case.sent()
            led.is_cut = True
            with pytest.raises(StoreError):
                await case.verify(msg_id)
            led.is_cut = False
            assert await until(lambda: case.verify(msg_id)) is SUCCESS

    redis.empty()
    asyncio.run(judge())


def test_a_full_redis_refuses_sends_completely_and_does_everything_else(own: RedisServer, tmp_path: Path) -> None:
    async def judge() -> None:
        case = Case(own.url, tmp_path, wall=None)
        await case.begin()
        right, wrong = await case.sent(), await case.sent(MOBILE + 1)
        with own.client() as client:
            client.config_set("maxmemory", 1)
            for _ in range(2):
                answers = await asyncio.gather(
                    case.send(MOBILE + 2), case.verify(wrong, OTHER_CODE), return_exceptions=True
                )
                assert [type(it) for it in answers] == [StoreError, ReturnCode]
            assert await case.verify(right) is SUCCESS
            assert (await case.store.pending_job(1, wrong)) is not None
            for job in await case.store.take_jobs(2):
                await case.store.record_delivery(job, Delivery(DeliveryState.SENT, "0", f"carrier-{job.mobile}"))
            assert await case.store.record_receipt(f"carrier-{MOBILE}", Delivery(DeliveryState.DELIVERED))
            await asyncio.sleep(2 * POLL_S)  # the watch task goes on too
            await case.store.ping()
            client.config_set("maxmemory", 0)
        assert await until(case.balance) == 998
        assert await case.send(MOBILE + 2) is SUCCESS
        await case.close()

    asyncio.run(judge())


@pytest.mark.parametrize(("key", "accepted"), [(f"w:{MOBILE}", 39), ("w:0", 0), ("jobs", 0), ("balance", 0)])
def test_a_key_of_a_wrong_type_fails_only_the_sends_that_need_it_and_charges_nothing_for_them(
    redis: RedisServer, tmp_path: Path, key: str, accepted: int
) -> None:
    async def judge() -> None:
        redis.empty()
        case = Case(redis.url, tmp_path, wall=None)
        await case.begin(Policy((Rule(1, 60),), (Rule(100, 60),)), timeout_s=TIMEOUT_S)
        with redis.client() as client:
            kept = client.get("sms:{1}:balance")
            client.delete(f"sms:{{1}}:{key}")
            client.lpush(f"sms:{{1}}:{key}", "x")
            sends = [case.send(MOBILE + n) for n in range(40)]
            answers = Counter(str(it) for it in await asyncio.gather(*sends, return_exceptions=True))
            assert answers[str(SUCCESS)] == accepted
            assert sum(count for text, count in answers.items() if "WRONGTYPE" in text) == 40 - accepted
            client.delete(f"sms:{{1}}:{key}")
            if key == "balance":
                client.set("sms:{1}:balance", kept)
        assert await case.balance() == 1000 - accepted
        assert [await case.send(MOBILE + n) for n in range(40)].count(SUCCESS) == 40 - accepted
        await case.close()

    asyncio.run(judge())


def test_only_errors_from_before_a_script_starts_mean_that_nothing_was_done() -> None:
    at_line = " script: 5f2c, on @user_script:52."
    assert is_refusal(OutOfMemoryError("command not allowed when used memory > 'maxmemory'."))
    assert is_refusal(ResponseError("LATE the deadline has passed"))
    assert not is_refusal(OutOfMemoryError("command not allowed when used memory > 'maxmemory'." + at_line))
    assert not is_refusal(ResponseError("WRONGTYPE Operation against a key" + at_line))
    assert not is_refusal(ResponseError("ERR something new"))


def test_a_redis_that_was_emptied_is_not_ready_and_calls_fail_until_its_data_is_back(
    own: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def judge() -> None:
        case = Case(own.url, tmp_path, wall=None)
        await case.begin(Policy(()))
        with own.client() as client:
            kept = {key: client.dump(key) for key in client.scan_iter()}
            client.flushall()
            with pytest.raises(StoreError, match="Redis was emptied"):
                await case.store.ping()
            async with asyncio.timeout(240):
                while "emptied" not in caplog.text:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(2 * POLL_S)
            assert case.store.app("key1")  # so that its callers are not told 50002
            with pytest.raises(StoreError):
                await case.send()
            for key, value in kept.items():
                client.restore(key, 0, value)
        assert await until(case.send) is SUCCESS
        await case.close()

    asyncio.run(judge())
    assert caplog.text.count("emptied") == 1


# What can't be used.


def refusal(url: str, key_file: Path) -> str:
    """Return why a store can't be opened."""
    with pytest.raises(RunError) as problem:
        asyncio.run(RedisStore.open(url, Policy(), key_file, timeout_s=TIMEOUT_S))
    return str(problem.value)


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_an_unreachable_redis_is_named_without_its_password(tmp_path: Path, scheme: str) -> None:
    port = free_port()
    told = refusal(f"{scheme}://user:hidden@127.0.0.1:{port}", tmp_path / "key")
    assert told.startswith(f"{scheme}://127.0.0.1:{port}: can't be used as a store: Redis: ")
    assert "hidden" not in told
    assert "\n" not in told


def test_a_frozen_redis_at_the_start_causes_an_error_in_time(own: RedisServer, tmp_path: Path) -> None:
    own.freeze()
    assert "no answer in time" in refusal(own.url, tmp_path / "key")
    own.thaw()


def test_an_older_redis_is_refused_with_its_version(redis: RedisServer, tmp_path: Path) -> None:
    async def judge() -> None:
        async with wire(redis) as led:
            led.change = lambda answer: answer.replace(b"redis_version:7", b"redis_version:6")
            with pytest.raises(RunError, match=r"Redis 6\.[0-9.]+ is too old: Redis 7 or later"):
                await RedisStore.open(led.url, Policy(), tmp_path / "key")

    asyncio.run(judge())


def test_a_redis_that_may_remove_keys_is_refused_and_one_that_keeps_nothing_on_disk_is_told(
    redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.client() as client:
        client.config_set("maxmemory-policy", "volatile-lru")
        try:
            assert "set `maxmemory-policy noeviction`" in refusal(redis.url, tmp_path / "key")
        finally:
            client.config_set("maxmemory-policy", "noeviction")

    async def begin() -> None:
        redis.empty()
        case = Case(redis.url, tmp_path)
        await case.begin()
        await case.close()

    asyncio.run(begin())
    assert "set `appendonly yes`" in caplog.text


def fill(redis: RedisServer, folder: Path) -> None:
    """Open a store on an empty Redis, which writes the format and the key file, and close it."""

    async def begin_and_close() -> None:
        redis.empty()
        case = Case(redis.url, folder)
        await case.begin()
        await case.close()

    asyncio.run(begin_and_close())


def test_the_key_file_is_created_once_and_another_key_is_refused(redis: RedisServer, tmp_path: Path) -> None:
    fill(redis, tmp_path)
    assert (tmp_path / "smscode.key").stat().st_mode & 0o777 == 0o600
    assert "missing" in refusal(redis.url, tmp_path / "other.key")
    (tmp_path / "other.key").write_bytes(b"x" * 32)
    assert "another key" in refusal(redis.url, tmp_path / "other.key")
    (tmp_path / "other.key").write_bytes(b"x" * 31)
    assert "expected a key of 32 bytes, got 31" in refusal(redis.url, tmp_path / "other.key")


def test_a_store_of_an_earlier_format_is_refused(redis: RedisServer, tmp_path: Path) -> None:
    fill(redis, tmp_path)
    with redis.client() as client:
        client.hset("sms:{accounts}:store", "format", 3)
    assert "of another version (format 3, expected 4)" in refusal(redis.url, tmp_path / "smscode.key")
