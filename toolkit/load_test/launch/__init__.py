"""Start a load test in a child process, follow it and stop it. Nothing here imports locust or gevent."""
