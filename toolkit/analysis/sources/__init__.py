"""Readers that open recorded calls of any format as one table."""
