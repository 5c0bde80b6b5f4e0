"""Properties of the service that a scenario checks while it loads it."""
