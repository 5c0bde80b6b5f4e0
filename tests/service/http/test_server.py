"""The service starts and stops cleanly."""

from __future__ import annotations

import gc
import signal
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from support.certificates import certificate
from support.programs import require
from support.service import Running, smscode_process

from toolkit.api.errors import RunError, SettingsError
from toolkit.service.delivery.webhook import WebhookFactory
from toolkit.service.http.server import bind
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


def test_a_stopped_service_answers_every_request_that_has_arrived(start: Callable[..., Running]) -> None:
    service = start()
    address = urlsplit(service.url)
    request = b"POST /v1/codes HTTP/1.1\r\nHost: t\r\nAuthorization: %b\r\nContent-Length: 2\r\n\r\n{}"
    request %= service.auth["Authorization"].encode()
    with ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=240))

        idle = [connect() for _ in range(20)]
        for peer in idle:
            peer.sendall(request)
            assert b"50004" in peer.recv(4096)
        service.process.send_signal(signal.SIGSTOP)
        peers = [*idle, *(connect() for _ in range(20))]
        for peer in peers:
            peer.sendall(request * 2)
        service.process.send_signal(signal.SIGTERM)
        service.process.send_signal(signal.SIGCONT)
        answers = [peer.makefile("rb").read() for peer in peers]
    assert [answer.count(b"50004") for answer in answers] == [2] * 40
    assert service.process.wait(timeout=240) == 0


def test_a_low_limit_of_open_files_is_said_at_the_start(tmp_path: Path) -> None:
    command = ["sh", "-c", 'ulimit -n 256; exec "$0" -m toolkit serve --port 0 --json --until-stdin-closes']
    command.append(sys.executable)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        _, logged = process.communicate()
    assert b"may open only 256 files" in logged


def test_a_password_in_the_store_option_is_not_in_the_process_list() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = f"redis://:s3cret@127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "toolkit", "serve", "--port", "0", "--store", store, "--workers", "2"]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            peer, _ = silent.accept()
            with peer:  # the service waits for an answer of its Redis
                shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            process.communicate()
    assert b"--workers" in shown
    assert b"s3cret" not in shown


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"admin_host": "0.0.0.0", "admin_port": 0}, "admin-host 0.0.0.0: everyone who reaches the admin port reads"),
        ({"provider": WebhookFactory("http://sms.example.org/x", "s")}, "webhook_url is http://"),
    ],
)
def test_a_setting_that_exposes_data_is_warned_of(options: dict[str, Any], reason: str) -> None:
    [warning] = ServiceConfig(**options).warnings()
    assert reason in warning


@pytest.mark.parametrize(
    "url", ["https://sms.example.org/x", "http://127.0.0.1:9000/", "http://localhost/", "http://[::1]/"]
)
def test_a_safe_setting_is_not_warned_of(url: str) -> None:
    assert ServiceConfig(admin_port=0, provider=WebhookFactory(url, "s")).warnings() == []


def test_the_nginx_site_in_deploy_serves_the_api_over_tls(start: Callable[..., Running], tmp_path: Path) -> None:
    require("nginx")
    service, (cert, _) = start(), certificate(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    site = (Path(__file__).parents[3] / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    for written, replacement in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "127.0.0.1:8018": urlsplit(service.url).netloc,
        "/etc/ssl/sms.example.org/fullchain.pem": str(cert),
        "/etc/ssl/sms.example.org/privkey.pem": str(tmp_path / "key.pem"),
        "/var/log/nginx/smscode.log": str(tmp_path / "access.log"),
    }.items():
        assert site.count(written) == 1
        site = site.replace(written, replacement)
    config = tmp_path / "nginx.conf"
    paths = " ".join(f"{it}_temp_path {tmp_path}/{it};" for it in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    main = f"daemon off; master_process off; pid {tmp_path}/pid; error_log stderr; events {{}}"
    config.write_text(f"{main} http {{ {paths} {site} }}", encoding="utf-8")
    with subprocess.Popen(["nginx", "-c", str(config), "-e", "stderr"]) as nginx:
        try:
            while not is_listening(port):
                assert nginx.poll() is None
            url, trusted = f"https://localhost:{port}", ssl.create_default_context(cafile=str(cert))
            with httpx.Client(base_url=url, headers=service.auth, verify=trusted) as client:
                sent = client.post("/v1/codes", json={"mobile": "13800138000", "temp_id": service.temp_id})
                assert sent.status_code == 200
                path = f"/v1/codes/{sent.json()['msg_id']}/valid"
                verified = client.post(path, json={"code": service.peek(sent.json()["msg_id"])})
                assert verified.json() == {"is_valid": True}
                refused = client.post("/v1/codes", content=b"{" * 20_000)
                assert refused.json()["error"]["code"] == 50007
        finally:
            nginx.terminate()
    assert sent.headers["x-request-id"] in (tmp_path / "access.log").read_text(encoding="utf-8")


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


@pytest.mark.parametrize("redirection", ["</dev/null", '<"$0"', "<&-"])
def test_a_service_needs_a_stdin_that_can_be_watched_to_end_with_its_parent(redirection: str) -> None:
    command = f'exec "$0" -m toolkit serve --port 0 --until-stdin-closes {redirection}'
    done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--until-stdin-closes needs a stdin that the parent process can close" in done.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--host", "0.0.0.0"], "use 127.0.0.1, or allow it with --expose-sandbox"),
        (["--production", "--provider", "outbox"], "production needs a store"),
        (["--production", "--store", "sqlite:///x.db"], "production needs a provider: set SMSCODE_PROVIDER"),
        (
            ["--production", "--store", "sqlite:///x.db", "--provider", "outbox", "--speed", "60"],
            "work only in a sandbox",
        ),
        (["--provider", "pigeon"], "invalid --provider: expected one of outbox, webhook, smpp"),
        (["--provider", "webhook"], "provider webhook needs webhook_url: set SMSCODE_WEBHOOK_URL"),
        (["--provider", "smpp"], "provider smpp needs smpp_url: set SMSCODE_SMPP_URL"),
        (["--speed", "0"], "expected a number above 0"),
        (["--store", "postgres://localhost"], "invalid --store: expected sqlite:///path.db, or redis://host:port"),
        (["--store", "redis://127.0.0.1:1"], "redis://127.0.0.1:1: can't be used as a store: Redis: "),
        (
            ["--workers", "2"],
            "invalid --workers 2: only one process can use a SQLite store; several need a Redis store",
        ),
        (["--workers", "2", "--store", "sqlite:///x.db"], "several need a Redis store"),
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


@pytest.mark.parametrize(
    ("host", "port"),
    [("127.0.0.1", 70_000), ("127.0.0.1", -1), ("\0", 0), ("é" * 80, 0), ("::1%x", 0), ("203.0.113.1", 0)],
)
def test_an_address_that_cannot_be_used_leaves_no_socket_open(host: str, port: int) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(RunError, match=r"can't listen on .*; choose another --host or --port"):
            bind(host, port)
        gc.collect()
    assert not [str(it.message) for it in warned if issubclass(it.category, ResourceWarning)]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_sandbox_listens_on_any_loopback_address(host: str) -> None:
    assert ServiceConfig(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_a_sandbox_listens_beyond_loopback_only_if_asked_to(host: str) -> None:
    with pytest.raises(SettingsError, match="loopback only"):
        ServiceConfig(host=host)
    assert ServiceConfig(host=host, expose_sandbox=True)
