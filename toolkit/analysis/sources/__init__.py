"""What calls were recorded in, opened as one table."""
