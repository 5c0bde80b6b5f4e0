from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit import analysis
from toolkit.analysis import Calls, native_ops
from toolkit.analysis.calls_table import lazy
from toolkit.api.errors import InputError
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.records.call_record import RecordBuilder
from toolkit.records.packed import PackedWriter
from toolkit.records.parquet import PARQUET_NAME, pack_to_parquet, write_parquet

BIG, SMALL = 2**63 - 1, -(2**63) + 1  # neighbours of what a float would make of them


@pytest.fixture
def pack(tmp_path):
    def pack(records, name="worker-0"):
        writer = PackedWriter(tmp_path / f"{name}.msgpack")
        for record in records:
            writer.append(record)
        writer.close()

    return pack


def test_a_run_of_an_earlier_version_without_messages_is_read_beside_others(call, tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        write_parquet([call(code=59031, message="app in grey")], tmp_path / name / PARQUET_NAME)
    old = tmp_path / "old" / PARQUET_NAME
    pq.write_table(pq.read_table(old).drop_columns("message"), old)
    assert analysis.read(tmp_path / "old").to_pandas()["message"].isna().all()
    found = analysis.return_codes(analysis.read(tmp_path / "old", tmp_path / "new"))
    assert (found["message"].tolist(), found["calls"].tolist()) == (["app in grey"], [2])


def test_a_run_folder_and_its_parquet_file_give_the_same_calls(call, tmp_path):
    write_parquet([call(), call(code=50009), call(error="timeout")], tmp_path / PARQUET_NAME)
    folder, file = analysis.read(tmp_path), analysis.read(str(tmp_path / PARQUET_NAME))
    pd.testing.assert_frame_equal(folder.to_pandas(), file.to_pandas())


def test_a_killed_run_is_read_from_its_packed_file(call, pack, tmp_path):
    pack([call(), call(code=50009)], "worker-0")
    pack([call(error="timeout")], "worker-1")
    assert analysis.read(tmp_path).to_pandas()["error"].tolist()[2:] == ["timeout"]
    assert len(analysis.read(tmp_path).to_pandas()) == 3


def test_a_truncated_last_row_of_a_killed_run_is_ignored(call, pack, tmp_path):
    pack([call(), call(msg_id="m" * 40)])
    packed = tmp_path / "worker-0.msgpack"
    packed.write_bytes(packed.read_bytes()[:-20])
    assert len(analysis.read(tmp_path).to_pandas()) == 1


def test_packed_and_parquet_files_are_read_together(call, pack, tmp_path):
    write_parquet([call(started_ns=1)], tmp_path / PARQUET_NAME)
    pack([call(started_ns=2)])
    assert sorted(analysis.read(tmp_path).to_pandas()["started_ns"]) == [1, 2]


def test_a_run_killed_before_its_packed_files_were_removed_has_no_duplicate_rows(call, pack, tmp_path):
    pack([call(started_ns=i, mobile_key=i) for i in range(10)])
    packed = (tmp_path / "worker-0.msgpack").read_bytes()
    pack_to_parquet(tmp_path)
    (tmp_path / "worker-0.msgpack").write_bytes(packed)
    assert sorted(analysis.read(tmp_path).to_pandas()["started_ns"]) == list(range(10))


def test_dtypes_are_as_documented_and_no_column_is_object(call):
    for records in ([], [call(), call(error="reset", http_status=502)]):
        frame = analysis.from_records(records)
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
            "started_ns": "int64",
            "run": "category",
            "source": "category",
            "endpoint": "category",
            "http_status": "Int16",
            "return_code": "Int64",
            "kind": "category",
            "latency_ns": "int64",
            "wait_ns": "int64",
            "mobile_key": "Int64",
            "prefix": "category",
            "temp_id": "Int64",
            "msg_id": "string",
            "msg_key": "Int64",
            "app_key": "category",
            "segments": "Int16",
            "error": "category",
            "request_id": "string",
            "message": "string",
            "trace_id": "string",
            "started": "datetime64[ns, UTC]",
        }


def test_a_64_bit_key_is_exact_in_a_column_with_nulls(call, tmp_path):
    records = [call(mobile_key=BIG, msg_key=SMALL), call(), call(mobile_key=BIG - 1)]
    write_parquet(records, tmp_path / PARQUET_NAME)
    read = analysis.read(tmp_path).to_pandas()
    assert read["mobile_key"].dropna().tolist() == [BIG, BIG - 1]
    assert read["msg_key"].dropna().tolist() == [SMALL]


def test_started_is_utc_to_the_nanosecond(call):
    frame = analysis.from_records([call(started_ns=1_793_966_400_123_456_789)])
    assert frame["started"][0].isoformat() == "2026-11-06T12:00:00.123456789+00:00"


def test_endpoints_and_kinds_are_complete_and_in_the_apis_order(call):
    frame = analysis.from_records([call(Endpoint.VERIFY, 50010)])
    assert list(frame["endpoint"].cat.categories) == ["send", "verify"]
    assert list(frame["kind"].cat.categories) == ["OK", "REQUEST", "ACCOUNT", "RATE", "VERDICT", "SERVER"]


def test_what_a_scribe_wrote_is_read(tmp_path):
    answer = ApiResponse(200, 50000, "success", msg_id="06890980-6789-4054-bba9-90fb66ab2fce")
    record = RecordBuilder.of("r", "w", "app", "s3cret").build(
        Endpoint.SEND, 1, 2, response=answer, mobile="13800138000", temp_id="1"
    )
    write_parquet([record], tmp_path / PARQUET_NAME)
    row = analysis.read(tmp_path).to_pandas().iloc[0]
    assert (row["prefix"], row["temp_id"], row["msg_id"]) == ("1380013", 1, answer.msg_id)
    assert (row["mobile_key"], row["msg_key"]) == (record.mobile_key, record.msg_key)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_records_come_back_as_they_were(data, runs, tmp_path_factory):
    records = data.draw(runs)
    path = tmp_path_factory.mktemp("run") / PARQUET_NAME
    write_parquet(records, path)
    frame = analysis.read(path).to_pandas()
    for name in ("started_ns", "endpoint", "return_code", "kind", "latency_ns", "wait_ns", "error"):
        assert [None if pd.isna(value) else value for value in frame[name]] == [getattr(r, name) for r in records]


def test_a_file_of_another_tool_with_plain_text_and_wide_integers_is_read(call, tmp_path):
    table = pa.Table.from_pylist([{"started_ns": 1, "endpoint": "verify", "latency_ns": 5, "wait_ns": 0}])
    for name in analysis.from_records([]).columns.drop(["started", *table.column_names]):
        table = table.append_column(name, pa.nulls(1))
    pq.write_table(table, tmp_path / "other.parquet")
    assert analysis.read(tmp_path / "other.parquet").to_pandas()["endpoint"].tolist() == ["verify"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "doesn't exist: give a run folder or a Parquet file"),
        (lambda path: path.mkdir(), r"holds neither calls.parquet nor \*.msgpack"),
        (lambda path: path.write_bytes(b"PAR1"), "is not a Parquet file of calls, or is damaged"),
        (lambda path: path.write_bytes(b"\0" * 9), "x is not text; if it is UTF-16, give the encoding"),
        (lambda path: path.write_text("endpoint,calls\nsend,1\n"), "holds no calls: line 1: not in the log's format"),
        (lambda path: pq.write_table(pa.table({"run": ["r"]}), path), "it lacks started_ns, endpoint, latency_ns"),
    ],
)
def test_an_unreadable_source_is_named_with_advice(make, said, tmp_path):
    path = tmp_path / "x"
    make(path)
    with pytest.raises(InputError, match=said):
        analysis.read(path).to_pandas()


def test_a_truncated_parquet_file_is_an_input_error(call, tmp_path):
    path = tmp_path / PARQUET_NAME
    write_parquet([call(started_ns=i) for i in range(1000)], path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="damaged"):
        analysis.read(path).to_pandas()


@pytest.mark.parametrize("content", [b"no msgpack at all", b"\x93\x01\x02\x03", b"\xc1"])
def test_a_packed_file_of_other_data_is_an_input_error(content, tmp_path):
    (tmp_path / "worker-0.msgpack").write_bytes(content)
    with pytest.raises(InputError, match="is not a file of packed calls"):
        analysis.read(tmp_path).to_pandas()


def test_calls_without_a_start_or_of_an_unknown_endpoint_are_an_input_error(call, tmp_path):
    write_parquet([call(started_ns=None)], tmp_path / "a.parquet")
    with pytest.raises(InputError, match="without started_ns"):
        analysis.read(tmp_path / "a.parquet").to_pandas()
    write_parquet([call(endpoint="resend")], tmp_path / "b.parquet")
    with pytest.raises(InputError, match="unknown endpoint 'resend', expected send, verify"):
        analysis.read(tmp_path / "b.parquet").to_pandas()


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("started_ns", 2**63 - 1, "is too large"),
        ("latency_ns", 2**62, "is too large"),
        ("wait_ns", 2**62, "is too large"),
        ("latency_ns", -5, "-5 is negative"),
    ],
)
def test_a_time_beyond_its_limits_is_an_input_error(column, value, said, call, tmp_path):
    write_parquet([call(), call(**{column: value})], tmp_path / "a.parquet")
    with pytest.raises(InputError, match=rf"a\.parquet: invalid column {column} of the frame of calls: .*{said}"):
        analysis.read(tmp_path / "a.parquet")


def test_parquet_of_the_required_columns_answers_every_question(tmp_path):
    columns = {"started_ns": [10**18], "endpoint": ["send"], "latency_ns": [1], "return_code": [50000]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    calls = analysis.read(tmp_path / "a.parquet")
    assert analysis.suspects(calls).empty
    assert analysis.limits(calls).empty


def test_an_empty_run_is_an_empty_frame(tmp_path):
    Path(tmp_path / "worker-0.msgpack").touch()
    assert analysis.read(tmp_path).to_pandas().empty
    write_parquet([], tmp_path / PARQUET_NAME)
    assert analysis.read(tmp_path / PARQUET_NAME).to_pandas().empty


def test_a_run_without_calls_is_read_as_empty_alone_and_with_others(call, tmp_path):
    for name in ("nothing", "something"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "locust.log").write_text("it began\n")
        (tmp_path / name / "run.json").write_text('{"schema": 2}')
    write_parquet([call()], tmp_path / "something" / PARQUET_NAME)
    assert len(analysis.read(tmp_path / "nothing").to_pandas()) == 0
    assert len(analysis.read(str(tmp_path / "*")).to_pandas()) == 1


def test_the_repr_of_calls_has_their_number_and_period(call, tmp_path):
    write_parquet([call(), call()], tmp_path / PARQUET_NAME)
    assert repr(analysis.read(tmp_path / PARQUET_NAME)).startswith("<2 calls from 20")


def test_a_connection_of_its_own_keeps_the_memory_limit_and_leaves_tables_of_the_old_one(call, tmp_path):
    write_parquet([call()], tmp_path / PARQUET_NAME)
    read = analysis.read(tmp_path).table
    asked = "SELECT current_setting('memory_limit'), current_setting('temp_directory')"
    ((own, spilled),) = native_ops.query_same_connection(
        native_ops.with_own_connection(read).to_native(), asked
    ).fetchall()
    ((limit, folder),) = native_ops.query_same_connection(read.to_native(), asked).fetchall()
    assert float(own.split()[0]) == pytest.approx(float(limit.split()[0]), rel=0.1)  # told in two digits
    assert (own.split()[1], spilled) == (limit.split()[1], folder)
    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE mine AS SELECT * FROM '{tmp_path / PARQUET_NAME}'")
    assert len(Calls(native_ops.with_own_connection(lazy(connection.table("mine")))).to_pandas()) == 1


def test_two_threads_query_the_same_calls_on_connections_of_their_own(call, tmp_path):
    write_parquet([call() for _ in range(1000)], tmp_path / PARQUET_NAME)
    calls = analysis.read(tmp_path).where(endpoint="send")
    other = Calls(native_ops.with_own_connection(calls.table), calls.sources)
    assert other.table.to_native() is not calls.table.to_native()

    def ask(it):
        return [int(analysis.return_codes(it)["calls"].sum()) for _ in range(20)]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(ask, [calls, other]))
    assert found == [[1000] * 20] * 2


def test_an_unknown_time_zone_is_an_error_with_a_proposal(call, tmp_path):
    write_parquet([call()], tmp_path / PARQUET_NAME)
    with pytest.raises(InputError, match=r"'Asia/Shangai'.*did you mean Asia/Shanghai"):
        analysis.read(tmp_path, timezone="Asia/Shangai")
