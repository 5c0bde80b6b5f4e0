"""The protocol of the API without I/O: return codes, errors, requests, responses and rate rules."""
