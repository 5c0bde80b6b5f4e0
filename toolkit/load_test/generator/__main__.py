"""Run locust for ``launch.locust_process``: import everything first, then wait for the target on stdin.

The line on stdin is a JSON object of environment variables. Without one, because the parent has ended or has given up,
the process ends.
"""

from __future__ import annotations

import json
import os
import sys

from locust.main import main

import toolkit.load_test.generator.user  # noqa: F401  # what every locustfile imports


def run() -> None:
    """Wait for the target and run locust with this process's arguments."""
    line = sys.stdin.readline()
    if not line:
        raise SystemExit(1)
    os.environ.update(json.loads(line))
    sys.argv[0] = "locust"
    main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    run()
