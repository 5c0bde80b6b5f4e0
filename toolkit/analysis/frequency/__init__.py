"""The frequency rules that a log implies."""
