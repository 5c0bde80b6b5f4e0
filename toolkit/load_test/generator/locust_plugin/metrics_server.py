"""Serve the metrics of a load test over HTTP while it runs, from the master or the only process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from gevent.pywsgi import WSGIServer

from toolkit.api.errors import InputError

logger = logging.getLogger(__name__)


def serve_metrics(host: str, port: int, render: Callable[[str], tuple[bytes, str]]) -> None:
    """Serve ``GET /metrics`` until the process ends.

    Args:
        host, port: the address.
        render: returns the metrics and their media type for an Accept header.

    Raises:
        InputError: The address can't be used.
    """

    def answer(request: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if request["PATH_INFO"] != "/metrics":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"not found: the metrics are at /metrics\n"]
        body, media_type = render(request.get("HTTP_ACCEPT", ""))
        start_response("200 OK", [("Content-Type", media_type), ("Content-Length", str(len(body)))])
        return [body]

    server = WSGIServer((host, port), answer, log=None, error_log=logger)
    try:
        server.start()
    except OSError as problem:
        reason = problem.strerror or problem
        raise InputError(f"can't serve metrics on {host}:{port}: {reason}; choose another --metrics-port") from None
