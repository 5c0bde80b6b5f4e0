"""What differs, since when, and where it gathers."""
