"""The way out: what hands a text to whoever can reach the phone, one module per provider, behind one Protocol.

``webhook`` posts it to an HTTP service, ``smpp`` submits it to a carrier's SMSC. ``outbox``, the third choice, needs no
module: no worker runs, so messages stay in the store, where a sandbox reads them, until they expire.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from toolkit.api.errors import ToolkitError
from toolkit.service.core.messages import Delivery

MAX_ATTEMPT_S = 15  # real seconds in which a provider has said what became of a text, or is not waited for

Receive = Callable[[str, Delivery], Awaitable[bool]]
"""Takes a receipt: the carrier's number for the message, and what became of it. Raises StoreError where it can't be
kept; False where no message is known by that number."""


@dataclass(frozen=True, slots=True)
class Text:
    """What is handed over. ``msg_id`` stays the same when it is handed over again; ``mobile`` has 11 digits."""

    msg_id: str
    mobile: str = field(repr=False)
    text: str = field(repr=False)


class DeliveryError(ToolkitError):
    """A text that wasn't taken this time: trying again may help. ``carrier_code`` is the provider's word for it.

    ``retry_after_s``: how long it asked to be left alone, in seconds.
    """

    def __init__(self, carrier_code: str, retry_after_s: float = 0) -> None:
        self.carrier_code = carrier_code
        self.retry_after_s = retry_after_s
        super().__init__(f"not taken: {carrier_code}")


class Provider(Protocol):
    """Something open that takes texts."""

    async def deliver(self, text: Text) -> Delivery:
        """Hand a text over and return what became of it; raise DeliveryError where trying again may help."""
        ...


class Way(Protocol):
    """A provider as it is configured."""

    @property
    def name(self) -> str:
        """The provider's name in settings and metrics."""

    def open(self, receive: Receive) -> AbstractAsyncContextManager[Provider]:
        """Open the provider for as long as the block lasts; receipts go to ``receive``.

        Raise RunError where it is refused for good, such as for a wrong password. One that can't be reached is no
        reason: it is tried again while the block lasts.
        """


def backoff_s(chance: random.Random, tries: int, first_s: float, most_s: float) -> float:
    """Draw how long to wait after so many failures: exponential, with full jitter.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return chance.uniform(0, min(most_s, first_s * 2 ** min(tries, 30)))
