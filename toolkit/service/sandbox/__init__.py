"""The sandbox: calls that only a service for tests has. Production builds none of them."""
