"""The API as a server."""
