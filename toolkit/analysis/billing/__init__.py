"""Cost of messages, spend forecast, and reconciliation of the provider's statements."""
