"""Simulate the traffic of an SMS verification-code API, with labelled incidents, as records of calls.

>>> from toolkit.simulation import SimulationPlan, simulate
>>> simulate("month", SimulationPlan(days=30, calls=500_000))  # doctest: +SKIP
"""

from toolkit.simulation.plan import ALL_INCIDENTS, IncidentKind, SimulationPlan
from toolkit.simulation.simulate import SimulationProgress, simulate

__all__ = ["ALL_INCIDENTS", "IncidentKind", "SimulationPlan", "SimulationProgress", "simulate"]
