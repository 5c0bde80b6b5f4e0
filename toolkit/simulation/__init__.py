"""Simulation: traffic as people, rules, faults and attackers make it, as records of calls with labelled incidents."""

from toolkit.simulation.plan import ALL, IncidentKind, Plan
from toolkit.simulation.simulate import Written, simulate

__all__ = ["ALL", "IncidentKind", "Plan", "Written", "simulate"]
