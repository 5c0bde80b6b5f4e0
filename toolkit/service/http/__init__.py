"""Serve HTTP to callers that may be hostile: connections, request parser, request handler, server."""
