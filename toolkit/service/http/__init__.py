"""Serve HTTP to callers who may be hostile: connections, request parser, request handler, server."""
