"""The service starts and stops cleanly."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.service import Running, smscode_process

from toolkit.api.errors import SettingsError
from toolkit.service.process.config import ServiceConfig


def test_a_stopped_service_answers_the_requests_under_way(start: Callable[..., Running]) -> None:
    service = start()
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=240) as peer, peer.makefile("rb") as file:
        auth = service.auth["Authorization"].encode()
        peer.sendall(b"POST /v1/codes HTTP/1.1\r\nHost: t\r\nAuthorization: %s\r\n" % auth)
        peer.sendall(b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert file.readline() == b"HTTP/1.1 100 Continue\r\n"
        service.process.send_signal(signal.SIGTERM)
        while is_listening(address.port):
            pass
        peer.sendall(b"{}")
        assert b"50004" in file.read()
    assert service.process.wait(timeout=240) == 0


def is_listening(port: int | None) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=240).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_service_leaves_no_file_or_process_behind(start: Callable[..., Running], number: int) -> None:
    service = start()
    service.process.send_signal(number)
    assert service.process.wait(timeout=240) == 0


def test_a_service_can_end_with_the_process_that_started_it() -> None:
    command = [sys.executable, "-m", "toolkit", "serve", "--port", "0", "--json", "--until-stdin-closes"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().startswith(b'{"url"')
        process.stdin.close()
        assert process.wait(timeout=240) == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--host", "0.0.0.0"], "remove --host, or allow it with --expose-sandbox"),
        (["--production", "--provider", "outbox"], "production needs a store"),
        (["--production", "--store", "sqlite:///x.db"], "production needs a provider: set SMSCODE_PROVIDER"),
        (
            ["--production", "--store", "sqlite:///x.db", "--provider", "outbox", "--speed", "60"],
            "work only in a sandbox",
        ),
        (["--provider", "pigeon"], "invalid provider"),
        (["--provider", "webhook"], "provider webhook needs webhook_url: set SMSCODE_WEBHOOK_URL"),
        (["--provider", "smpp"], "provider smpp needs smpp_url: set SMSCODE_SMPP_URL"),
        (["--speed", "0"], "expected a number above 0"),
        (["--store", "postgres://localhost"], "give sqlite:///path.db, or redis://host:port"),
        (["--store", "redis://127.0.0.1:1"], "redis://127.0.0.1:1: can't be used as a store: Redis: "),
        (["--workers", "2"], "only one process can use a SQLite store; several need Redis: --store redis://host:port"),
        (["--workers", "2", "--store", "sqlite:///x.db"], "several need Redis"),
        (["--store", "sqlite:////nowhere/at/all.db"], "create a store there"),
        (["--rule", "one a minute"], "expected COUNT/DURATION, e.g. 1/60s"),
        (["--latency", "fast"], "expected a duration, e.g. 20ms"),
        (["--error-share", "2"], "expected a share from 0 to 1"),
        (["--port", "70000"], "port"),
        (["--tries", "0"], "tries"),
        (["--host", "203.0.113.1", "--expose-sandbox"], "can't listen on 203.0.113.1"),
    ],
)
def test_a_service_that_cannot_start_says_why_in_one_line(tmp_path: Path, options: list[str], reason: str) -> None:
    done = smscode_process("serve", "--port", "0", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_port_in_use_is_named_in_the_error(sandbox: Running) -> None:
    done = smscode_process("serve", "--port", str(urlsplit(sandbox.url).port))
    assert (done.returncode, "in use" in done.stderr) == (2, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_sandbox_listens_on_any_loopback_address(host: str) -> None:
    assert ServiceConfig(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_a_sandbox_listens_beyond_loopback_only_if_asked_to(host: str) -> None:
    with pytest.raises(SettingsError, match="loopback only"):
        ServiceConfig(host=host)
    assert ServiceConfig(host=host, expose_sandbox=True)
