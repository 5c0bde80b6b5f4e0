"""The embedded store: one process and one SQLite file, with group commit."""
