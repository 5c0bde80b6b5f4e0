"""Find the rate limits of an API whose limits are unknown, by sends to mobiles that may be used for it."""
