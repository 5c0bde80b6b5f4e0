"""What messages cost, will cost, and were billed."""
