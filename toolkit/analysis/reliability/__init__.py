"""Errors by cause and payer, error budgets and burn rates."""
