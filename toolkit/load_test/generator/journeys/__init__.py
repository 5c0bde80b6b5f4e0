"""Generator functions that yield the steps of a person, an attacker or a probe."""
