"""Sample failures of the network and the service, mistakes of the calling program, and calls with a wrong key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.api.return_codes import ReturnCode
from toolkit.records.call_record import Failure
from toolkit.simulation import call_outcomes, incidents
from toolkit.simulation.daily_pattern import MINUTES_PER_DAY, correlated_noise
from toolkit.simulation.incidents import Incident
from toolkit.simulation.plan import MINUTE_NS, IncidentKind, SimulationPlan, random_stream

_Ratios = dict[ReturnCode | Failure, float]
_MINUTES = 2 * MINUTES_PER_DAY  # a session that begins in a day can end in the next
_CLUSTERED: _Ratios = {
    ReturnCode.SERVER_ERROR: 3e-4,
    Failure.TIMEOUT: 4e-4,
    Failure.RESET: 2e-4,
    Failure.CONNECT: 1e-4,
    Failure.PROTOCOL: 5e-5,
    Failure.CANCELLED: 1e-4,
}
_CLUSTER_SPREAD, _CLUSTER_MEMORY_MINUTES = 0.3, 5.0
_STEADY: _Ratios = {
    ReturnCode.INVALID_MOBILE: 4e-3,
    ReturnCode.MISSING_MOBILE: 8e-4,
    ReturnCode.INVALID_TEMP_ID: 6e-4,
}
_OUTAGE: _Ratios = {
    ReturnCode.SERVER_ERROR: incidents.OUTAGE_RATIOS["server_error"],
    Failure.TIMEOUT: incidents.OUTAGE_RATIOS["timeout"],
    Failure.CONNECT: incidents.OUTAGE_RATIOS["connect"],
    Failure.RESET: incidents.OUTAGE_RATIOS["reset"],
}


@dataclass(frozen=True, slots=True)
class FailureModel:
    """The failures of the sessions that begin in one day.

    Attributes:
        active: The incidents that may apply.
        day_ns: The start of the day.
        cluster_factors: For each minute from there, the failure rate of network and service relative to its mean.
    """

    active: tuple[Incident, ...]
    day_ns: int
    cluster_factors: NDArray[np.float64]

    @classmethod
    def for_day(cls, plan: SimulationPlan, active: tuple[Incident, ...], day_number: int, day_ns: int) -> FailureModel:
        """Return the model of a day, with the day's cluster factors."""
        rng = random_stream(plan, "clusters", day_number)
        return cls(active, day_ns, correlated_noise(rng, _MINUTES, _CLUSTER_SPREAD, _CLUSTER_MEMORY_MINUTES))

    def sample_for_sends(
        self, rng: np.random.Generator, times_ns: NDArray[np.int64], apps: NDArray[np.int8]
    ) -> NDArray[np.uint8]:
        """Sample the outcome of each send, SUCCESS for one that doesn't fail."""
        outcomes = _sample(rng, _STEADY, np.ones(len(times_ns)))
        if empty := incidents.find(self.active, IncidentKind.BALANCE_EMPTY):
            refused = empty.contains(times_ns) & (apps == incidents.EMPTY_APP) & (outcomes == call_outcomes.SUCCESS)
            outcomes[refused] = call_outcomes.NO_MONEY
        return self._add_failures(rng, times_ns, apps, outcomes)

    def sample_for_verifies(
        self, rng: np.random.Generator, times_ns: NDArray[np.int64], apps: NDArray[np.int8]
    ) -> NDArray[np.uint8]:
        """Sample the outcome of each verify, SUCCESS for one that doesn't fail."""
        return self._add_failures(rng, times_ns, apps, np.zeros(len(times_ns), np.uint8))

    def _add_failures(
        self,
        rng: np.random.Generator,
        times_ns: NDArray[np.int64],
        apps: NDArray[np.int8],
        outcomes: NDArray[np.uint8],
    ) -> NDArray[np.uint8]:
        """Replace outcomes by those that happen earlier in a call: network and service first, then a wrong key."""
        minutes = np.minimum((times_ns - self.day_ns) // MINUTE_NS, _MINUTES - 1)
        failures = _sample(rng, _CLUSTERED, self.cluster_factors[minutes])
        for incident in self.active:
            affected = incident.contains(times_ns)
            if incident.kind is IncidentKind.KEY_ROTATED_BADLY:
                affected &= apps == incidents.ROTATED_APP
                outcomes = np.where(affected, np.uint8(call_outcomes.AUTH_FAILED), outcomes)
            elif incident.kind is IncidentKind.OUTAGE and affected.any():
                failures[affected] = _sample(rng, _OUTAGE, np.ones(int(affected.sum())))
        return np.where(failures != call_outcomes.SUCCESS, failures, outcomes)


def _sample(rng: np.random.Generator, ratios: _Ratios, factors: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Sample an outcome for each factor; an outcome's probability is its ratio times the factor, SUCCESS the rest."""
    numbers = np.array([*(call_outcomes.TABLE.index(it) for it in ratios), call_outcomes.SUCCESS], np.uint8)
    bounds = np.cumsum(list(ratios.values()))
    return numbers[np.searchsorted(bounds, rng.random(len(factors)) / factors, side="right")]
