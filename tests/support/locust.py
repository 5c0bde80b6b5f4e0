"""Plain locust, as its users start it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.redis import free_port

from toolkit.settings import Target

LOCUSTFILES = Path(__file__).parents[2] / "locustfiles"


def plain_locust(
    target: Target, *options: str, scenario: str = "throughput", run_by: Sequence[str] = (), **settings: str
) -> subprocess.Popen[str]:
    """Start a locustfile without a web UI for at most 240 s: four users, unless a rate is given.

    ``settings`` are environment variables. ``run_by`` is a program that runs the command, which is its arguments.
    """
    users = [] if "--rate" in options else ["-u", "4", "-r", "4"]
    locustfile = str(LOCUSTFILES / f"{scenario}.py")
    command = [*run_by, sys.executable, "-m", "locust", "-f", locustfile, "--host", target.base_url, "--headless"]
    environment = {
        "SMSCODE_APP_KEY": target.app_key,
        "SMSCODE_MASTER_SECRET": target.master_secret,
        "SMSCODE_TEMP_ID": str(target.temp_id),
    }
    return subprocess.Popen(
        [*command, "--only-summary", *users, *_ports(), "-t", "240", *options],
        env={**os.environ, **environment, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _ports() -> list[str]:
    """Choose a port for this run's own workers: locust's usual one may be another run's."""
    port = str(free_port())
    return ["--master-port", port, "--master-bind-port", port]


def run_locust(
    target: Target, *options: str, scenario: str = "throughput", **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run plain locust to its end."""
    with plain_locust(target, *options, scenario=scenario, **settings) as process:
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
