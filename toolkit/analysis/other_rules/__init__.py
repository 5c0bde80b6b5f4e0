"""What other rate limits, prices or blocked prefixes would have done to recorded sends."""
