from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.codes import ReturnCode
from toolkit.errors import NotConnectedError, ProtocolError
from toolkit.load.recorder import Recorder
from toolkit.load.steps import Call, Outcome
from toolkit.records import PackedReader, Scribe
from toolkit.wire import Answer, Endpoint

SCRIBE = Scribe.of("friday", "worker-3", "key", "the-master-secret")
SENT = Answer(200, ReturnCode.SUCCESS, "success", msg_id="m-1")
MOBILE = "13800138000"


def recorded(folder: Path, call: Call, outcome: Outcome) -> object:
    recorder = Recorder(folder, "3", SCRIBE)
    recorder.append(call, outcome)
    recorder.flush()
    with (folder / "calls-3.msgpack").open("rb") as file:
        (record,) = PackedReader(file)
    return record


@pytest.mark.parametrize("mobile", [MOBILE, f"+86{MOBILE}", "19900050014", "12", "abcdefghijk", "\ud800"])
def test_what_a_load_test_records_is_what_a_client_would(tmp_path: Path, mobile: str) -> None:
    call, outcome = Call(Endpoint.SEND, b"", (), mobile, 7), Outcome(Endpoint.SEND, 10**18, 5, SENT, wait_ns=3)
    expected = SCRIBE.record(Endpoint.SEND, 10**18, 5, answer=SENT, wait_ns=3, mobile=mobile, temp_id=7)
    assert recorded(tmp_path, call, outcome) == expected


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ProtocolError("a proxy's page", 502, b""), {"http_status": 502, "error": "protocol"}),
        (NotConnectedError("nobody there"), {"error": "connect"}),
    ],
)
def test_a_call_without_an_answer_is_recorded_with_its_error(
    tmp_path: Path, error: ProtocolError | NotConnectedError, said: dict[str, object]
) -> None:
    call = Call(Endpoint.VERIFY, b"", (), msg_id="m-1")
    expected = SCRIBE.record(Endpoint.VERIFY, 10**18, 5, msg_id="m-1", **said)
    assert recorded(tmp_path, call, Outcome(Endpoint.VERIFY, 10**18, 5, error=error)) == expected


@pytest.mark.parametrize(
    "strange", [Call(Endpoint.SEND, b"", (), MOBILE, 10**30), Call(Endpoint.SEND, b"", (), "\ud800")]
)
def test_what_cannot_be_packed_keeps_no_call_from_its_record(tmp_path: Path, strange: Call) -> None:
    answer = Answer(200, ReturnCode.SUCCESS, "success", msg_id="\ud800")
    record = recorded(tmp_path, strange, Outcome(Endpoint.SEND, 10**18, 5, answer))
    assert (record.temp_id, record.msg_id) == (None, "?")  # type: ignore[attr-defined]
