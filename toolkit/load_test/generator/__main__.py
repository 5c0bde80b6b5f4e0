"""Run locust for ``launch.locust_process``: import everything first, then wait for the target on stdin.

Arguments behind ``--`` are for options that the locustfile itself adds to locust's command line.

The line on stdin is a JSON object of environment variables. Without one, because the parent has ended or has given up,
the process ends.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable

from locust.argument_parser import get_parser
from locust.main import main

import toolkit.load_test.generator.user  # noqa: F401  # what every locustfile imports


def find_known_option(words: Iterable[str]) -> str | None:
    """Return the first of some arguments that locust or the toolkit would take for its own, such as --host.

    The command line has checked the target, the load and the budget before: no further argument may change them.
    Locust accepts the start of an option's name too.
    """
    known = list(get_parser(default_config_files=[])._option_string_actions)
    for word in words:
        name = word.partition("=")[0]
        name = name if name.startswith("--") else name[:2]
        if name.startswith("-") and any(it.startswith(name) for it in known):
            return name
    return None


def run() -> None:
    """Wait for the target and run locust with this process's arguments."""
    if "--" in sys.argv:
        place = sys.argv.index("--")
        own = sys.argv[place + 1 :]
        if name := find_known_option(own):
            raise SystemExit(f"{name} is an option of locust, not of the locustfile: leave it out after --")
        sys.argv[place:] = own
    line = sys.stdin.readline()
    if not line:
        raise SystemExit(1)
    os.environ.update(json.loads(line))
    sys.argv[0] = "locust"
    main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    run()
