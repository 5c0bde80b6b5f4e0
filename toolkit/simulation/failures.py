"""Faults: which calls fail whatever they ask for, be it by the network, the service, the caller's program or a key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.api.return_codes import ReturnCode
from toolkit.records.call_record import Failure
from toolkit.simulation import call_outcomes, incidents
from toolkit.simulation.daily_pattern import MINUTES, drift
from toolkit.simulation.incidents import Incident
from toolkit.simulation.plan import MINUTE_NS, IncidentKind, Plan, dice

_Outcome = ReturnCode | Failure
_MINUTES = 2 * MINUTES  # what begins in a day can end in the next
_CLUSTERED: dict[_Outcome, float] = {
    ReturnCode.SERVER_ERROR: 3e-4,
    Failure.TIMEOUT: 4e-4,
    Failure.RESET: 2e-4,
    Failure.CONNECT: 1e-4,
    Failure.PROTOCOL: 5e-5,
    Failure.CANCELLED: 1e-4,
}
_CLUSTER_SPREAD, _CLUSTER_MEMORY_MINUTES = 0.3, 5.0
_STEADY: dict[_Outcome, float] = {
    ReturnCode.INVALID_MOBILE: 4e-3,
    ReturnCode.MISSING_MOBILE: 8e-4,
    ReturnCode.INVALID_TEMP_ID: 6e-4,
}
_OUTAGE: dict[_Outcome, float] = {
    ReturnCode.SERVER_ERROR: incidents.OUTAGE_RATIOS["server_error"],
    Failure.TIMEOUT: incidents.OUTAGE_RATIOS["timeout"],
    Failure.CONNECT: incidents.OUTAGE_RATIOS["connect"],
    Failure.RESET: incidents.OUTAGE_RATIOS["reset"],
}


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults of what begins in one day.

    day_ns: its start. clusters: by minute from there, how much more often than on average the service and the network
    fail, mean 1.
    """

    happening: tuple[Incident, ...]
    day_ns: int
    clusters: NDArray[np.float64]

    @classmethod
    def of(cls, plan: Plan, happening: tuple[Incident, ...], number: int, day_ns: int) -> Faults:
        """Draw the clusters of a day."""
        rng = dice(plan, "clusters", number)
        return cls(happening, day_ns, drift(rng, _MINUTES, _CLUSTER_SPREAD, _CLUSTER_MEMORY_MINUTES))

    def of_sends(
        self, rng: np.random.Generator, times_ns: NDArray[np.int64], apps: NDArray[np.int8]
    ) -> NDArray[np.uint8]:
        """Draw for each send the outcome that a fault gives it, SUCCESS where there is none."""
        return self._overlay(rng, times_ns, apps, _draw(rng, _STEADY, np.ones(len(times_ns))))

    def of_verifies(
        self, rng: np.random.Generator, times_ns: NDArray[np.int64], apps: NDArray[np.int8]
    ) -> NDArray[np.uint8]:
        """Draw the same for each verify."""
        return self._overlay(rng, times_ns, apps, np.zeros(len(times_ns), np.uint8))

    def _overlay(
        self,
        rng: np.random.Generator,
        times_ns: NDArray[np.int64],
        apps: NDArray[np.int8],
        below: NDArray[np.uint8],
    ) -> NDArray[np.uint8]:
        """Lay what hits a call earlier over what would hit it later: first the network, then the key, then the rest."""
        minutes = np.minimum((times_ns - self.day_ns) // MINUTE_NS, _MINUTES - 1)
        drawn = _draw(rng, _CLUSTERED, self.clusters[minutes])
        for it in self.happening:
            within = it.within(times_ns)
            if it.kind is IncidentKind.KEY_ROTATED_BADLY:
                below = np.where(within & (apps == incidents.ROTATED_APP), np.uint8(call_outcomes.AUTH_FAILED), below)
            elif it.kind is IncidentKind.OUTAGE and within.any():
                drawn[within] = _draw(rng, _OUTAGE, np.ones(int(within.sum())))
        return np.where(drawn != call_outcomes.SUCCESS, drawn, below)


def _draw(rng: np.random.Generator, ratios: dict[_Outcome, float], factors: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Draw an outcome for each factor: ``ratios`` times the factor say how often, else it is SUCCESS."""
    numbers = np.array([*(call_outcomes.number(it) for it in ratios), call_outcomes.SUCCESS], np.uint8)
    bounds = np.cumsum(list(ratios.values()))
    return numbers[np.searchsorted(bounds, rng.random(len(factors)) / factors, side="right")]
