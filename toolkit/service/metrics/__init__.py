"""Observability: counters, Prometheus metrics and the call log."""
