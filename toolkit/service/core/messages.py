"""A message's life as values: ordered, decided, waiting for delivery, delivered or not. Decides nothing."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from toolkit.api.return_codes import ReturnCode


class NewMessage(NamedTuple):
    """A message to be sent. ``forced``: what verifying it will answer, whatever is typed; None outside a sandbox.

    ``ruled`` False: no frequency rule counts it (a sandbox's 19900050000).
    """

    app_id: int
    mobile: int
    temp_id: int
    code: str
    ttl_ms: int
    segments: int
    forced: ReturnCode | None = None
    ruled: bool = True


class Decision(NamedTuple):
    """What was decided. ``wait_ms``, of OUT_OF_FREQ: after how many service milliseconds it would be otherwise.

    ``msg_id``: of an accepted send.
    """

    return_code: ReturnCode
    wait_ms: int = 0
    msg_id: str = ""


class DeliveryState(StrEnum):
    """How far a message has come on its way to the phone."""

    WAITING = "waiting"  # a delivery job is stored
    SENT = "sent"  # the carrier has taken it; its receipt is still to come, if it sends any
    DELIVERED = "delivered"
    FAILED = "failed"  # the provider or the carrier refused it for good
    EXPIRED = "expired"  # given up: the code was no longer valid


class Delivery(NamedTuple):
    """What became of a message. ``carrier_code``: the provider's or carrier's own word for it, such as an HTTP or SMPP
    status; ``carrier_id``: its own number for the message, by which a receipt names it.
    """

    state: DeliveryState
    carrier_code: str = ""
    carrier_id: str = ""


class Job(NamedTuple):
    """A message that waits to be delivered. ``attempts``: how often it was taken before."""

    app_id: int
    msg_id: str
    mobile: int
    temp_id: int
    code: str
    expires_ms: int
    attempts: int = 0


class Message(NamedTuple):
    """What `smscode message show` tells of an accepted send; ``settled_ms`` 0: nothing has become of it yet."""

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
