"""A small simulation with every incident but a clock skew, shared by all tests."""

from __future__ import annotations

import pytest
from support.simulated import Simulated, read

from toolkit.simulation import ALL_INCIDENTS, IncidentKind, SimulationPlan, simulate

# With a skewed clock, records don't show exactly how the service applied its rules.
INCIDENTS = tuple(kind for kind in ALL_INCIDENTS if kind is not IncidentKind.CLOCK_SKEW)
PLAN = SimulationPlan(days=20, calls=360_000, seed=7, incidents=INCIDENTS)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    folder = tmp_path_factory.mktemp("simulated")
    simulate(folder, PLAN)
    return read(folder, PLAN)
