"""`smscode message show`, and messages on their way through a whole service."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

import pytest
from support.receiver import SECRET, documented_receiver
from support.service import running, smscode
from support.smsc import PASSWORD, smsc

MOBILE = "13800138000"


def set_up(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"SMSCODE_{name.upper()}", value)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def show(store: str, msg_id: str) -> dict[str, object]:
    done = smscode("message", "show", msg_id, "--store", store, "--json")
    assert done.returncode == 0, done.stderr
    assert MOBILE not in done.stdout
    shown: dict[str, object] = json.loads(done.stdout)
    return shown


def show_settled(store: str, msg_id: str, state: str) -> dict[str, object]:
    """Ask until a message is in a state."""
    while (shown := show(store, msg_id))["state"] != state:
        assert shown["state"] in ("waiting", "sent")
    return shown


def test_a_message_is_shown_while_the_service_runs_and_after(store: str) -> None:
    with running("--store", store) as service:
        msg_id = service.send(MOBILE)
        shown = show(store, msg_id)
        assert (shown["state"], shown["attempts"], shown["settled"]) == ("waiting", 0, None)
        assert (shown["mobile"], shown["app_key"], shown["segments"]) == ("1380013****", service.app_key, 1)
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", str(shown["sent"]))
        assert service.peek(msg_id) not in shown.values()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=240) == 0
    assert show(store, msg_id) == shown


def test_an_unknown_message_is_reported(store: str) -> None:
    with running("--store", store):
        done = smscode("message", "show", "06890980-6789-4054-bba9-90fb66ab2fce", "--store", store)
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown message '06890980-" in done.stderr


def test_a_message_goes_out_by_webhook(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with documented_receiver(tmp_path) as (url, receiver):
        set_up(monkeypatch, provider="webhook", webhook_url=url, webhook_secret=SECRET)
        with running("--store", store) as service:
            msg_id = service.send(MOBILE)
            assert receiver.stdout
            assert receiver.stdout.readline() == f"sent {msg_id}\n"
            shown = show_settled(store, msg_id, "delivered")
            assert (shown["carrier_code"], shown["attempts"]) == ("204", 1)
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(timeout=240) == 0


def test_a_service_that_is_killed_loses_no_message(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with documented_receiver(tmp_path) as (url, receiver):
        set_up(monkeypatch, provider="webhook", webhook_url=url, webhook_secret=SECRET)
        waiting = set()
        for _ in range(3):
            with running("--store", store) as service:
                service.mobiles = (f"139{len(waiting) + n:08d}" for n in range(20))
                waiting |= {service.send() for _ in range(20)}
                service.process.kill()
        with running("--store", store):
            assert receiver.stdout
            while waiting:
                waiting.remove(receiver.stdout.readline().split()[1])


def test_a_message_goes_out_by_smpp_and_its_receipt_comes_back(
    store: str, smpp_modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def claim() -> None:
        async with smsc(smpp_modules) as peer:
            set_up(
                monkeypatch, provider="smpp", smpp_url=f"smpp://toolkit@127.0.0.1:{peer.port}", smpp_password=PASSWORD
            )
            with running("--store", store) as service:
                msg_id = await asyncio.to_thread(service.send, MOBILE)
                text = await peer.expect("text")
                await asyncio.to_thread(show_settled, store, msg_id, "sent")
                await peer.tell(deliver={"esm_class": 4, "short_message": f"id:{text['id']} stat:UNDELIV err:069"})
                shown = await asyncio.to_thread(show_settled, store, msg_id, "failed")
                assert (shown["carrier_code"], shown["carrier_id"]) == ("UNDELIV 069", text["id"])
                service.process.send_signal(signal.SIGTERM)
                await peer.expect("unbound")

    asyncio.run(claim())


def test_a_service_that_the_smsc_refuses_says_so_in_one_line(
    store: str, smpp_modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def claim() -> None:
        async with smsc(smpp_modules) as peer:
            set_up(monkeypatch, smpp_url=f"smpp://toolkit@127.0.0.1:{peer.port}", smpp_password="wrong")
            done = await asyncio.to_thread(smscode, "serve", "--port", "0", "--store", store, "--provider", "smpp")
            assert (done.returncode, done.stdout) == (2, "")
            assert "refused to bind toolkit: ESME_RINVPASWD" in done.stderr
            assert done.stderr.count("\n") == 1

    asyncio.run(claim())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--store", "sqlite:///sms.db"], "only `smscode serve` can deliver from a SQLite store"),
        ([], "only `smscode serve` can deliver from a SQLite store"),
        (["--store", "redis://127.0.0.1:1"], "the provider outbox delivers nothing: set SMSCODE_PROVIDER"),
    ],
)
def test_an_invalid_delivery_worker_is_refused_with_the_reason(tmp_path: Path, options: list[str], reason: str) -> None:
    done = smscode("deliver", *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
