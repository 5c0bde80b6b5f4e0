"""Define the interface between the retry loop and a provider, which hands messages to a carrier.

``webhook`` posts a message to an HTTP service, ``smpp`` submits it to a carrier's SMSC. The third choice, ``outbox``,
needs no module: nothing is delivered, so messages stay in the store until they expire. A sandbox reads them there.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from toolkit.api.errors import ToolkitError
from toolkit.service.core.messages import Delivery


class Receipt(NamedTuple):
    """The final result of the message that the carrier calls ``carrier_id``.

    Attributes:
        mobile: the phone that the carrier names, with 11 digits; None if it names none.
        other_ids: the same id in other notations. One counts only if the message was for ``mobile``.
    """

    carrier_id: str
    delivery: Delivery
    mobile: int | None = None
    other_ids: tuple[str, ...] = ()


ReceiptHandler = Callable[[Receipt], Awaitable[bool]]
"""Records a delivery receipt. Returns False if no message has its id. Raises StoreError if it can't be recorded."""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A rendered message for a provider.

    ``msg_id`` is the same at every attempt. ``mobile`` has 11 digits.
    """

    msg_id: str
    mobile: str = field(repr=False)
    text: str = field(repr=False)


class DeliveryError(ToolkitError):
    """A failed attempt that may succeed when it is repeated.

    ``carrier_code`` is the provider's or carrier's own status. ``retry_after_s`` is the wait in seconds that the
    provider asked for, or 0. ``misconfigured`` is True if the operator has to change a setting first.
    """

    def __init__(self, carrier_code: str, retry_after_s: float = 0, misconfigured: bool = False) -> None:
        self.carrier_code = carrier_code
        self.retry_after_s = retry_after_s
        self.misconfigured = misconfigured
        super().__init__(f"not accepted by the provider: {carrier_code}")


class Provider(Protocol):
    """An open connection to a carrier or gateway."""

    async def deliver(self, message: OutgoingMessage) -> Delivery:
        """Deliver a message and return the result; raise DeliveryError if another attempt may succeed."""
        ...


class ProviderFactory(Protocol):
    """A provider's configuration, from which providers are opened."""

    @property
    def name(self) -> str:
        """The provider's name in settings and metrics."""

    @property
    def plain_text_host(self) -> str:
        """The host that gets messages without TLS where TLS is possible, or an empty string."""

    def open(self, handle_receipt: ReceiptHandler) -> AbstractAsyncContextManager[Provider]:
        """Open the provider until the block ends; delivery receipts go to ``handle_receipt``.

        Raise RunError if the carrier refuses for good, for example because the password is wrong. A carrier that
        can't be reached raises nothing: the provider reconnects while the block lasts.
        """


def backoff_s(rng: random.Random, failures: int, first_s: float, max_s: float) -> float:
    """Draw the wait before the next attempt in seconds: exponential backoff with full jitter.

    The wait is uniform between 0 and ``first_s * 2**failures``, and never above ``max_s``.
    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    >>> 0 <= backoff_s(random.Random(), failures=3, first_s=1, max_s=30) <= 8
    True
    """
    return rng.uniform(0, min(max_s, first_s * 2 ** min(failures, 30)))
