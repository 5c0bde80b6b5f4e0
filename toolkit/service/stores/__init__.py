"""Where the service keeps its state: one module per engine, behind one Protocol."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from toolkit.service.accounts import App, Template
from toolkit.service.ledger import Decision, Order


class Sent(NamedTuple):
    """A message that waits to be delivered."""

    app_id: int
    temp_id: int
    code: str


class Store(Protocol):
    """The service's state. What it returns rests only on what is durable; it raises StoreError where it can't keep a
    decision in time, and then nothing was charged.
    """

    def app(self, app_key: str) -> App | None:
        """Return the app of a key."""

    def template(self, temp_id: int) -> Template | None:
        """Return a template."""

    async def send(self, order: Order, now_ms: int) -> Decision:
        """Accept a message, or refuse it for frequency or balance, in one atomic step."""
        ...

    async def verify(self, app_id: int, msg_id: str, digest: bytes, now_ms: int) -> Decision:
        """Judge a typed code by its digest, in one atomic step."""
        ...

    async def undelivered(self, msg_id: str) -> Sent | None:
        """Return a message whose delivery is still to come."""
        ...

    async def put(self, *, app: App | None = None, credit: int = 0, template: Template | None = None) -> None:
        """Add or change an app and its balance (by a number of messages), and a template, in one atomic step."""
        ...

    def apps(self) -> list[tuple[App, int]]:
        """Return every app with its balance in messages."""
        ...

    def templates(self) -> list[Template]:
        """Return every template."""
        ...
