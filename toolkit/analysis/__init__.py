"""Frame in, frame out: what the records say."""
