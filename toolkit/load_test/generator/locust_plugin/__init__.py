"""The parts that need locust: context of a test, limits, statistics, workers and web page."""
