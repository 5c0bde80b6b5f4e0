"""One of several processes that serve a port, started by ``supervisor`` as a module of its own.

The parent gives it the listening socket as a descriptor, and the configuration on stdin. When stdin ends, the parent
has: so does the worker. On stdout it tells the parent, a line each, that it answers, and again and again its counters.
"""

from __future__ import annotations

import base64
import pickle
import socket
import sys
from contextlib import suppress
from typing import Any

from toolkit.api.errors import ToolkitError
from toolkit.service.metrics.counters import Counters
from toolkit.service.process.config import ServiceConfig
from toolkit.service.process.runtime import serve

READY = b"ready\n"


def pack(value: ServiceConfig | Counters) -> bytes:
    """Write a configuration, or a counters, as the line that the other process reads."""
    return base64.b64encode(pickle.dumps(value)) + b"\n"


def unpack(line: bytes) -> Any:
    """Read what ``pack`` wrote."""
    return pickle.loads(base64.b64decode(line))


def main() -> None:
    """Serve until the parent says stop, or ends."""
    config: ServiceConfig = unpack(sys.stdin.buffer.readline())
    try:
        serve(
            config,
            lambda _: _tell(READY),
            socket.socket(fileno=int(sys.argv[1])),
            lambda counters: _tell(pack(counters)),
        )
    except ToolkitError as problem:
        sys.exit(f"worker: {problem}")


def _tell(line: bytes) -> None:
    with suppress(BrokenPipeError):  # the parent has ended: so will this process
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
