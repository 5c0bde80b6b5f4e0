"""Takes accepted messages from the store to a provider, at least once: what isn't recorded is handed over again.

Decides when to try again and when to give up. How a text reaches the phone is the provider's matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from toolkit.api.errors import StoreError
from toolkit.service.core.messages import Delivery, Job, State
from toolkit.service.delivery.base import MAX_ATTEMPT_S, DeliveryError, Provider, Text, Way, backoff_s
from toolkit.service.metrics.call_log import FIELDS
from toolkit.service.metrics.counters import Counters
from toolkit.service.stores.base import Store

log = logging.getLogger(__name__)

POLL_S = 0.2  # a job that comes while nothing is to be done waits no longer
STORE_REST_S = 1.0  # after the store failed
RECORD_TRIES = 5  # STORE_REST_S apart; then the lease ends soon, and the message is handed over again
STOP_S = 10  # for what is under way when the worker stops
FIRST_WAIT_S, MOST_WAIT_S = 1, 30  # between tries
RECEIPT_WAITS_S = (0, 0.2, 1, 3)  # a receipt can overtake the record of what it is the receipt of

Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class Worker:
    """Delivers the jobs of a store by the provider of a name, and counts in a counters what it does.

    ``at_once``: attempts under way at a time; no more jobs than these are leased.
    ``stop_s``: how long, at the end, what is under way is waited for.
    """

    store: Store
    name: str
    counters: Counters = field(default_factory=Counters)
    at_once: int = 32
    stop_s: float = STOP_S
    chance: random.Random = field(default_factory=random.Random)
    sleep: Sleep = asyncio.sleep
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, provider: Provider) -> None:
        """Deliver until cancelled; then let end what is under way, and put back what doesn't in time."""
        try:
            while True:
                await self._fill(provider)
        finally:
            await self._end()

    async def _fill(self, provider: Provider) -> None:
        """Begin as many attempts as are free, and wait until there may be more to begin."""
        free = self.at_once - len(self._under_way)
        jobs = await self._take(free)
        for job in jobs:
            task = asyncio.create_task(self.deliver(job, provider))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        if len(jobs) < free:
            await self.sleep(POLL_S)
        else:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    async def _end(self) -> None:
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=self.stop_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def deliver(self, job: Job, provider: Provider) -> None:
        """Hand a taken job's message over and record what became of it, or put it back."""
        try:
            delivery = await self._attempt(job, provider)
        except DeliveryError as problem:
            await self._try_later(job, problem)
        except asyncio.CancelledError:
            await self._keep(self.store.postpone(job, 0))
            raise
        else:
            await self._settle(job, delivery)

    async def receive(self, carrier_id: str, delivery: Delivery) -> bool:
        """Record a receipt; False where no message is known by the carrier's number."""
        for wait_s in RECEIPT_WAITS_S:
            await self.sleep(wait_s)
            if await self.store.receive(carrier_id, delivery):
                self._tell(delivery._replace(carrier_id=carrier_id))
                return True
        return False

    async def _take(self, limit: int) -> list[Job]:
        try:
            return await self.store.take_jobs(limit)
        except Exception as problem:  # whatever it is, the next messages want to be delivered
            log.error("delivery: %s: %s", type(problem).__name__, problem)
            await self.sleep(STORE_REST_S)
            return []

    async def _attempt(self, job: Job, provider: Provider) -> Delivery:
        template = self.store.template(job.temp_id)
        if self._left_s(job) <= 0:
            return Delivery(State.EXPIRED)
        if template is None:
            return Delivery(State.FAILED, "no template")
        self.counters.attempts[self.name] += 1
        try:
            async with asyncio.timeout(MAX_ATTEMPT_S):
                return await provider.deliver(Text(job.msg_id, str(job.mobile), template.render(job.code)))
        except DeliveryError:
            raise
        except Exception as problem:  # its text may hold the message's
            log.error("delivery: %s failed: %s", self.name, type(problem).__name__)
            raise DeliveryError(type(problem).__name__) from None

    async def _try_later(self, job: Job, problem: DeliveryError) -> None:
        """Put a job back for later, unless its code will no longer be valid then."""
        wait_s = max(problem.retry_after_s, backoff_s(self.chance, job.attempts, FIRST_WAIT_S, MOST_WAIT_S))
        log.info("delivery put off: %s", problem, extra={FIELDS: {"provider": self.name, "msg_id": job.msg_id}})
        if wait_s >= self._left_s(job):
            await self._settle(job, Delivery(State.EXPIRED, problem.carrier_code))
        else:
            await self._keep(self.store.postpone(job, wait_s))

    async def _settle(self, job: Job, delivery: Delivery) -> None:
        for _ in range(RECORD_TRIES):
            if await self._keep(self.store.settle(job, delivery)):
                self._tell(delivery, msg_id=job.msg_id, attempts=job.attempts + 1)
                return
            await self.sleep(STORE_REST_S)

    def _tell(self, delivery: Delivery, **known: object) -> None:
        """Count an outcome that is recorded, and log it; a receipt knows the message by the carrier's number alone."""
        self.counters.deliveries[self.name, delivery.state] += 1
        level = logging.WARNING if delivery.state in (State.FAILED, State.EXPIRED) else logging.INFO
        fields = {"provider": self.name, **known, **delivery._asdict()}
        log.log(level, "delivery %s", delivery.state, extra={FIELDS: fields})

    async def _keep(self, keeping: Awaitable[None]) -> bool:
        try:
            await keeping
        except StoreError as problem:
            log.error("delivery: %s", problem)
            return False
        return True

    def _left_s(self, job: Job) -> float:
        """Return for how many real seconds a job's code is still valid."""
        clock = self.store.clock
        return (job.expires_ms - clock.now_ms()) / 1000 / clock.speed


@asynccontextmanager
async def delivering(store: Store, way: Way, counters: Counters) -> AsyncIterator[None]:
    """Deliver a store's messages while the block lasts."""
    worker = Worker(store, way.name, counters)
    async with way.open(worker.receive) as provider:
        running = asyncio.create_task(worker.run(provider))
        try:
            yield
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
