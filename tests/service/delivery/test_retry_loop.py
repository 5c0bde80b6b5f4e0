"""The worker between store and provider: nothing is lost, nothing is tried in vain, and it ends in good order."""

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
from toolkit.service.delivery.base import DeliveryError, OutgoingMessage, backoff_s
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


@dataclass
class Told:
    """A provider that does as it is told, and keeps what it got."""

    answers: list[Delivery | Exception] = field(default_factory=lambda: [DELIVERED])
    got: list[OutgoingMessage] = field(default_factory=list)
    most_at_once: int = 0
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1000))
    entered: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    _at_once: int = 0

    async def deliver(self, text: OutgoingMessage) -> Delivery:
        self.got.append(text)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.entered.release()
        try:
            async with self.gate:
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        finally:
            self._at_once -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Failing:
    """A store whose next steps fail, as many as there are ``failures``."""

    store: SqliteStore
    failures: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def record_delivery(self, job: Job, delivery: Delivery) -> None:
        self.fail()
        await self.store.record_delivery(job, delivery)

    async def take_jobs(self, limit: int) -> list[Job]:
        self.fail()
        return await self.store.take_jobs(limit)

    def fail(self) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise StoreError("too slow")


@dataclass
class World:
    """A store and a worker, whose clocks stand until they are moved."""

    path: Path
    speed: float = 1.0
    wall: Wall = field(default_factory=Wall)
    real_s: float = 0
    slept_s: list[float] = field(default_factory=list)
    provider: Told = field(default_factory=Told)
    store: SqliteStore = field(init=False)
    loop: RetryLoop = field(init=False)

    async def open(self) -> None:
        policy = Policy(rules=())
        self.store = SqliteStore.open(self.path, policy, self.speed, self.wall, now_s=lambda: self.real_s)
        if self.store.app("key") is None:
            app, template = App(1, "key", b"digest"), Template(1, 1, "code {code}", 300)
            await self.store.put(app=app, credit=1000, template=template)
        self.loop = RetryLoop(self.store, "told", rng=random.Random(1), sleep=self.sleep)

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
        """Send a message, have the worker try once, and return what is known of it then."""
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
            async with asyncio.timeout(30):
                await claim(world)
        finally:
            await world.store.close()

    asyncio.run(bounded())


@pytest.mark.parametrize(
    "delivery", [DELIVERED, Delivery(DeliveryState.FAILED, "404"), Delivery(DeliveryState.SENT, carrier_id="m1")]
)
def test_what_became_of_a_message_is_recorded_and_its_text_forgotten(tmp_path: Path, delivery: Delivery) -> None:
    async def claim(world: World) -> None:
        message = await world.deliver(delivery)
        assert (message.delivery, message.attempts) == (delivery, 1)
        assert world.provider.got == [OutgoingMessage(message.msg_id, "13800138000", "code 123456")]
        assert await world.store.pending_job(1, message.msg_id) is None
        assert (world.loop.counters.attempts, world.loop.counters.deliveries) == (
            {"told": 1},
            {("told", delivery.state): 1},
        )
        world.pass_s(LEASE_S)
        assert await world.store.take_jobs(10) == []

    run(tmp_path, claim)


def test_a_message_that_was_not_taken_is_tried_again_later(tmp_path: Path) -> None:
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


def test_a_wait_that_the_provider_asked_for_is_kept(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        await world.deliver(DeliveryError("429", retry_after_s=50))
        world.pass_s(49)
        assert await world.store.take_jobs(10) == []
        world.pass_s(1)
        assert await world.take()

    run(tmp_path, claim)


@pytest.mark.parametrize("tries", [0, 1, 3, 10, 10_000])
def test_waits_grow_by_powers_of_two_are_spread_to_zero_and_bounded(tries: int) -> None:
    chance = random.Random(1)
    most_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(tries, 100))
    drawn = [backoff_s(chance, tries, FIRST_BACKOFF_S, MAX_BACKOFF_S) for _ in range(2000)]
    assert 0 <= min(drawn) < 0.02 * most_s
    assert 0.98 * most_s < max(drawn) <= most_s


def test_a_message_whose_code_expired_is_given_up_untried(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        msg_id = await world.send()
        world.pass_s(300)
        await world.loop.deliver(await world.take(), world.provider)
        assert (await world.message(msg_id)).delivery == Delivery(DeliveryState.EXPIRED)
        assert world.provider.got == []
        assert not world.loop.counters.attempts

    run(tmp_path, claim)


@pytest.mark.parametrize(("speed", "left_s"), [(1.0, 300), (60.0, 5)])
def test_a_message_is_given_up_when_its_next_try_would_come_too_late(
    tmp_path: Path, speed: float, left_s: float
) -> None:
    async def claim(world: World) -> None:
        message = await world.deliver(DeliveryError("429", retry_after_s=left_s))
        assert message.delivery == Delivery(DeliveryState.EXPIRED, "429")
        message = await world.deliver(DeliveryError("429", retry_after_s=left_s - 1))
        assert message.delivery.state is DeliveryState.WAITING

    run(tmp_path, claim, speed)


def test_a_providers_defect_is_no_end_and_tells_no_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def claim(world: World) -> None:
        message = await world.deliver(RuntimeError("code 123456 to 13800138000"))
        assert message.delivery.state is DeliveryState.WAITING

    with caplog.at_level(logging.DEBUG):
        run(tmp_path, claim)
    assert "RuntimeError" in caplog.text
    assert [word for word in ("123456", "13800138000") if word in caplog.text] == []


def test_an_outcome_that_could_not_be_recorded_is_recorded_later(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        world.loop.store = Failing(world.store, RECORD_ATTEMPTS - 1)
        assert (await world.deliver(DELIVERED)).delivery == DELIVERED
        assert len(world.provider.got) == 1

    run(tmp_path, claim)


def test_an_outcome_that_was_never_recorded_has_the_message_delivered_again(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        world.loop.store = Failing(world.store, RECORD_ATTEMPTS)
        assert (await world.deliver(DELIVERED)).delivery.state is DeliveryState.WAITING
        world.pass_s(LEASE_S)
        await world.loop.deliver(await world.take(), world.provider)
        assert len(world.provider.got) == 2

    run(tmp_path, claim)


def test_a_message_that_was_handed_over_by_a_process_that_died_is_handed_over_again(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        msg_id = await world.send()
        await world.provider.deliver(OutgoingMessage(msg_id, "13800138000", (await world.take()).code))
        await world.store.close()
        await world.open()
        await world.loop.deliver(await world.take(), world.provider)
        assert [text.msg_id for text in world.provider.got] == [msg_id, msg_id]
        assert (await world.message(msg_id)).delivery == DELIVERED

    run(tmp_path, claim)


def test_no_more_messages_are_under_way_than_allowed_and_all_are_delivered(tmp_path: Path) -> None:
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
        assert world.provider.most_at_once == 3
        assert await world.store.backlog() == 0

    run(tmp_path, claim)


def test_a_store_that_fails_for_a_while_stops_nothing(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        await world.send()
        world.loop.store = Failing(world.store, 3)
        running = asyncio.create_task(world.loop.run(world.provider))
        await world.provider.entered.acquire()
        await end(running)
        assert await world.store.backlog() == 0

    run(tmp_path, claim)


def test_a_stopped_worker_lets_end_what_is_under_way(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        msg_id = await world.send()
        world.provider.gate = asyncio.Semaphore(0)
        running = asyncio.create_task(world.loop.run(world.provider))
        await world.provider.entered.acquire()
        asyncio.get_running_loop().call_soon(world.provider.gate.release)
        await end(running)
        assert (await world.message(msg_id)).delivery == DELIVERED

    run(tmp_path, claim)


def test_a_stopped_worker_puts_back_what_does_not_end_in_time(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        msg_id = await world.send()
        world.provider.gate = asyncio.Semaphore(0)
        running = asyncio.create_task(world.loop.run(world.provider))
        await world.provider.entered.acquire()
        world.loop.drain_s = 0
        await end(running)
        assert (await world.take()).msg_id == msg_id

    run(tmp_path, claim)


def test_a_receipt_that_overtook_its_message_is_kept(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        msg_id = await world.send()
        job = await world.take()
        told = Delivery(DeliveryState.FAILED, "UNDELIV 069", "m1")

        async def settle_meanwhile(wait_s: float) -> None:
            if wait_s:
                await world.store.record_delivery(job, Delivery(DeliveryState.SENT, carrier_id="m1"))

        world.loop.sleep = settle_meanwhile
        assert await world.loop.handle_receipt("m1", told)
        assert (await world.message(msg_id)).delivery == told
        assert world.loop.counters.deliveries == {("told", DeliveryState.FAILED): 1}

    run(tmp_path, claim)


def test_a_receipt_of_no_message_is_said_to_be_one(tmp_path: Path) -> None:
    async def claim(world: World) -> None:
        assert not await world.loop.handle_receipt("m1", DELIVERED)
        assert world.slept_s == list(RECEIPT_RETRY_WAITS_S)

    run(tmp_path, claim)
