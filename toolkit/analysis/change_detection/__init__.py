"""Comparison of periods, change points and the dimensions in which a change concentrates."""
