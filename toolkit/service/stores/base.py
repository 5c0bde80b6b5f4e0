"""Define the interface of a store: everything that the service needs from SQLite or Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from toolkit.service.core.accounts import App, Template
from toolkit.service.core.messages import Delivery, Job, Message, SentMessage
from toolkit.service.core.send_and_verify import VerificationStore

LEASE_S = 30  # real seconds; a job that was taken and not completed by then can be taken again


@dataclass(slots=True)
class LoadProgress:
    """The progress of loading a store; ``str`` is empty before and after the load.

    >>> progress = LoadProgress()
    >>> progress.loaded, progress.total = 1_000_000, 4_000_000
    >>> str(progress)
    'loading the store: 1,000,000 of 4,000,000 messages'
    """

    loaded: int = 0
    total: int = 0

    def end(self) -> None:
        """Mark the load as complete."""
        self.loaded = self.total = 0

    def __str__(self) -> str:
        return f"loading the store: {self.loaded:,} of {self.total:,} messages" if self.total else ""


class Store(VerificationStore, Protocol):
    """The state of the service: accounts, messages, delivery jobs.

    A result is returned once everything it rests on is durable. A method raises StoreError if the store cannot do that
    in time; then nothing was charged.
    """

    # Accounts. They are read from memory, and are at most one second old.

    def apps(self) -> list[App]:
        """Return every app."""
        ...

    def templates(self) -> list[Template]:
        """Return every template."""
        ...

    async def balances(self) -> dict[int, int]:
        """Return the balance of every app in messages, by app_id."""
        ...

    async def new_id(self, of: str) -> int:
        """Return an unused number for an "app" or a "template": 1, 2, ..."""
        ...

    async def put(
        self, *, app: App | None = None, credit: int = 0, template: Template | None = None, credit_key: str = ""
    ) -> None:
        """Add or change an app, its balance (by ``credit`` messages) and a template.

        With a ``credit_key``, a repetition of the same credit changes no balance.

        Raises:
            InputError: if the balance would fall below zero, or if the key was given to another credit. Then nothing
                has changed.
        """
        ...

    # Delivery.

    async def pending_job(self, app_id: int, msg_id: str) -> Job | None:
        """Return the delivery job of an app's message without taking it; None if it is completed or unknown."""
        ...

    async def take_jobs(self, limit: int) -> list[Job]:
        """Lease up to ``limit`` jobs that are due, the oldest first, for ``LEASE_S`` each."""
        ...

    async def postpone(self, job: Job, wait_s: float, fault: str | None = None) -> None:
        """Return a taken job to the queue; it is due in ``wait_s`` real seconds.

        ``fault`` replaces that of the job, unless it is None.
        """
        ...

    async def record_delivery(self, job: Job, delivery: Delivery, refund: bool = False) -> None:
        """Record the result of a taken job, and delete the job with its code.

        ``refund`` credits the app with the job's segments in the same step, once a message.
        """
        ...

    async def record_receipt(self, carrier_id: str, delivery: Delivery, mobile: int | None = None) -> bool:
        """Record the receipt of a message that was SENT; return False if no such message has this carrier's id.

        With ``mobile``, the message must also have been for that mobile.
        """
        ...

    async def message(self, msg_id: str) -> Message | None:
        """Return the state of a message, or None if it is unknown."""
        ...

    # The sandbox. Production calls none of these.

    def keep_inbox(self) -> None:
        """Keep the messages for ``inbox`` after their codes have expired. Call it before the first send."""
        ...

    async def inbox(self, app_id: int, mobile: int | None, after: str, limit: int) -> list[SentMessage]:
        """Return up to ``limit`` messages of an app that the outbox holds, the oldest first.

        Args:
            mobile: only messages to this mobile; None for all.
            after: the msg_id of the message before the first one; all messages are later than an unknown one.
        """
        ...

    async def advance(self, by_ms: int) -> None:
        """Move the service clock ahead by milliseconds of its own. Concurrent calls are not supported."""
        ...

    async def empty(self, app_id: int) -> int:
        """Remove all messages, windows and tries of an app; return the number of messages that it was charged."""
        ...

    async def backlog(self) -> int:
        """Return the number of jobs that are not completed, leased ones included."""
        ...

    async def ping(self) -> None:
        """Return once the store has answered; raise StoreError if it does not in time."""
        ...

    async def prune(self) -> bool:
        """Delete a small part of the data that no decision needs any more; return whether more may be left."""
        ...

    async def close(self) -> None:
        """Complete the writes under way and close the store."""
        ...
