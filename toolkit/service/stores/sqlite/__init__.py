"""Store the state in a SQLite file, for one process, with group commit."""
