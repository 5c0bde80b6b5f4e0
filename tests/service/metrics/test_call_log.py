"""Check that the log has one line of JSON for each call, hides secrets and delays no call."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.admin import AdminPort
from support.service import Got, Running, running

from toolkit.service.metrics.call_log import BUFFER_BYTES, CLOSE_TIMEOUT_S, JsonHandler, LineWriter, mask_mobiles
from toolkit.service.metrics.counters import Counters

MOBILE = "13912345678"
Pipeline = dict[str, Any]


def logged(path: Path, *options: str, calls: Callable[[Running], Any]) -> list[Pipeline]:
    """Run a service, make calls, and return its log."""
    with path.open("w") as file, running(*options, stderr=file) as service:
        calls(service)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=240) == 0
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_call_is_one_line_with_all_its_known_fields(tmp_path: Path) -> None:
    answers: list[Got] = []

    def calls(service: Running) -> None:
        fields = {"mobile": f"+86{MOBILE}", "temp_id": 1}
        answers.append(service.post("/v1/codes", fields, service.auth | {"X-Request-Id": '"first"\\'}))
        answers.append(service.verify(answers[0].json["msg_id"], "wrong"))
        answers.append(service.call("GET", "/nowhere"))
        answers.append(service.post("/v1/codes", {"mobile": "19900050019", "temp_id": 1}))

    send, verify, other, failed = logged(tmp_path / "log", "--log-calls", calls=calls)
    assert abs(datetime.fromisoformat(send.pop("time")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert 0 < send.pop("latency_ms") < 10_000
    assert send.pop("app_key") == verify["app_key"]
    msg_id = answers[0].json["msg_id"]
    known = {"level": "info", "request_id": '"first"\\', "endpoint": "send", "http_status": 200, "return_code": 50000}
    assert send == known | {"kind": "OK", "msg_id": msg_id, "mobile": "1391234****", "peer": "127.0.0.1"}
    assert (verify["endpoint"], verify["return_code"], verify["msg_id"]) == ("verify", 50010, msg_id)
    assert (other["endpoint"], other["return_code"], other["app_key"]) == ("other", 50016, None)
    assert (failed["level"], failed["kind"], failed["http_status"]) == ("error", "SERVER", 500)
    ids = [line["request_id"] for line in (send | {"request_id": '"first"\\'}, verify, other, failed)]
    assert ids == [answer.headers["x-request-id"] for answer in answers]


def test_the_line_of_a_sampled_call_has_its_trace_id(tmp_path: Path) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    sent = [
        f"00-{trace}-{span}-01",
        f"00-{trace}-{span}-00",
        f"00-{trace}-{span}",
        f"00-a13912345678b{'0' * 19}-{span}-01",
    ]

    def calls(service: Running) -> None:
        for value in sent:
            service.post("/v1/codes", {"mobile": MOBILE, "temp_id": 1}, service.auth | {"traceparent": value})

    lines = logged(tmp_path / "log", "--log-calls", calls=calls)
    assert [line.get("trace_id") for line in lines] == [trace, None, None, f"a1391234****b{'0' * 19}"]


def test_no_line_holds_a_code_a_secret_or_a_whole_mobile(tmp_path: Path) -> None:
    hidden: list[str] = [MOBILE]

    def calls(service: Running) -> None:
        msg_id = service.send(MOBILE)
        code = service.peek(msg_id)
        hidden.extend([code, service.master_secret, service.auth["Authorization"].removeprefix("Basic ")])
        hidden.append(b64encode(code.encode()).decode())
        give_away(service, msg_id, code)

    path = tmp_path / "log"
    lines = logged(path, "--log-calls", calls=calls)
    assert len([line for line in lines if "endpoint" in line]) == 2 + 13
    # A time of day and a latency may hold any digits.
    told = "\n".join(str({k: v for k, v in line.items() if k not in ("time", "latency_ms")}) for line in lines)
    assert [text for text in hidden if text in told] == []
    assert not re.search(r"(?<![0-9a-f])1[3-9][0-9]{9}(?![0-9a-f])", told)


def give_away(service: Running, msg_id: str, code: str) -> None:
    """Put what must stay hidden wherever a caller can."""
    auth, odd = service.auth, {"Authorization": f"Bearer {service.master_secret}"}
    service.verify(msg_id, code)
    service.verify(msg_id, code)
    service.verify(MOBILE, code)
    service.verify(code, MOBILE)
    service.call("POST", f"/v1/codes/{MOBILE}/{code}", b"{}", auth)
    service.call("POST", f"/v1/codes?code={code}&mobile={MOBILE}", b"{", auth)
    service.call("POST", "/v1/codes", f"mobile={MOBILE}".encode(), odd)
    service.call("POST", "/v1/codes", b"{}", auth | {"X-Request-Id": MOBILE})
    service.call("POST", "/v1/codes", b"{}", auth | {"X-Request-Id": f"to:+86{MOBILE}/1"})
    service.call("GET", f"/sandbox/messages/{MOBILE}", headers=auth)
    service.call(MOBILE, f"/{code}", headers=auth)
    service.post("/v1/codes", {"mobile": [MOBILE], "temp_id": code, "code": code})
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=240) as peer, peer.makefile("rb") as file:
        peer.sendall(f"POST {MOBILE} {code}\r\n{service.master_secret}\r\n\r\n".encode())
        assert file.read()


def test_a_sandbox_logs_calls_only_on_request(tmp_path: Path) -> None:
    assert logged(tmp_path / "log", calls=lambda service: service.send()) == []


@pytest.mark.parametrize(("options", "lines"), [([], 1), (["--no-log-calls"], 0)])
def test_production_logs_calls_by_default(tmp_path: Path, options: list[str], lines: int) -> None:
    store = ("--store", f"sqlite:///{tmp_path}/store.db")
    told = logged(
        tmp_path / "log", "--production", "--provider", "outbox", *store, *options, calls=lambda it: it.call("GET", "/")
    )
    assert len(told) == lines


def test_an_error_is_a_line_of_json_too(tmp_path: Path) -> None:
    store = tmp_path / "store.db"

    def calls(service: Running) -> None:
        with closing(sqlite3.connect(store, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert service.post("/v1/codes", {"mobile": MOBILE, "temp_id": 1}).code == 50019

    lines = logged(tmp_path / "log", "--store", f"sqlite:///{store}", calls=calls)
    # The call's own line, and one for what the failed commit left in the database's log.
    assert [(line["level"], line["message"].startswith("store: ")) for line in lines] == [("error", True)] * 2


def test_a_closed_stderr_stops_no_call(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with running("--log-calls", "--admin-port", "0", stderr=writer) as service:
        os.close(writer)
        assert service.send()
        admin = AdminPort(service.admin_url)
        while not admin.value("smscode_log_lines_lost_total"):
            pass
        assert service.send()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=240) == 0


@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-"])
def test_a_service_runs_without_stderr_or_stdin(tmp_path: Path, closed: str) -> None:
    store = tmp_path / "store.db"
    command = [sys.executable, "-m", "toolkit", "serve", "--port", "0", "--json", "--log-calls", "--store"]
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", *command, f"sqlite:///{store}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        service = Running(process, **json.loads(process.stdout.readline()))
        assert service.verify(service.send(), "wrong").code == 50010
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=240) == 0
    assert not [path for path in tmp_path.iterdir() if b"request_id" in path.read_bytes()]


def test_an_unread_stderr_delays_no_call() -> None:
    reader, writer = os.pipe()
    with running("--log-calls", stderr=writer) as service:
        os.close(writer)
        connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=240)
        for _ in range(600):  # of 200 bytes each: more than a pipe holds
            connection.request("GET", "/")
            assert connection.getresponse().read()
        connection.close()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=240) == 0
    os.close(reader)


def test_unread_lines_are_dropped_and_counted() -> None:
    reader, descriptor = os.pipe()
    counters, line = Counters(), b"x" * 1023 + b"\n"
    writer = LineWriter(descriptor, counters)
    for _ in range(BUFFER_BYTES // len(line) + 10):
        writer.write(line)
    assert counters.lost_lines == 10
    os.close(reader)
    writer.close()
    assert counters.lost_lines > 10 + BUFFER_BYTES // len(line) - 65  # all but what the pipe had taken
    os.close(descriptor)


def test_closing_gives_up_on_a_blocked_reader() -> None:
    reader, descriptor = os.pipe()
    writer = LineWriter(descriptor, Counters())
    writer.write(b"x" * 200_000)
    closer = threading.Thread(target=writer.close)
    closer.start()
    closer.join(timeout=CLOSE_TIMEOUT_S + 5)
    assert not closer.is_alive()
    os.close(reader)
    writer.close()  # or its thread would write on, to whatever gets the descriptor's number next
    os.close(descriptor)


def test_lines_of_several_threads_are_neither_torn_nor_lost(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        writer = LineWriter(file.fileno(), Counters())
        lines = [b"%d\n" % n for n in range(4)]
        threads = [threading.Thread(target=lambda it=line: [writer.write(it) for _ in range(2000)]) for line in lines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.close()
    written = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    assert sorted(written) == sorted(lines * 2000)


def test_lines_of_several_processes_on_one_pipe_are_not_mixed() -> None:
    reader, descriptor = os.pipe()
    lines = [b"%d" % n * 150 + b"\n" for n in range(3)]
    writers = [LineWriter(descriptor, Counters()) for _ in lines]  # as workers have them, each in its own process
    for writer, line in zip(writers, lines, strict=True):
        for _ in range(5000):
            writer.write(line)
    with open(reader, "rb") as pipe:
        read = [pipe.readline() for _ in range(15_000)]
    assert Counter(read) == dict.fromkeys(lines, 5000)
    for writer in writers:
        writer.close()
    os.close(descriptor)


def test_an_exception_is_logged_by_type_and_traceback_without_its_text(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        writer = LineWriter(file.fileno(), Counters())
        try:
            int("the-master-secret")
        except ValueError:
            record = logging.LogRecord("name", logging.ERROR, "", 0, f"failed for {MOBILE}", None, sys.exc_info())
        record.fields = {"carrier_code": f"no {MOBILE}", "attempts": 2}
        JsonHandler(writer).emit(record)
        writer.close()
    text = (tmp_path / "log").read_text()
    line = json.loads(text)
    assert (line["exception"], line["message"]) == ("ValueError", "failed for 1391234****")
    assert (line["carrier_code"], line["attempts"]) == ("no 1391234****", 2)
    assert "test_call_log.py" in text
    assert "invalid literal" not in text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (MOBILE, "1391234****"),
        (f"+86{MOBILE}", "+861391234****"),
        (f"86{MOBILE},{MOBILE}", "861391234****,1391234****"),
        ("179380013800012345", "179380013800012345"),
        ("12345678901", "12345678901"),
    ],
)
def test_only_digits_that_can_be_a_mobile_are_masked(text: str, masked: str) -> None:
    assert mask_mobiles(text) == masked
