"""Run one of several processes that serve a port. ``supervisor`` starts this module as a program.

The parent passes a listening socket as a file descriptor, and the configuration as the first line of stdin. The worker
writes lines to stdout: READY once it answers, and its counters at intervals. When stdin closes, the parent has ended,
and the worker ends too.
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
    """Serialise a configuration or counters as one line."""
    return base64.b64encode(pickle.dumps(value)) + b"\n"


def unpack(line: bytes) -> Any:
    """Parse a line that ``pack`` wrote. The line must come from a process of this service, as it is unpickled."""
    return pickle.loads(base64.b64decode(line))


def main() -> None:
    """Serve until the parent sends SIGTERM or ends."""
    config: ServiceConfig = unpack(sys.stdin.buffer.readline())
    listener = socket.socket(fileno=int(sys.argv[1]))
    try:
        serve(config, lambda _: _write(READY), listener, lambda counters: _write(pack(counters)))
    except ToolkitError as problem:
        sys.exit(f"worker: {problem}")


def _write(line: bytes) -> None:
    with suppress(BrokenPipeError):  # the parent has ended, and this process is about to
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
