"""Infer the rate limits of a service from a log of its calls."""
