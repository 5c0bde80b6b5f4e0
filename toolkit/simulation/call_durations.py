"""Latency: how long a call takes, by what it asks for, how it ends, how busy the hour is, and what is slow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolkit.records.call_record import Failure
from toolkit.simulation import call_outcomes, incidents
from toolkit.simulation.daily_pattern import level
from toolkit.simulation.incidents import Incident
from toolkit.simulation.plan import IncidentKind

_MS = 1_000_000
_MEDIAN_MS = 46.0, 17.0  # of a send and of a verify at an average hour
_SPREAD = 0.32, 0.38  # of the logarithm
_BUSY = 0.12  # how much longer a call takes for each average load more or less
_TAIL_RATIO, _TAIL_TIMES, _TAIL_SPREAD = 0.012, 5.0, 0.7  # calls that wait for a lock, a pause or a lost packet
_ERROR_TIMES = 3.0
_MOST_MS = 9_900.0  # what takes longer is a timeout

# Between which times each failure ends, ms: the clients here wait 5 s for a connection and 10 s for an answer.
_FAILURE_MS = {
    Failure.CONNECT: (5_000.0, 5_003.0),
    Failure.TIMEOUT: (10_000.0, 10_004.0),
    Failure.RESET: (1.0, 900.0),
    Failure.PROTOCOL: (3.0, 300.0),
    Failure.CANCELLED: (300.0, 6_000.0),
}


def draw(
    rng: np.random.Generator,
    happening: tuple[Incident, ...],
    endpoint: int,
    times_ns: NDArray[np.int64],
    ends: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Draw latencies, in ns, of calls to an endpoint (0 send, 1 verify) that end so."""
    took_ms = rng.lognormal(np.log(_MEDIAN_MS[endpoint]), _SPREAD[endpoint], len(times_ns))
    took_ms *= 1 + _BUSY * (level(times_ns) - 1)
    tail = rng.random(len(times_ns)) < _TAIL_RATIO
    took_ms[tail] *= rng.lognormal(np.log(_TAIL_TIMES), _TAIL_SPREAD, int(tail.sum()))
    took_ms[ends == call_outcomes.SERVER_ERROR] *= _ERROR_TIMES
    if slow := incidents.find(happening, IncidentKind.SLOW_DATABASE):
        took_ms[slow.within(times_ns)] *= incidents.SLOW_FACTOR
    took_ms = np.minimum(took_ms, _MOST_MS)
    failed = np.flatnonzero(ends >= call_outcomes.FIRST_FAILURE)
    if len(failed):
        bounds = np.array([_FAILURE_MS[failure] for failure in Failure])[ends[failed] - call_outcomes.FIRST_FAILURE]
        took_ms[failed] = rng.uniform(bounds[:, 0], bounds[:, 1])
    return (took_ms * _MS).astype(np.int64)
