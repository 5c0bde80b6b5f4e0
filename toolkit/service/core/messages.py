"""Define the values of a message's life: the new message, the decision on it, its delivery job, its state."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from toolkit.api.return_codes import ReturnCode


class NewMessage(Struct):
    """A message to send, which is not accepted yet.

    Attributes:
        forced: the return code of every verify call for it, whatever code is typed; None outside a sandbox.
        rate_limited: False if no rate limit counts it, as for the sandbox's mobile 19900050000.
    """

    app_id: int
    mobile: int
    temp_id: int
    code: str
    ttl_ms: int
    segments: int
    forced: ReturnCode | None = None
    rate_limited: bool = True


class Decision(Struct):
    """The result of a send or a verify.

    Attributes:
        wait_ms: for OUT_OF_FREQ, the time of the service clock until the rate limits allow the call.
        msg_id: the id of an accepted message.
    """

    return_code: ReturnCode
    wait_ms: int = 0
    msg_id: str = ""


class DeliveryState(StrEnum):
    """The progress of a message on its way to the phone."""

    WAITING = "waiting"  # its delivery job is stored
    SENT = "sent"  # the carrier has accepted it, and may send a receipt later
    DELIVERED = "delivered"
    FAILED = "failed"  # the provider or the carrier has refused it for good
    EXPIRED = "expired"  # the service gave up, because the code was no longer valid


class Delivery(NamedTuple):
    """The result of delivering a message.

    Attributes:
        carrier_code: the status of the provider or carrier, such as an HTTP status or an SMPP error.
        carrier_id: the carrier's own id of the message, which its receipt refers to.
    """

    state: DeliveryState
    carrier_code: str = ""
    carrier_id: str = ""


class Job(NamedTuple):
    """A message that waits to be delivered.

    Attributes:
        attempts: the number of times it was taken before.
        segments: the messages that it was charged as.
        fault: the status by which the provider refused the last attempt, if its settings are wrong.
    """

    app_id: int
    msg_id: str
    mobile: int
    temp_id: int
    code: str
    expires_ms: int
    attempts: int = 0
    segments: int = 0
    fault: str = ""


class SentMessage(NamedTuple):
    """An accepted message in a sandbox's inbox."""

    msg_id: str
    mobile: int
    temp_id: int
    code: str
    sent_ms: int


class Message(NamedTuple):
    """An accepted message as `smscode message show` prints it; ``settled_ms`` is 0 until its delivery has a result."""

    app_id: int
    msg_id: str
    mobile: int
    temp_id: int
    segments: int
    sent_ms: int
    expires_ms: int
    delivery: Delivery
    attempts: int = 0
    settled_ms: int = 0
