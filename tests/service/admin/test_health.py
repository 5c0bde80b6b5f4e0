"""Ask the admin port while the service runs, drains or has a stuck store; stop a service under load."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.admin import AdminPort
from support.bench import Bench
from support.service import Running, smscode, smscode_process

from toolkit.service.admin.health import Health
from toolkit.service.core.policy import Policy
from toolkit.service.metrics.counters import Counters
from toolkit.service.stores.base import LoadProgress
from toolkit.service.stores.open_store import open_store


def test_a_running_service_is_alive_and_ready(start: Callable[..., Running]) -> None:
    admin = AdminPort(start("--admin-port", "0").admin_url)
    assert admin.get("/healthz") == (200, "text/plain; charset=utf-8", "ok\n")
    assert admin.get("/readyz") == (200, "text/plain; charset=utf-8", "ok\n")


def test_readyz_and_metrics_tell_of_a_misconfigured_provider(bench: Bench) -> None:
    async def ask(path: str) -> tuple[int, str]:
        await bench.open()
        health = Health(bench.store, lambda: Counters(delivery_problem="x is wrong", refunded=3), unready=lambda: "")
        told: list[Any] = []

        async def send(event: Any) -> None:
            told.append(event)

        await health({"path": path, "method": "GET", "headers": []}, receive_nothing, send)
        await bench.store.close()
        return told[0]["status"], told[1]["body"].decode()

    assert asyncio.run(ask("/readyz")) == (200, "ok, but x is wrong\n")
    metrics = asyncio.run(ask("/metrics"))[1].splitlines()
    assert {"smscode_delivery_misconfigured 1.0", "smscode_refunded_messages_total 3.0"} <= set(metrics)


def test_the_admin_port_answers_nothing_else(start: Callable[..., Running]) -> None:
    service = start("--admin-port", "0")
    admin = AdminPort(service.admin_url)
    assert (admin.status("/v1/codes"), admin.status("/")) == (404, 404)
    assert admin.get("/metrics", "POST")[0] == 405
    assert [service.call("GET", path).code for path in ("/healthz", "/readyz", "/metrics")] == [50016] * 3


def test_no_admin_port_is_served_by_default(start: Callable[..., Running]) -> None:
    assert start().admin_url == ""


def test_readyz_fails_while_the_store_is_locked(start: Callable[..., Running], tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    service = start("--admin-port", "0", "--store", f"sqlite:///{store}")
    admin = AdminPort(service.admin_url)
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        status, _, text = admin.get("/readyz")
        assert (status, text.startswith("store: "), text.count("\n")) == (503, True, 1)
        assert service.post("/v1/codes", {"mobile": next(service.mobiles), "temp_id": 1}).code == 50019
        assert (admin.status("/healthz"), admin.status("/metrics")) == (200, 200)
        other.execute("ROLLBACK")
    assert admin.status("/readyz") == 200
    assert service.send()


def test_metrics_are_served_without_the_stores_gauges_if_it_cannot_be_read(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    store = tmp_path / "store.db"
    admin = AdminPort(start("--admin-port", "0", "--store", f"sqlite:///{store}").admin_url)
    assert admin.value("smscode_store_up") == 1
    store.unlink()
    store.mkdir()
    samples = admin.samples()
    assert samples["smscode_store_up"] == [({}, 0)]
    assert "smscode_balance_messages" not in samples
    assert "smscode_calls_in_flight" in samples


def test_readyz_fails_if_the_store_answers_too_late(bench: Bench) -> None:
    async def ask() -> tuple[int, bytes]:
        await bench.open()
        health = Health(bench.store, Counters, unready=lambda: "", store_timeout_s=0)
        told: list[Any] = []

        async def send(event: Any) -> None:
            told.append(event)

        await health({"path": "/readyz", "method": "GET", "headers": []}, receive_nothing, send)
        await bench.store.close()
        return told[0]["status"], told[1]["body"]

    assert asyncio.run(ask()) == (503, b"the store did not answer within 0 s\n")


def test_a_service_that_loads_its_store_is_alive_and_says_how_far_it_is(bench: Bench) -> None:
    async def ask(health: Health, path: str) -> tuple[int, str]:
        told: list[Any] = []

        async def send(event: Any) -> None:
            told.append(event)

        await health({"path": path, "method": "GET", "headers": []}, receive_nothing, send)
        return told[0]["status"], told[1]["body"].decode()

    async def load() -> None:
        await bench.send(await bench.open())
        await bench.store.close()
        seen: list[int] = []
        health = Health(None, Counters, unready=lambda: str(progress))

        class Watched(LoadProgress):
            def __setattr__(self, name: str, value: int) -> None:
                super().__setattr__(name, value)
                seen.extend([value] if name == "loaded" else [])

        progress = Watched()
        assert await ask(health, "/readyz") == (503, "loading the store\n")
        store = await open_store(f"sqlite:///{bench.path}", Policy(), bench.path, progress=progress)
        assert seen == [0, 1]
        assert await ask(health, "/healthz") == (200, "ok\n")
        assert await ask(health, "/readyz") == (503, "loading the store: 1 of 1 messages\n")
        assert (await ask(health, "/metrics"))[0] == 200
        progress.end()
        health.store = store
        assert (await ask(health, "/readyz"))[0] == 200
        await store.close()

    asyncio.run(load())


async def receive_nothing() -> Any:
    raise AssertionError("a look at the health has no body")


def test_a_draining_service_is_alive_and_not_ready(start: Callable[..., Running]) -> None:
    service = start("--admin-port", "0")
    admin = AdminPort(service.admin_url)
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=240) as peer, peer.makefile("rb") as file:
        peer.sendall(
            b"POST /v1/codes HTTP/1.1\r\nHost: t\r\nAuthorization: %s\r\n" % service.auth["Authorization"].encode()
        )
        peer.sendall(b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert file.readline() == b"HTTP/1.1 100 Continue\r\n"
        service.process.send_signal(signal.SIGTERM)
        while admin.status("/readyz") == 200:
            pass
        assert admin.get("/readyz")[2].startswith("draining")
        assert admin.status("/healthz") == 200
        peer.sendall(b"{}")
        assert b"50004" in file.read()
    assert service.process.wait(timeout=240) == 0


def test_a_service_stopped_under_load_answers_every_accepted_request_and_loses_nothing(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    service = start("--store", store)
    answered: list[str] = []
    warm = threading.Barrier(9)
    senders = [threading.Thread(target=send_until_closed, args=(service, n, warm, answered)) for n in range(8)]
    for sender in senders:
        sender.start()
    warm.wait(timeout=240)
    service.process.send_signal(signal.SIGTERM)
    for sender in senders:
        sender.join(timeout=240)
    assert service.process.wait(timeout=240) == 0
    assert len(answered) >= 8 * 20
    again = start("--store", store)
    assert {again.verify(msg_id, again.peek(msg_id)).code for msg_id in answered} == {50000}
    balances = [app["balance"] for app in json.loads(smscode("app", "list", "--store", store, "--json").stdout)]
    assert balances == [10**9 - len(answered)], "a message was charged whose answer never came"


def send_until_closed(service: Running, number: int, warm: threading.Barrier, answered: list[str]) -> None:
    """Send over one connection until the service closes it, and refuses another one."""
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=240)
    for sent in itertools.count():
        if sent == 20:
            warm.wait(timeout=240)
        fields = {"mobile": f"13{number}{sent:08d}", "temp_id": service.temp_id}
        try:
            connection.request("POST", "/v1/codes", json.dumps(fields), service.auth)
            answered.append(json.loads(connection.getresponse().read())["msg_id"])
        except ConnectionRefusedError:
            return
        except ConnectionError:  # closed between two requests
            connection.close()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--admin-host", "203.0.113.1", "--admin-port", "0"], "can't listen on 203.0.113.1"),
        (["--admin-port", "70000"], "invalid --admin-port: expected a whole number from 0 to 65535"),
    ],
)
def test_an_unusable_admin_port_is_reported_in_one_line(tmp_path: Path, options: list[str], reason: str) -> None:
    done = smscode_process("serve", "--port", "0", *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
