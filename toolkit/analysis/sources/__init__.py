"""Read recorded calls of any format as one table."""
