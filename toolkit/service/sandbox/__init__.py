"""The sandbox: calls for tests, which a service in production does not have."""
