"""One of several processes that serve a port: what `python -m toolkit.service.worker` is, started by workers.py.

The parent gives it the listening socket as a descriptor, and the configuration on stdin. When stdin ends, the parent
has: so does the worker. On stdout it tells the parent, a line each, what it has to tell: so far, that it answers.
"""

from __future__ import annotations

import base64
import pickle
import socket
import sys
from typing import Any

from toolkit.errors import ToolkitError
from toolkit.service.server import ServiceConfig, serve

READY = b"ready\n"


def pack(config: ServiceConfig) -> bytes:
    """Write a configuration as the line that a worker reads."""
    return base64.b64encode(pickle.dumps(config)) + b"\n"


def main() -> None:
    """Serve until the parent says stop, or ends."""
    config: ServiceConfig = pickle.loads(base64.b64decode(sys.stdin.buffer.readline()))
    try:
        serve(config, _tell_ready, socket.socket(fileno=int(sys.argv[1])))
    except ToolkitError as problem:
        sys.exit(f"worker: {problem}")


def _tell_ready(about: dict[str, Any]) -> None:
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
