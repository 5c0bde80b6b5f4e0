"""One run to one page."""
