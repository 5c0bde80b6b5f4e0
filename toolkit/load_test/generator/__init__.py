"""The load generator. It runs inside the locust process: importing its modules patches the process with gevent."""
