"""Check that workers share a store and a port, are replaced when they die, and end with their parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from support.admin import AdminPort
from support.processes import wait_gone
from support.redis import RedisServer
from support.service import Running, running, smscode, smscode_process
from support.smsc import smsc
from support.waiting import wait_until

Start = Callable[..., Running]


@pytest.fixture
def serve(redis: RedisServer, tmp_path: Path) -> Iterator[Start]:
    """Start services over one empty Redis."""
    redis.empty()
    options = ("--store", redis.url, "--key-file", str(tmp_path / "smscode.key"))
    with ExitStack() as stack:
        yield lambda *more: stack.enter_context(running(*options, *more))


def workers_of(service: Running) -> list[psutil.Process]:
    return psutil.Process(service.process.pid).children()


def test_workers_and_machines_share_rate_limits_and_messages(serve: Start) -> None:
    one, other = serve("--workers", "2"), serve("--workers", "2")
    assert (one.app_key, one.master_secret, one.temp_id) == (other.app_key, other.master_secret, other.temp_id)
    fields = {"mobile": "13800138000", "temp_id": one.temp_id}
    with ThreadPoolExecutor(8) as pool:
        sends = list(pool.map(lambda n: (one, other)[n % 2].post("/v1/codes", fields).code, range(40)))
    assert Counter(sends) == {50000: 1, 50009: 39}
    for service in (one, other):
        msg_id = service.send(f"1390000000{service is one:d}")
        with ThreadPoolExecutor(8) as pool:
            code = other.peek(msg_id)
            verdicts = list(pool.map(lambda _, it=msg_id, typed=code: one.verify(it, typed).code, range(20)))
        assert Counter(verdicts) == {50000: 1, 50012: 19}


def test_connections_reach_every_worker(serve: Start) -> None:
    service = serve("--workers", "2")
    address = urlsplit(service.url)
    with ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(socket.create_connection((address.hostname, address.port)))
        while sum(served := [connections_of(it, address.port) for it in workers_of(service)]) < 64:
            pass
    assert min(served) > 0


def connections_of(worker: psutil.Process, port: int | None) -> int:
    """Return how many callers a worker has."""
    found = worker.net_connections("tcp")
    return sum(it.status == psutil.CONN_ESTABLISHED and it.laddr.port == port for it in found)


def test_a_worker_that_dies_is_replaced(serve: Start) -> None:
    service = serve("--workers", "2")
    before = workers_of(service)
    before[0].kill()
    wait_gone(before[:1])
    for n in range(40):
        service.send(f"138{n:08d}")
    after = workers_of(service)
    assert len(after) == 2
    assert before[1] in after


def test_a_service_whose_workers_cannot_start_ends_with_the_reason(
    redis: RedisServer, smpp_modules: Path, tmp_path: Path
) -> None:
    redis.empty()
    options = ("--store", redis.url, "--key-file", str(tmp_path / "smscode.key"), "--port", "0", "--workers", "2")

    async def claim() -> None:
        async with smsc(smpp_modules) as carrier:
            account = {"SMSCODE_SMPP_URL": f"smpp://a@127.0.0.1:{carrier.port}", "SMSCODE_SMPP_PASSWORD": "wrong"}
            call = partial(
                smscode_process, "serve", "--production", "--provider", "smpp", *options, env=os.environ | account
            )
            done = await asyncio.to_thread(call)
        assert done.returncode == 2
        assert "refused to bind a: ESME_RINVPASWD" in done.stderr
        assert "ended before it was ready" in done.stderr
        assert "Traceback" not in done.stderr

    asyncio.run(claim())


def test_the_admin_port_counts_all_workers_and_those_that_died(serve: Start) -> None:
    service = serve("--workers", "2", "--admin-port", "0")
    admin = AdminPort(service.admin_url)
    assert [admin.status(path) for path in ("/healthz", "/readyz")] == [200, 200]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: service.send(f"138{n:08d}"), range(40)))
    wait_until(lambda: admin.value("smscode_calls_total", endpoint="send", return_code="50000") == 40)
    assert admin.value("smscode_balance_messages") == 10**9 - 40
    workers_of(service)[0].kill()
    wait_until(lambda: admin.status("/readyz") == 503)
    wait_until(lambda: admin.status("/readyz") == 200)
    assert admin.value("smscode_calls_total", endpoint="send", return_code="50000") == 40


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_service_ends_with_all_its_workers(serve: Start, number: int) -> None:
    service = serve("--workers", "2")
    workers = workers_of(service)
    service.process.send_signal(number)
    assert service.process.wait(timeout=240) == 0
    wait_gone(workers)


def test_no_worker_outlives_a_killed_parent(serve: Start) -> None:
    service = serve("--workers", "2")
    workers = workers_of(service)
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait(timeout=240)
    wait_gone(workers)


def test_a_port_in_use_is_not_shared_with_another_service(serve: Start, redis: RedisServer, tmp_path: Path) -> None:
    port = str(urlsplit(serve("--workers", "2").url).port)
    done = smscode(
        "serve", "--port", port, "--store", redis.url, "--workers", "2", "--key-file", str(tmp_path / "smscode.key")
    )
    assert (done.returncode, "in use" in done.stderr) == (2, True)


def test_an_administrative_change_takes_effect_on_all_workers(serve: Start, redis: RedisServer, tmp_path: Path) -> None:
    service = serve("--workers", "2", "--speed", "60")
    env = os.environ | {"SMSCODE_STORE": redis.url, "SMSCODE_KEY_FILE": str(tmp_path / "smscode.key")}
    listed = json.loads(smscode("app", "list", "--json", env=env).stdout)
    assert [it["balance"] for it in listed] == [10**9]
    assert smscode("app", "suspend", service.app_key, env=env).returncode == 0
    refused = 0
    while refused < 20:
        refused = refused + 1 if service.post("/v1/codes", {}).code == 50002 else 0


def test_the_service_runs_over_a_cluster(cluster: list[RedisServer], tmp_path: Path) -> None:
    for node in cluster:
        node.empty()
    store = cluster[1].url.replace("redis:", "redis+cluster:")
    with running("--store", store, "--workers", "2", "--key-file", str(tmp_path / "smscode.key")) as service:
        msg_id = service.send()
        assert service.verify(msg_id, service.peek(msg_id)).code == 50000
