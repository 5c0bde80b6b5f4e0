"""The cost of messages: prices, forecast, statements and their reconciliation."""
