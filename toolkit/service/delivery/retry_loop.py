"""Deliver the store's pending messages through a provider, at least once each, until their codes expire.

Problem: a process may die between handing a message over and recording the result, and a provider may fail for a
while. No message may be lost, none may be tried when its code is no longer valid, and an outage must not turn into a
flood of requests.

Method: a job queue with leases (visibility timeouts, as in Amazon SQS) and exponential backoff with full jitter. The
queue is part of the store, so a job is created in the same transaction that accepts the send. ::

    take_jobs() ── lease ──> provider.deliver() ──> settle(): DELIVERED, SENT, FAILED or EXPIRED
         ^                        │
         │                  DeliveryError, or the loop stops
         └── postpone(wait) <─────┘
         ^
         └── the lease runs out: the worker died, or could not record the result

Example: a code is valid for 300 s and the provider answers 503 with "Retry-After: 50". The wait is the longer of 50 s
and the drawn backoff (0 to 1 s after the first failure, 0 to 2 s after the second, at most 30 s), so the job is
postponed by 50 s. With "Retry-After: 300" the code would expire first: the message is settled as EXPIRED at once.

A provider that refuses messages because its address or credentials are wrong (``DeliveryError.misconfigured``) is the
operator's fault. The message is retried all the same, the operator is alarmed, and the app gets its price back if the
code expires first. The fault of the last attempt is stored with the job, so that a restart does not forget the refund.

Trade-offs of the constants:

- ``ATTEMPT_TIMEOUT_S`` is half the lease (``LEASE_S``), so a job is not leased again while its attempt still runs.
- ``RECORD_ATTEMPTS`` times ``STORE_RETRY_S`` covers a short outage of the store. After that the message is delivered
  again, which costs money; blocking for longer would hold up other messages.
- ``RECEIPT_RETRY_WAITS_S``: a carrier may send a receipt before the loop has recorded the carrier's message id.
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
from toolkit.service.core.messages import Delivery, DeliveryState, Job
from toolkit.service.delivery.base import (
    DeliveryError,
    OutgoingMessage,
    Provider,
    ProviderFactory,
    Receipt,
    backoff_s,
)
from toolkit.service.metrics.call_log import LOG_FIELDS
from toolkit.service.metrics.counters import Counters
from toolkit.service.stores.base import Store

log = logging.getLogger(__name__)

ATTEMPT_TIMEOUT_S = 15
POLL_S = 0.2  # the longest that a new job waits while the loop is idle
STORE_RETRY_S = 1.0
RECORD_ATTEMPTS = 5
DRAIN_S = 10  # how long running attempts are waited for when the loop stops
FIRST_BACKOFF_S, MAX_BACKOFF_S = 1, 30
RECEIPT_RETRY_WAITS_S = (0, 0.2, 1, 3)

Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class RetryLoop:
    """Delivers the jobs of a store through a provider and counts attempts and results.

    ``max_concurrent`` limits the attempts that run at a time; the loop leases no more jobs than that. ``drain_s`` is
    how long running attempts are waited for when the loop stops, in seconds.
    """

    store: Store
    provider_name: str
    counters: Counters = field(default_factory=Counters)
    max_concurrent: int = 32
    drain_s: float = DRAIN_S
    rng: random.Random = field(default_factory=random.Random)
    sleep: Sleep = asyncio.sleep
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, provider: Provider) -> None:
        """Deliver until cancelled. Then wait for the running attempts, and put back those that take too long."""
        try:
            while True:
                await self._start_attempts(provider)
        finally:
            if self._running:
                _, late = await asyncio.wait(self._running, timeout=self.drain_s)
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)

    async def _start_attempts(self, provider: Provider) -> None:
        """Start as many attempts as are free, and wait until more can be started."""
        free = self.max_concurrent - len(self._running)
        try:
            jobs = await self.store.take_jobs(free)
        except Exception as error:  # even a defect must not end delivery for good
            log.error("delivery: %s: %s", type(error).__name__, error)
            await self.sleep(STORE_RETRY_S)
            jobs = []
        for job in jobs:
            task = asyncio.create_task(self.deliver(job, provider))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if len(jobs) < free:
            await self.sleep(POLL_S)
        else:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def deliver(self, job: Job, provider: Provider) -> None:
        """Make one attempt to deliver a leased job, and record its result or put the job back."""
        try:
            delivery = await self._attempt(job, provider)
        except DeliveryError as error:
            fault = error.carrier_code if error.misconfigured else ""
            if fault:
                self._alarm(fault)
            wait_s = max(error.retry_after_s, backoff_s(self.rng, job.attempts, FIRST_BACKOFF_S, MAX_BACKOFF_S))
            log.info(
                "delivery put off: %s",
                error,
                extra={LOG_FIELDS: {"provider": self.provider_name, "msg_id": job.msg_id}},
            )
            if wait_s >= self._remaining_s(job):
                await self._settle(job, Delivery(DeliveryState.EXPIRED, error.carrier_code), refund=bool(fault))
            else:
                await self._record(self.store.postpone(job, wait_s, fault))
        except asyncio.CancelledError:
            await self._record(self.store.postpone(job, 0))
            raise
        else:
            await self._settle(job, delivery, refund=delivery.state is DeliveryState.EXPIRED and bool(job.fault))

    async def handle_receipt(self, receipt: Receipt) -> bool:
        """Record a delivery receipt; return False if no message has the carrier's message id."""
        carrier_ids = (receipt.carrier_id, *(receipt.other_ids if receipt.mobile else ()))
        for wait_s in RECEIPT_RETRY_WAITS_S:
            await self.sleep(wait_s)
            for carrier_id in carrier_ids:
                if await self.store.record_receipt(carrier_id, receipt.delivery, receipt.mobile):
                    self._count_and_log(receipt.delivery._replace(carrier_id=carrier_id))
                    return True
        return False

    async def _attempt(self, job: Job, provider: Provider) -> Delivery:
        template = self.store.template(job.temp_id)
        if self._remaining_s(job) <= 0:
            return Delivery(DeliveryState.EXPIRED, job.fault)
        if template is None:
            return Delivery(DeliveryState.FAILED, "no template")
        self.counters.attempts[self.provider_name] += 1
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                message = OutgoingMessage(job.msg_id, str(job.mobile), template.render(job.code))
                delivery = await provider.deliver(message)
        except DeliveryError:
            raise
        except Exception as error:  # only its type is logged: its text may contain the code
            log.error("delivery: %s failed: %s", self.provider_name, type(error).__name__)
            raise DeliveryError(type(error).__name__) from None
        self.counters.delivery_problem = ""
        return delivery

    def _alarm(self, fault: str) -> None:
        """Report that the provider refuses messages because of its settings: in the log, as a metric and in /readyz."""
        problem = (
            f"the provider {self.provider_name} refuses every message with {fault}: check its address and credentials"
        )
        if problem != self.counters.delivery_problem:
            log.error("delivery: %s; messages are retried until their codes expire, and refunded then", problem)
        self.counters.delivery_problem = problem

    async def _settle(self, job: Job, delivery: Delivery, refund: bool) -> None:
        """Record a final result. If the store keeps failing, the lease runs out and the message is delivered again."""
        for _ in range(RECORD_ATTEMPTS):
            if await self._record(self.store.record_delivery(job, delivery, refund)):
                refunded = {"refunded": job.segments} if refund else {}
                self.counters.refunded += job.segments if refund else 0
                self._count_and_log(delivery, msg_id=job.msg_id, attempts=job.attempts + 1, **refunded)
                return
            await self.sleep(STORE_RETRY_S)

    async def _record(self, write: Awaitable[None]) -> bool:
        """Await a write to the store; return whether it succeeded."""
        try:
            await write
        except StoreError as error:
            log.error("delivery: %s", error)
            return False
        return True

    def _count_and_log(self, delivery: Delivery, **known: object) -> None:
        """Count and log a recorded result. A receipt has the carrier's message id only, so ``known`` is empty."""
        self.counters.deliveries[self.provider_name, delivery.state] += 1
        level = logging.WARNING if delivery.state in (DeliveryState.FAILED, DeliveryState.EXPIRED) else logging.INFO
        fields = {"provider": self.provider_name, **known, **delivery._asdict()}
        log.log(level, "delivery %s", delivery.state, extra={LOG_FIELDS: fields})

    def _remaining_s(self, job: Job) -> float:
        """Return for how many real seconds a job's code is still valid."""
        clock = self.store.clock
        return (job.expires_ms - clock.now_ms()) / 1000 / clock.speed


@asynccontextmanager
async def delivering(store: Store, factory: ProviderFactory, counters: Counters) -> AsyncIterator[None]:
    """Deliver a store's messages until the block ends."""
    loop = RetryLoop(store, factory.name, counters)
    counters.attempts[factory.name] += 0  # exported from the start, at 0
    for state in DeliveryState:
        if state is not DeliveryState.WAITING:
            counters.deliveries[factory.name, state] += 0
    async with factory.open(loop.handle_receipt) as provider:
        task = asyncio.create_task(loop.run(provider))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
