"""Store the state in Redis, for any number of processes and machines."""
