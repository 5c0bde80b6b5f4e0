"""Compare periods, find change points, and find the properties in which an outcome concentrates."""
