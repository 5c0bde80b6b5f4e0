from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from toolkit import analysis
from toolkit.api.errors import NotConnectedError, ProtocolError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.load_test.generator.http.call_outcome import read_outcome
from toolkit.load_test.generator.http.response_parser import parse_plain
from toolkit.load_test.generator.results.recorder import Recorder
from toolkit.load_test.generator.steps import Call, Outcome, Send, Verify
from toolkit.records.call_record import CallRecord, RecordBuilder
from toolkit.records.packed import PackedReader

RECORDS = RecordBuilder.of("friday", "worker-3", "key", "the-master-secret")
SENT = ApiResponse(200, ReturnCode.SUCCESS, "success", msg_id="m-1")
MOBILE = "13800138000"


def test_a_worker_puts_its_part_where_a_url_says(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/far/friday"
    for worker in ("0", "1"):
        recorder = Recorder(url, worker, RECORDS, 1)
        recorder.append([(Verify("m-1", "123456"), Outcome(Endpoint.VERIFY, 10**18 + int(worker), 5, SENT))])
        recorder.close()
    assert sorted(path.name for path in (tmp_path / "far/friday").iterdir()) == ["calls-0.parquet", "calls-1.parquet"]
    assert len(analysis.read(tmp_path / "far/friday").to_pandas()) == 2


def test_a_file_that_cannot_be_uploaded_stays_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    recorder = Recorder("nosuch://place", "0", RECORDS, 1)
    recorder.append([(Verify("m-1", "123456"), Outcome(Endpoint.VERIFY, 10**18, 5, SENT))])
    recorder.close()
    (folder,) = tmp_path.iterdir()
    assert (len(analysis.read(folder).to_pandas()), str(folder) in caplog.text) == (1, True)


def recorded(folder: Path, call: Call, outcome: Outcome) -> CallRecord:
    recorder = Recorder(str(folder), "3", RECORDS, 7)
    recorder.append([(call, outcome)])
    recorder.close()
    with (folder / "calls-3.msgpack").open("rb") as file:
        (record,) = PackedReader(file)
    return record


@pytest.mark.parametrize("temp_id", [None, 7])
@pytest.mark.parametrize("mobile", [MOBILE, f"+86{MOBILE}", "19900050014", "12", "abcdefghijk", "\ud800"])
def test_a_load_test_records_calls_as_a_client_does(tmp_path: Path, mobile: str, temp_id: int | None) -> None:
    call, outcome = Send(mobile, temp_id), Outcome(Endpoint.SEND, 10**18, 5, SENT, wait_ns=3)
    expected = RECORDS.build(Endpoint.SEND, 10**18, 5, response=SENT, wait_ns=3, mobile=mobile, temp_id=7)
    assert recorded(tmp_path, call, outcome) == expected


@pytest.mark.parametrize("call", [Send(MOBILE), Verify("m-1", "123456")])
def test_a_success_with_another_status_than_200_is_no_success(tmp_path: Path, call: Call) -> None:
    body = b'{"msg_id":"m-1","is_valid":true}'
    head = b"HTTP/1.1 %d Created\r\nContent-Length: %d\r\n\r\n"
    for status, error in ((200, None), (201, "protocol")):
        received = parse_plain(head % (status, len(body)) + body)
        assert received is not None
        record = recorded(tmp_path / str(status), call, read_outcome(call, received, 10**18, 5))
        assert (record.http_status, record.error, record.return_code is None) == (status, error, bool(error))


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
    call = Verify("m-1", "123456")
    expected = RECORDS.build(Endpoint.VERIFY, 10**18, 5, msg_id="m-1", **said)
    assert recorded(tmp_path, call, Outcome(Endpoint.VERIFY, 10**18, 5, error=error)) == expected


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (ApiResponse(403, 59026, "wrong msg_id", is_valid=False), Kind.VERDICT, "wrong msg_id"),
        (ApiResponse(403, ReturnCode.INVALID_BODY, "invalid body", is_valid=False), Kind.VERDICT, None),
        (ApiResponse(403, 50036, "app in black"), Kind.ACCOUNT, "app in black"),
        (ApiResponse(503, ReturnCode.OUT_OF_FREQ, "out of freq"), Kind.SERVER, None),
    ],
)
def test_the_final_records_have_the_kind_that_was_counted_live(
    tmp_path: Path, answer: ApiResponse, kind: Kind, message: str | None
) -> None:
    record = recorded(tmp_path, Verify("m-1", "123456"), Outcome(Endpoint.VERIFY, 10**18, 5, answer))
    assert (answer.kind, record.kind, record.message) == (kind, kind, message)
    assert record == RECORDS.build(Endpoint.VERIFY, 10**18, 5, response=answer, msg_id="m-1")
    found = analysis.return_codes(analysis.read(tmp_path))
    assert found["kind"].tolist() == [kind.value]
    assert message is None or found["message"].tolist() == [message]


@pytest.mark.parametrize("strange", [Send(MOBILE, 10**30), Send("\ud800", 10**30)])
def test_a_call_with_values_that_cannot_be_packed_is_recorded(tmp_path: Path, strange: Call) -> None:
    answer = ApiResponse(200, ReturnCode.SUCCESS, "success", msg_id="\ud800")
    record = recorded(tmp_path, strange, Outcome(Endpoint.SEND, 10**18, 5, answer))
    assert (record.temp_id, set(record.msg_id or "")) == (None, {"\ufffd"})
