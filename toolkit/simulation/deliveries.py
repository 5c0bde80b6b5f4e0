"""Sample the delivery of messages: the carrier's code and the delay, by carrier and incident.

A share of each carrier's messages fails, for a reason that also holds for the next messages to the same phone. Of the
others, most arrive within seconds, and a few after 60 to 300 s. docs/reference/simulation.md names the sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.simulation import incidents
from toolkit.simulation.incidents import Incident
from toolkit.simulation.plan import IncidentKind

_S = 1_000_000_000
NEVER_NS = 1 << 60  # the delay of a message that never arrives


@dataclass(frozen=True, slots=True)
class CarrierCode:
    """A delivery's code in the carrier's receipt.

    Attributes:
        code: The code; None if no receipt comes.
        arrives: Whether the message arrives.
        ratios: The ratios of messages of each carrier of MARKET_SHARES, without incidents.
        receipt_s: The range of the times from the arrival to the receipt, or from the send if nothing arrives.
    """

    code: str | None
    arrives: bool
    ratios: tuple[float, float, float]
    receipt_s: tuple[float, float] = (1.0, 10.0)


DELIVERED, LOST = 0, 6
CODES = (
    CarrierCode("DELIVRD", True, (0.974, 0.965, 0.952), (0.2, 3.0)),
    CarrierCode(None, True, (0.004, 0.004, 0.004)),
    CarrierCode("EXPIRED", False, (0.011, 0.015, 0.021), (300.0, 86_400.0)),  # the phone is off or out of reach
    CarrierCode("UNDELIV", False, (0.006, 0.008, 0.011)),  # the subscription is suspended
    CarrierCode("MK:0001", False, (0.002, 0.003, 0.004)),  # the number doesn't exist
    CarrierCode("REJECTD", False, (0.003, 0.005, 0.008)),  # a block list or a content filter
    CarrierCode("IB:0008", False, (0.0, 0.0, 0.0), (30.0, 300.0)),  # flow control of a gateway; in incidents only
)
ARRIVES = np.array([it.arrives for it in CODES])

_UPPER = np.cumsum([it.ratios for it in CODES[:0:-1]], axis=0)[::-1].T  # for each carrier, descending
_MEDIAN_S, _SPREAD = 4.0, 0.6
_LATE_RATIOS = np.array([0.010, 0.014, 0.020])
_LATE_S = np.array([60.0, 300.0])


def sample_deliveries(
    rng: np.random.Generator,
    active: Sequence[Incident],
    carriers: NDArray[np.int8],
    times_ns: NDArray[np.int64],
    earlier: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Sample the deliveries of messages.

    Args:
        rng: The random stream.
        active: The incidents that may apply.
        carriers: The carrier of each message, an index of MARKET_SHARES.
        times_ns: The time of each send.
        earlier: The code of the message before it in the same session, DELIVERED for the first one.

    Returns:
        The index of each message's code in CODES, and its delay in ns.
    """
    chance, count = rng.random(len(times_ns)), len(times_ns)
    codes = np.zeros(count, np.uint8)
    rare = np.flatnonzero(chance < _UPPER[:, 0].max())
    codes[rare] = (chance[rare, None] < _UPPER[carriers[rare]]).sum(axis=1)
    codes = np.where(ARRIVES[earlier] | (earlier == LOST), codes, earlier)
    delays_s = rng.lognormal(np.log(_MEDIAN_S), _SPREAD, count)
    late = rng.random(count) < _LATE_RATIOS[carriers]
    for incident in active:
        if incident.kind in incidents.CARRIER_INCIDENTS:
            carrier, ratio = incidents.CARRIER_INCIDENTS[incident.kind]
            affected = incident.contains(times_ns) & (carriers == carrier) & ARRIVES[codes]
            affected &= rng.random(count) < ratio
            if incident.kind is IncidentKind.CARRIER_LOSS:
                codes[affected] = LOST
            else:
                late |= affected
    delays_s[late] = np.exp(rng.uniform(np.log(_LATE_S[0]), np.log(_LATE_S[1]), int(late.sum())))
    return codes, np.where(ARRIVES[codes], (delays_s * _S).astype(np.int64), NEVER_NS)
