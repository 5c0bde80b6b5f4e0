"""Decide sends and verifies without I/O: accounts, messages, rate windows, the state of the service."""
