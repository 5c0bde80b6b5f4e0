"""The way out for an accepted message: one module per provider."""
