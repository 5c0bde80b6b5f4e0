"""Administration of a service: operations, the control socket and the health endpoints."""
