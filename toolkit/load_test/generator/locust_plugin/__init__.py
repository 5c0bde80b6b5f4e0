"""The connection to locust: options, events, limits, statistics and web page."""
