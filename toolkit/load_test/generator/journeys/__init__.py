"""Journeys: generator functions that yield the steps of a simulated person, attacker or probe."""
