"""The service as a process of its own, and calls made byte by byte."""

from __future__ import annotations

import gc
import http.client
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch
from urllib.parse import urlsplit

from toolkit.cli import main

Fields = dict[str, Any]
_BOTTLENECK = "SMSCODE_MAX_BOTTLENECK"


@dataclass(frozen=True)
class Got:
    """An answer as it came off the socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> int:
        """The return code, 50000 for a success."""
        return self.json["error"]["code"] if "error" in self.json else 50000


@dataclass
class Running:
    """A service that runs as a process of its own."""

    process: subprocess.Popen[str]
    url: str
    app_key: str = ""
    master_secret: str = ""
    temp_id: int = 0
    admin_url: str = ""
    mobiles: Iterator[str] = field(default_factory=lambda: (f"138{n:08d}" for n in itertools.count()))

    @property
    def auth(self) -> dict[str, str]:
        return basic(self.app_key, self.master_secret)

    def call(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Got:
        """Make one request with just these headers (and Host, Accept-Encoding, Content-Length)."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=240)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, path: str, fields: Fields, headers: dict[str, str] | None = None) -> Got:
        return self.call("POST", path, json.dumps(fields).encode(), self.auth if headers is None else headers)

    def send(self, mobile: str | None = None) -> str:
        """Send to a fresh mobile and return the msg_id."""
        got = self.post("/v1/codes", {"mobile": mobile or next(self.mobiles), "temp_id": self.temp_id})
        assert got.code == 50000, got
        return str(got.json["msg_id"])

    def peek(self, msg_id: str) -> str:
        """Return the code that was "sent"."""
        return str(self.call("GET", f"/sandbox/messages/{msg_id}", headers=self.auth).json["code"])

    def verify(self, msg_id: str, code: str) -> Got:
        return self.post(f"/v1/codes/{msg_id}/valid", {"code": code})


def basic(app_key: str, master_secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{app_key}:{master_secret}".encode()).decode()}


def smscode(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, where its packages are imported already, and return its output.

    A given ``env`` replaces the environment but for the suite's limit on bottlenecks. Another thread than the main one
    gets a process, because it can handle no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return smscode_process(*arguments, env=env, cwd=cwd)
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    thresholds = gc.get_threshold()
    with (
        patch.dict(os.environ, _environment(env), clear=True),
        patch.object(sys, "argv", ["smscode", *arguments]),
        chdir(cwd or Path.cwd()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            exit_code = end.code
        finally:
            gc.unfreeze()
            gc.set_threshold(*thresholds)
            for number, handler in handlers.items():
                signal.signal(number, handler)
    assert isinstance(exit_code, int)
    return subprocess.CompletedProcess(arguments, exit_code, out.getvalue(), err.getvalue())


def smscode_process(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own: as ``smscode``, at a few times the CPU time."""
    command = [sys.executable, "-m", "toolkit", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, env=_environment(env), cwd=cwd
    )


def _environment(given: Mapping[str, str] | None) -> dict[str, str]:
    return dict(os.environ if given is None else {_BOTTLENECK: os.environ[_BOTTLENECK], **given})


@contextmanager
def running(*options: str, stderr: IO[Any] | int | None = None) -> Iterator[Running]:
    """Run a service until the block ends."""
    command = [sys.executable, "-m", "toolkit", "serve", "--port", "0", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        try:
            assert process.stdout is not None
            yield Running(process, **json.loads(process.stdout.readline()))
        finally:
            process.terminate()
