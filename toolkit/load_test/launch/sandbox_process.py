"""Start a sandbox as a child process that does not outlive its ``with`` block, nor this process."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from toolkit.api.errors import InputError, RunError
from toolkit.load_test.launch.child_process import end, last_lines
from toolkit.settings import Target

_START_S = 20.0
_END_S = 5.0
_PREFIX = "SMSCODE_"  # of the toolkit's environment variables


@contextmanager
def sandbox(*arguments: str) -> Iterator[Target]:
    """Run a sandbox on a free loopback port and give it as a target.

    Only the arguments configure it: variables and files of the current directory may be meant for a production
    service, whose store must not be loaded. Paths must therefore be absolute.

    Args:
        arguments: Arguments of `smscode serve`, e.g. ``"--speed", "60"``.

    Raises:
        InputError: The arguments contain --production, which has no ready-made app.
        RunError: The sandbox did not start. The message contains its last line of output.
    """
    with _serve(*arguments) as started:
        yield _target(started)


@contextmanager
def sandbox_with_metrics() -> Iterator[tuple[Target, str]]:
    """Run a sandbox as ``sandbox`` does, and give it with the base URL of its /metrics."""
    with _serve("--admin-port", "0") as started:
        yield _target(started), started["admin_url"]


@contextmanager
def _serve(*arguments: str) -> Iterator[dict[str, Any]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "toolkit", "serve", "--port", "0", "--json", "--until-stdin-closes", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)},
            cwd=folder,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield _read_start(process, stderr)
        finally:
            end(process, _END_S)


def _read_start(process: subprocess.Popen[bytes], stderr: IO[bytes]) -> dict[str, Any]:
    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], _START_S)
    line = process.stdout.readline() if ready else b""
    if not line:
        problem = "did not start" if ready else f"did not answer within {_START_S:.0f} s"
        raise RunError(f"the sandbox {problem}: {last_lines(stderr, 1)}")
    started: dict[str, Any] = json.loads(line)
    if "app_key" not in started:
        raise InputError("invalid argument --production: a production service has no ready-made app; leave it out")
    return started


def _target(started: dict[str, Any]) -> Target:
    return Target(started["url"], started["app_key"], started["master_secret"], started["temp_id"])
