"""Detection of abuse: SMS pumping and code guessing."""
