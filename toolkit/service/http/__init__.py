"""HTTP for callers who may be hostile: parsing, connections, admission and the request handler."""
