"""Inference of the rate limits that a log implies."""
