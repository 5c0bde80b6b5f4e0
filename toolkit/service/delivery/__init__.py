"""Delivery of accepted messages: the retry loop and one module or package for each provider."""
