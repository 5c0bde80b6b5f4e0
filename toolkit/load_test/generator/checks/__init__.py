"""Checks: properties of the service that a scenario verifies while it loads it."""
