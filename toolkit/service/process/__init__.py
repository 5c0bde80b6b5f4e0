"""The processes of a service: configuration, runtime, supervisor and workers."""
