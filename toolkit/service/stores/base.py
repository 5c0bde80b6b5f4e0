"""Where the service keeps its state: one module per engine, behind one Protocol."""

from __future__ import annotations

from typing import Protocol

from toolkit.service.core.accounts import App, Seal, Template
from toolkit.service.core.clock import Clock
from toolkit.service.core.messages import Decision, Delivery, Job, Message, Order

LEASE_S = 30  # real seconds: a job taken and not settled by then may be taken again


class Store(Protocol):
    """The service's state. What it returns rests only on what is durable; it raises StoreError where it can't keep a
    decision in time, and then nothing was charged.
    """

    @property
    def seal(self) -> Seal:
        """What makes the digests of codes and secrets."""

    @property
    def clock(self) -> Clock:
        """The clock that every time in the store is of."""

    # Accounts: read from memory, never more than a second old.

    def app(self, app_key: str) -> App | None:
        """Return the app of a key."""

    def template(self, temp_id: int) -> Template | None:
        """Return a template."""

    def apps(self) -> list[App]:
        """Return every app."""
        ...

    def templates(self) -> list[Template]:
        """Return every template."""
        ...

    async def balances(self) -> dict[int, int]:
        """Return every app's balance in messages, by app_id."""
        ...

    async def draw_id(self, of: str) -> int:
        """Return a new number for an "app" or a "template": 1, 2, ..."""
        ...

    async def put(self, *, app: App | None = None, credit: int = 0, template: Template | None = None) -> None:
        """Add or change an app and its balance (by a number of messages, never below zero), and a template.

        Raise InputError where the balance would fall below zero: then nothing has changed.
        """
        ...

    # The two calls, each one atomic step.

    async def send(self, order: Order) -> Decision:
        """Accept a message, or refuse it for frequency or balance."""
        ...

    async def verify(self, app_id: int, msg_id: str, code: str) -> Decision:
        """Judge a typed code. A wrong one uses up a try, a right one the message."""
        ...

    # Delivery.

    async def undelivered(self, app_id: int, msg_id: str) -> Job | None:
        """Return an app's message whose delivery is still to come, without taking it."""
        ...

    async def take_jobs(self, limit: int) -> list[Job]:
        """Take jobs that are due, the oldest first, and lease each for ``LEASE_S``."""
        ...

    async def postpone(self, job: Job, wait_s: float) -> None:
        """Put a taken job back, due in so many real seconds."""
        ...

    async def settle(self, job: Job, delivery: Delivery) -> None:
        """Record what became of a taken job, and forget the job and its text."""
        ...

    async def receive(self, carrier_id: str, delivery: Delivery) -> bool:
        """Record the receipt of a message that was SENT under a carrier's number; False where none is known so."""
        ...

    async def message(self, msg_id: str) -> Message | None:
        """Return what is known of a message."""
        ...

    async def backlog(self) -> int:
        """Return how many jobs wait, leased ones included."""
        ...

    async def ping(self) -> None:
        """Return when the store answers; raise StoreError where it doesn't, in time."""
        ...

    async def prune(self) -> bool:
        """Forget a small part of what no decision needs any more; return whether there may be more of it."""
        ...

    async def close(self) -> None:
        """Finish what is under way, and let go of the store."""
        ...
