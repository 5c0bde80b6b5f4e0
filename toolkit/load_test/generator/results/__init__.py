"""Results of calls: recorded, counted and reported to locust."""
