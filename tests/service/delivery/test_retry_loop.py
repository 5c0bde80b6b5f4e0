"""Check that the retry loop loses no message, makes no useless attempt and stops cleanly."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.bench import Wall

from toolkit.api.errors import StoreError
from toolkit.service.core.accounts import App, Template
from toolkit.service.core.messages import Delivery, DeliveryState, Job, Message, NewMessage
from toolkit.service.core.policy import Policy
from toolkit.service.delivery.base import DeliveryError, OutgoingMessage, Receipt, backoff_s
from toolkit.service.delivery.retry_loop import (
    FIRST_BACKOFF_S,
    MAX_BACKOFF_S,
    RECEIPT_RETRY_WAITS_S,
    RECORD_ATTEMPTS,
    RetryLoop,
)
from toolkit.service.stores.base import LEASE_S
from toolkit.service.stores.sqlite.store import SqliteStore

DELIVERED = Delivery(DeliveryState.DELIVERED, "200")
BUSY = DeliveryError("busy")
MISCONFIGURED = DeliveryError("404", misconfigured=True)


@dataclass
class ScriptedProvider:
    """A provider that returns or raises the given answers and keeps the messages."""

    answers: list[Delivery | Exception] = field(default_factory=lambda: [DELIVERED])
    got: list[OutgoingMessage] = field(default_factory=list)
    max_concurrent: int = 0
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1000))
    entered: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    _concurrent: int = 0

    async def deliver(self, text: OutgoingMessage) -> Delivery:
        self.got.append(text)
        self._concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self._concurrent)
        self.entered.release()
        try:
            async with self.gate:
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        finally:
            self._concurrent -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class FailingStore:
    """A store whose next ``failures`` operations fail."""

    store: SqliteStore
    failures: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def record_delivery(self, job: Job, delivery: Delivery, refund: bool = False) -> None:
        self.fail()
        await self.store.record_delivery(job, delivery, refund)

    async def take_jobs(self, limit: int) -> list[Job]:
        self.fail()
        return await self.store.take_jobs(limit)

    def fail(self) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise StoreError("too slow")


@dataclass
class World:
    """A store and a retry loop on clocks that the test moves."""

    path: Path
    speed: float = 1.0
    wall: Wall = field(default_factory=Wall)
    real_s: float = 0
    slept_s: list[float] = field(default_factory=list)
    provider: ScriptedProvider = field(default_factory=ScriptedProvider)
    store: SqliteStore = field(init=False)
    loop: RetryLoop = field(init=False)

    async def open(self) -> None:
        policy = Policy(rules=())
        self.store = SqliteStore.open(self.path, policy, self.speed, self.wall, self.wall, now_s=lambda: self.real_s)
        if self.store.app("key") is None:
            app, template = App(1, "key", b"digest"), Template(1, 1, "code {code}", 300)
            await self.store.put(app=app, credit=1000, template=template)
        self.loop = RetryLoop(self.store, "scripted", rng=random.Random(1), sleep=self.sleep)

    async def sleep(self, wait_s: float) -> None:
        self.slept_s.append(wait_s)
        await asyncio.sleep(0)

    def pass_s(self, seconds: float) -> None:
        self.real_s += seconds
        self.wall.now_ms += int(seconds * 1000)

    async def send(self) -> str:
        return (await self.store.send(NewMessage(1, 13800138000, 1, "123456", 300_000, 1))).msg_id

    async def take(self) -> Job:
        [job] = await self.store.take_jobs(10)
        return job

    async def deliver(self, answer: Delivery | Exception) -> Message:
        """Send a message, run one attempt, and return the message."""
        msg_id = await self.send()
        self.provider.answers = [answer]
        await self.loop.deliver(await self.take(), self.provider)
        return await self.message(msg_id)

    async def message(self, msg_id: str) -> Message:
        message = await self.store.message(msg_id)
        assert message
        return message


async def end(running: asyncio.Task[None]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def run(path: Path, claim: Callable[[World], Awaitable[None]], speed: float = 1.0) -> None:
    async def bounded() -> None:
        world = World(path / "store.db", speed)
        await world.open()
        try:
            async with asyncio.timeout(240):
                await claim(world)
        finally:
            await world.store.close()

    asyncio.run(bounded())


@pytest.mark.parametrize(
    "delivery", [DELIVERED, Delivery(DeliveryState.FAILED, "404"), Delivery(DeliveryState.SENT, carrier_id="m1")]
)
def test_a_result_is_recorded_and_the_job_with_its_text_is_removed(tmp_path: Path, delivery: Delivery) -> None:
    async def claim(world: World) -> None:
        message = await world.deliver(delivery)
        assert (message.delivery, message.attempts) == (delivery, 1)
        assert world.provider.got == [OutgoingMessage(message.msg_id, "13800138000", "code 123456")]
        assert await world.store.pending_job(1, message.msg_id) is None
        assert (world.loop.counters.attempts, world.loop.counters.deliveries) == (
            {"scripted": 1},
            {("scripted", delivery.state): 1},
        )
        world.pass_s(LEASE_S)
        assert await world.store.take_jobs(10) == []

    run(tmp_path, claim)


def balance(world: World) -> int:
    return world.store.state.balances[1]


def test_a_message_that_a_misconfigured_provider_refused_is_retried_and_can_be_delivered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def claim(world: World) -> None:
        message = await world.deliver(MISCONFIGURED)
        assert message.delivery == Delivery(DeliveryState.WAITING, "404")
        assert "scripted refuses every message with 404" in world.loop.counters.delivery_problem
        world.pass_s(FIRST_BACKOFF_S)
        job = await world.take()
        await world.loop.deliver(job, world.provider)
        world.pass_s(MAX_BACKOFF_S)
        world.provider.answers = [DELIVERED]
        await world.loop.deliver(await world.take(), world.provider)
        assert (await world.message(message.msg_id)).delivery == DELIVERED
        assert (balance(world), world.loop.counters.delivery_problem) == (999, "")

    with caplog.at_level(logging.ERROR):
        run(tmp_path, claim)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_message_that_expires_because_of_a_misconfiguration_is_refunded(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        message = await world.deliver(MISCONFIGURED)
        assert balance(world) == 999
        world.pass_s(300)
        await world.loop.deliver(await world.take(), world.provider)
        assert (await world.message(message.msg_id)).delivery == Delivery(DeliveryState.EXPIRED, "404")
        assert (balance(world), world.loop.counters.refunded) == (1000, 1)

    run(tmp_path, claim)


def test_a_refund_is_due_after_a_restart_too(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        await world.deliver(MISCONFIGURED)
        world.pass_s(300)
        await world.store.close()
        await world.open()
        await world.loop.deliver(await world.take(), world.provider)
        assert balance(world) == 1000

    run(tmp_path, claim)


def test_a_refund_is_given_if_the_expired_job_is_pruned_before_it_is_taken(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        message = await world.deliver(MISCONFIGURED)
        world.pass_s(400)
        assert await world.store.prune()
        assert (await world.message(message.msg_id)).delivery == Delivery(DeliveryState.EXPIRED, "404")
        assert (balance(world), await world.store.backlog()) == (1000, 0)

    run(tmp_path, claim)


@pytest.mark.parametrize("last", [BUSY, DeliveryError("429", retry_after_s=1000)])
def test_a_message_that_expires_for_another_reason_is_not_refunded(tmp_path: Path, last: DeliveryError) -> None:
    async def claim(world: World) -> None:
        await world.deliver(MISCONFIGURED)
        world.pass_s(FIRST_BACKOFF_S)
        world.provider.answers = [last]
        await world.loop.deliver(await world.take(), world.provider)
        world.pass_s(300)
        for job in await world.store.take_jobs(10):
            await world.loop.deliver(job, world.provider)
        assert (balance(world), world.loop.counters.refunded) == (999, 0)

    run(tmp_path, claim)


def test_a_message_that_was_not_accepted_is_retried_later(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        message = await world.deliver(BUSY)
        assert message.delivery.state is DeliveryState.WAITING
        assert await world.store.take_jobs(10) == []
        world.pass_s(FIRST_BACKOFF_S)
        job = await world.take()
        assert job.attempts == 1
        world.provider.answers = [DELIVERED]
        await world.loop.deliver(job, world.provider)
        message = await world.message(message.msg_id)
        assert (message.delivery, message.attempts) == (DELIVERED, 2)

    run(tmp_path, claim)


def test_a_wait_that_the_provider_asked_for_is_obeyed(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        await world.deliver(DeliveryError("429", retry_after_s=50))
        world.pass_s(49)
        assert await world.store.take_jobs(10) == []
        world.pass_s(1)
        assert await world.take()

    run(tmp_path, claim)


@pytest.mark.parametrize("tries", [0, 1, 3, 10, 10_000])
def test_backoff_doubles_has_full_jitter_and_is_bounded(tries: int) -> None:
    chance = random.Random(1)
    most_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(tries, 100))
    drawn = [backoff_s(chance, tries, FIRST_BACKOFF_S, MAX_BACKOFF_S) for _ in range(2000)]
    assert 0 <= min(drawn) < 0.02 * most_s
    assert 0.98 * most_s < max(drawn) <= most_s


def test_a_message_with_an_expired_code_is_not_attempted(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        msg_id = await world.send()
        world.pass_s(300)
        await world.loop.deliver(await world.take(), world.provider)
        assert (await world.message(msg_id)).delivery == Delivery(DeliveryState.EXPIRED)
        assert world.provider.got == []
        assert not world.loop.counters.attempts

    run(tmp_path, claim)


@pytest.mark.parametrize(("speed", "left_s"), [(1.0, 300), (60.0, 5)])
def test_a_message_is_given_up_if_its_next_attempt_would_be_too_late(
    tmp_path: Path, speed: float, left_s: float
) -> None:
    async def claim(world: World) -> None:
        message = await world.deliver(DeliveryError("429", retry_after_s=left_s))
        assert message.delivery == Delivery(DeliveryState.EXPIRED, "429")
        message = await world.deliver(DeliveryError("429", retry_after_s=left_s - 1))
        assert message.delivery.state is DeliveryState.WAITING

    run(tmp_path, claim, speed)


def test_a_defect_of_a_provider_is_retried_and_logged_without_the_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def claim(world: World) -> None:
        message = await world.deliver(RuntimeError("code 123456 to 13800138000"))
        assert message.delivery.state is DeliveryState.WAITING

    with caplog.at_level(logging.DEBUG):
        run(tmp_path, claim)
    assert "RuntimeError" in caplog.text
    assert [word for word in ("123456", "13800138000") if word in caplog.text] == []


def test_a_result_that_could_not_be_recorded_is_recorded_later(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        world.loop.store = FailingStore(world.store, RECORD_ATTEMPTS - 1)
        assert (await world.deliver(DELIVERED)).delivery == DELIVERED
        assert len(world.provider.got) == 1

    run(tmp_path, claim)


def test_a_message_is_delivered_again_if_its_result_was_never_recorded(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        world.loop.store = FailingStore(world.store, RECORD_ATTEMPTS)
        assert (await world.deliver(DELIVERED)).delivery.state is DeliveryState.WAITING
        world.pass_s(LEASE_S)
        await world.loop.deliver(await world.take(), world.provider)
        assert len(world.provider.got) == 2

    run(tmp_path, claim)


def test_a_message_that_a_dead_process_delivered_is_delivered_again(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        msg_id = await world.send()
        await world.provider.deliver(OutgoingMessage(msg_id, "13800138000", (await world.take()).code))
        await world.store.close()
        await world.open()
        await world.loop.deliver(await world.take(), world.provider)
        assert [text.msg_id for text in world.provider.got] == [msg_id, msg_id]
        assert (await world.message(msg_id)).delivery == DELIVERED

    run(tmp_path, claim)


def test_concurrent_attempts_are_limited_and_all_messages_are_delivered(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        world.loop.max_concurrent = 3
        world.provider.gate = asyncio.Semaphore(0)
        sent = {await world.send() for _ in range(20)}
        running = asyncio.create_task(world.loop.run(world.provider))
        for _ in range(20):
            await world.provider.entered.acquire()
            if len(world.provider.got) >= 3:
                world.provider.gate.release()
        await end(running)
        assert {text.msg_id for text in world.provider.got} == sent
        assert world.provider.max_concurrent == 3
        assert await world.store.backlog() == 0

    run(tmp_path, claim)


def test_delivery_continues_after_the_store_failed_for_a_while(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        await world.send()
        world.loop.store = FailingStore(world.store, 3)
        running = asyncio.create_task(world.loop.run(world.provider))
        await world.provider.entered.acquire()
        await end(running)
        assert await world.store.backlog() == 0

    run(tmp_path, claim)


def test_stopping_waits_for_running_attempts(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        msg_id = await world.send()
        world.provider.gate = asyncio.Semaphore(0)
        running = asyncio.create_task(world.loop.run(world.provider))
        await world.provider.entered.acquire()
        asyncio.get_running_loop().call_soon(world.provider.gate.release)
        await end(running)
        assert (await world.message(msg_id)).delivery == DELIVERED

    run(tmp_path, claim)


def test_stopping_puts_back_attempts_that_take_too_long(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        msg_id = await world.send()
        world.provider.gate = asyncio.Semaphore(0)
        running = asyncio.create_task(world.loop.run(world.provider))
        await world.provider.entered.acquire()
        world.loop.drain_s = 0
        await end(running)
        assert (await world.take()).msg_id == msg_id

    run(tmp_path, claim)


def test_a_receipt_that_arrives_before_its_message_is_recorded(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        msg_id = await world.send()
        job = await world.take()
        failed = Delivery(DeliveryState.FAILED, "UNDELIV 069", "m1")

        async def settle_meanwhile(wait_s: float) -> None:
            if wait_s:
                await world.store.record_delivery(job, Delivery(DeliveryState.SENT, carrier_id="m1"))

        world.loop.sleep = settle_meanwhile
        assert await world.loop.handle_receipt(Receipt("m1", failed))
        assert (await world.message(msg_id)).delivery == failed
        assert world.loop.counters.deliveries == {("scripted", DeliveryState.FAILED): 1}

    run(tmp_path, claim)


def test_a_receipt_for_an_unknown_message_is_rejected(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        assert not await world.loop.handle_receipt(Receipt("m1", DELIVERED))
        assert world.slept_s == list(RECEIPT_RETRY_WAITS_S)

    run(tmp_path, claim)


@pytest.mark.parametrize(("mobile", "recorded"), [(13800138000, True), (13800138001, False), (None, False)])
def test_an_id_in_the_other_notation_counts_only_with_the_mobile(
    tmp_path: Path, mobile: int | None, recorded: bool
) -> None:
    async def claim(world: World) -> None:
        message = await world.deliver(Delivery(DeliveryState.SENT, carrier_id="1A2B"))
        receipt = Receipt("6699", Delivery(DeliveryState.DELIVERED, "DELIVRD"), mobile, ("1A2B", "26265"))
        assert await world.loop.handle_receipt(receipt) == recorded
        state = (await world.message(message.msg_id)).delivery.state
        assert state is (DeliveryState.DELIVERED if recorded else DeliveryState.SENT)

    run(tmp_path, claim)
