"""Building blocks for locust, for locust's own process only: it patches the one that imports it with gevent."""
