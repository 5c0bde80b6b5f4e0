"""Clients of the API: send and verify a code, with blocking calls or in asyncio."""
