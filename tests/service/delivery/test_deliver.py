"""Run `smscode deliver` beside services that share a Redis; no message is lost when a worker dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.admin import AdminPort
from support.receiver import SECRET, documented_receiver
from support.redis import RedisServer
from support.service import Running, running, smscode

from toolkit.service.stores.base import LEASE_S


@pytest.fixture
def service(redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A service that leaves its messages to others."""
    redis.empty()
    monkeypatch.setenv("SMSCODE_STORE", redis.url)
    monkeypatch.setenv("SMSCODE_KEY_FILE", str(tmp_path / "smscode.key"))
    monkeypatch.setenv("SMSCODE_WEBHOOK_SECRET", SECRET)
    with running("--workers", "2", "--provider", "outbox") as service:
        yield service


@contextmanager
def delivering(url: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run a worker that posts messages to a URL until the block ends."""
    command = [sys.executable, "-m", "toolkit", "deliver", "--provider", "webhook", *options]
    environment = os.environ | {"SMSCODE_WEBHOOK_URL": url}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr
            assert process.stderr.readline() == "Delivering by webhook. Ctrl-C stops it.\n"
            yield process
        finally:
            process.kill()


def show(msg_id: str) -> dict[str, Any]:
    done = smscode("message", "show", msg_id, "--json")
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def show_settled(msg_id: str) -> dict[str, Any]:
    """Ask until something has become of a message."""
    while (shown := show(msg_id))["state"] == "waiting":
        pass
    return shown


def end(worker: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """End a worker and return what it logged."""
    worker.send_signal(signal.SIGTERM)
    _, log = worker.communicate(timeout=240)
    assert worker.returncode == 0
    return [json.loads(line) for line in log.splitlines()]


def test_a_message_goes_out_once_and_is_shown_and_logged_as_delivered(service: Running, tmp_path: Path) -> None:
    with documented_receiver(tmp_path) as (url, receiver), delivering(url) as one, delivering(url) as two:
        sent = [service.send() for _ in range(10)]
        assert receiver.stdout
        received = {receiver.stdout.readline() for _ in sent}
        assert received == {f"sent {msg_id}\n" for msg_id in sent}
        shown = show_settled(sent[-1])
        assert (shown["state"], shown["carrier_code"], shown["attempts"]) == ("delivered", "204", 1)
        logged = [line for line in end(one) + end(two) if "msg_id" in line]  # and not warnings of the store
        assert {(line["msg_id"], line["state"], line["carrier_code"], line["attempts"]) for line in logged} == {
            (msg_id, "delivered", "204", 1) for msg_id in sent
        }


def test_a_delivery_worker_serves_its_own_metrics(service: Running, tmp_path: Path) -> None:
    with documented_receiver(tmp_path) as (url, _), delivering(url, "--admin-port", "0") as worker:
        assert worker.stderr
        admin = AdminPort(worker.stderr.readline().split()[-1])
        show_settled(service.send())
        assert admin.value("smscode_deliveries_total", provider="webhook", state="delivered") == 1
        assert (admin.status("/readyz"), admin.value("smscode_delivery_backlog")) == (200, 0)


def test_another_worker_delivers_the_message_that_a_killed_one_had_leased(
    service: Running, redis: RedisServer, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(240)
        with delivering(f"http://127.0.0.1:{silent.getsockname()[1]}/texts") as worker:
            msg_id = service.send()
            silent.accept()[0].close()
            worker.kill()
    shown = show(msg_id)
    assert (shown["state"], shown["attempts"]) == ("waiting", 1)
    let_leases_pass(redis)
    with documented_receiver(tmp_path) as (url, receiver), delivering(url):
        assert receiver.stdout
        assert receiver.stdout.readline() == f"sent {msg_id}\n"
        shown = show_settled(msg_id)
        assert (shown["state"], shown["attempts"]) == ("delivered", 2)


def let_leases_pass(redis: RedisServer) -> None:
    """Move what is due later as far into the past as a lease's time would have."""
    with redis.client() as client:
        for jobs in client.scan_iter("sms:*:jobs"):
            for msg_id in client.zrange(jobs, 0, -1):
                client.zincrby(jobs, -LEASE_S * 1000, msg_id)
