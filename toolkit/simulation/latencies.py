"""Sample the latencies of calls by endpoint, outcome, load and slow incidents."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolkit.records.call_record import Failure
from toolkit.simulation import call_outcomes, incidents
from toolkit.simulation.daily_pattern import relative_load
from toolkit.simulation.incidents import Incident
from toolkit.simulation.plan import IncidentKind

_MS = 1_000_000
_MEDIAN_MS = 46.0, 17.0  # of a send and of a verify at the mean load
_SPREAD = 0.32, 0.38  # standard deviation of the logarithm
_LOAD_EFFECT = 0.12  # relative increase for each mean load more
_TAIL_RATIO, _TAIL_FACTOR, _TAIL_SPREAD = 0.012, 5.0, 0.7  # calls that wait for a lock, a pause or a lost packet
_SERVER_ERROR_FACTOR = 3.0
_MAX_MS = 9_900.0  # a call that takes longer times out

# The range of times, ms, after which each failure ends. The clients wait 5 s for a connection and 10 s for an answer.
_FAILURE_MS = {
    Failure.CONNECT: (5_000.0, 5_003.0),
    Failure.TIMEOUT: (10_000.0, 10_004.0),
    Failure.RESET: (1.0, 900.0),
    Failure.PROTOCOL: (3.0, 300.0),
    Failure.CANCELLED: (300.0, 6_000.0),
}


def sample_latencies_ns(
    rng: np.random.Generator,
    active: tuple[Incident, ...],
    endpoint: int,
    times_ns: NDArray[np.int64],
    outcomes: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Sample the latencies of calls to one endpoint.

    Args:
        rng: The random stream.
        active: The incidents that may apply.
        endpoint: 0 for send, 1 for verify.
        times_ns: The start of each call.
        outcomes: The outcome of each call, as numbers of ``call_outcomes.TABLE``.

    Returns:
        The latency of each call, ns.
    """
    latencies_ms = rng.lognormal(np.log(_MEDIAN_MS[endpoint]), _SPREAD[endpoint], len(times_ns))
    latencies_ms *= 1 + _LOAD_EFFECT * (relative_load(times_ns) - 1)
    in_tail = rng.random(len(times_ns)) < _TAIL_RATIO
    latencies_ms[in_tail] *= rng.lognormal(np.log(_TAIL_FACTOR), _TAIL_SPREAD, int(in_tail.sum()))
    latencies_ms[outcomes == call_outcomes.SERVER_ERROR] *= _SERVER_ERROR_FACTOR
    if slow := incidents.find(active, IncidentKind.SLOW_DATABASE):
        latencies_ms[slow.contains(times_ns)] *= incidents.SLOW_FACTOR
    latencies_ms = np.minimum(latencies_ms, _MAX_MS)
    failed = np.flatnonzero(outcomes >= call_outcomes.FIRST_FAILURE)
    if len(failed):
        ranges = np.array([_FAILURE_MS[it] for it in Failure])[outcomes[failed] - call_outcomes.FIRST_FAILURE]
        latencies_ms[failed] = rng.uniform(ranges[:, 0], ranges[:, 1])
    return (latencies_ms * _MS).astype(np.int64)
