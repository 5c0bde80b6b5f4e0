from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import CallRecord, Failure
from toolkit.records.packed import PackedWriter
from toolkit.runs.progress import ProgressReader

SECOND = 10**9
START = 1_700_000_000 * SECOND
SENT = CallRecord(START, "run", "w", Endpoint.SEND, 200, 50000, None, SECOND // 100)


@pytest.fixture
def writer(tmp_path: Path) -> PackedWriter:
    return PackedWriter(tmp_path / "calls-0.msgpack")


def test_without_records_rate_and_percentile_are_unknown(tmp_path: Path) -> None:
    progress = ProgressReader(tmp_path).read(START)
    assert (progress.elapsed_s, progress.calls, progress.outcomes) == (0, 0, {})
    assert (progress.calls_per_s, progress.p99_ms) == (None, None)


def test_outcomes_add_up_over_files_and_readings(tmp_path: Path, writer: PackedWriter) -> None:
    follower = ProgressReader(tmp_path)
    writer.append(SENT)
    writer.flush()
    assert follower.read().outcomes == {("send", 50000): 1}
    other = PackedWriter(tmp_path / "calls-1.msgpack")
    writer.append(replace(SENT, endpoint=Endpoint.VERIFY))
    other.append(replace(SENT, return_code=None, http_status=None, error="TimeoutError"))
    for each in (writer, other):
        each.close()
    progress = follower.read()
    assert progress.outcomes == {("send", 50000): 1, ("verify", 50000): 1, ("send", "TimeoutError"): 1}
    assert progress.calls == 3
    follower.close()


def test_the_rate_is_that_of_the_last_complete_second(tmp_path: Path, writer: PackedWriter) -> None:
    for n in range(300):  # 100 a second, for three seconds
        writer.append(replace(SENT, started_ns=START + n * SECOND // 100))
    writer.close()
    follower = ProgressReader(tmp_path)
    assert follower.read(START + SECOND).calls_per_s is None, "no second is complete yet"
    assert follower.read(START + 3 * SECOND).calls_per_s == pytest.approx(100, abs=1)
    assert follower.read(START + 4 * SECOND).calls_per_s == pytest.approx(50, abs=10)
    assert follower.read(START + 9 * SECOND).calls_per_s == 0
    follower.close()


def test_time_never_goes_back(tmp_path: Path, writer: PackedWriter) -> None:
    writer.append(SENT)
    writer.close()
    reader = ProgressReader(tmp_path)
    assert reader.read(START + 5 * SECOND).elapsed_s == pytest.approx(5)
    assert reader.read(None).elapsed_s == pytest.approx(5)  # the last call ended long ago
    reader.close()


def test_time_runs_from_the_first_call_and_ends_with_the_last(tmp_path: Path, writer: PackedWriter) -> None:
    writer.append(SENT)
    writer.append(replace(SENT, started_ns=START + 2 * SECOND))
    writer.close()
    follower = ProgressReader(tmp_path)
    assert follower.read(START + 5 * SECOND).elapsed_s == pytest.approx(5)
    follower.close()
    over = ProgressReader(tmp_path)
    assert over.read().elapsed_s == pytest.approx(2.01)
    over.close()


def test_the_99th_percentile_includes_the_wait_before_the_call(tmp_path: Path, writer: PackedWriter) -> None:
    for n in range(1, 101):
        writer.append(replace(SENT, latency_ns=n * 1_000_000, wait_ns=500_000_000))
    writer.close()
    follower = ProgressReader(tmp_path)
    assert follower.read().p99_ms == pytest.approx(599, rel=0.001)
    follower.close()


def test_a_refusal_with_a_status_of_5xx_may_have_been_charged(tmp_path: Path, writer: PackedWriter) -> None:
    for status in (403, 503):
        writer.append(replace(SENT, http_status=status, return_code=int(ReturnCode.OUT_OF_FREQ)))
    writer.close()
    follower = ProgressReader(tmp_path)
    assert follower.read().messages == 1
    follower.close()


def test_messages_are_the_sends_that_may_have_been_charged(tmp_path: Path, writer: PackedWriter) -> None:
    lost = replace(SENT, return_code=None, http_status=None)
    writer.append(SENT)
    writer.append(replace(SENT, endpoint=Endpoint.VERIFY))
    for code in (ReturnCode.OUT_OF_FREQ, ReturnCode.NO_MONEY, ReturnCode.SERVER_ERROR, 59104):
        writer.append(replace(SENT, return_code=code))
    for error in Failure:
        writer.append(replace(lost, error=error))
    writer.close()
    follower = ProgressReader(tmp_path)
    assert follower.read().messages == 1 + 2 + len(Failure) - 1  # accepted, unknown what became of it, not never sent
    follower.close()
