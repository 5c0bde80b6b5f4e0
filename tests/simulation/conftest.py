"""A small simulation with every incident, shared by all tests."""

from __future__ import annotations

import pytest
from support.simulated import Simulated, read

from toolkit.simulation import SimulationPlan, simulate

PLAN = SimulationPlan(days=12, calls=240_000, seed=7)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    folder = tmp_path_factory.mktemp("simulated")
    simulate(folder, PLAN)
    return read(folder, PLAN)
