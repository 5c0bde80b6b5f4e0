"""Logs and other text as calls; what real programs wrote is read in test_real_logs."""

import bz2
import csv
import gzip
import json
import lzma
import os
import threading
from dataclasses import asdict

import pandas as pd
import pyarrow as pa
import pytest

from toolkit import analysis
from toolkit.analysis.source_record import unread_ratio
from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import CallRecord, RecordBuilder, hash64

MSG_ID = "288193860302000000000001"  # looks like a number, and isn't
COMBINED = (
    '127.0.0.1 - app-1 [06/Nov/2026:12:00:01 +0000] "POST /v1/codes HTTP/1.1" 403 71 "-" "curl/7.88"'
    ' "{\\x22mobile\\x22:\\x2213800138000\\x22,\\x22temp_id\\x22:1}" 0.250'
)
LOG_FORMAT = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
    ' "$request_body" $request_time'
)


@pytest.fixture
def write(tmp_path):
    def write(name, *lines, open_=open):
        path = tmp_path / name
        with open_(path, "wt", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        return path

    return write


@pytest.fixture
def row(call):
    """Return a record as a line of JSON."""

    def row(**changes):
        return json.dumps(asdict(call(**changes)))

    return row


def _only(calls):
    (row,) = calls.to_pandas().astype(object).where(lambda frame: frame.notna(), None).to_dict("records")
    return row


# Call records.


def test_records_as_json_lines_come_back_as_they_were(call, row, write):
    records = [
        call(msg_id=MSG_ID, msg_key=hash64(MSG_ID), mobile_key=-(2**63) + 1, prefix="1380013", temp_id=1, segments=2),
        call(Endpoint.VERIFY, 50010, wait_ns=7),
        call(error="timeout", app_key="app-1"),
        call(code=59031),
    ]
    path = write("calls.jsonl", *(json.dumps(asdict(record)) for record in records))
    pd.testing.assert_frame_equal(analysis.read(path).to_pandas(), analysis.from_records(records))


def test_records_as_csv_come_back_as_they_were(call, tmp_path):
    records = [call(msg_id=MSG_ID, msg_key=hash64(MSG_ID)), call(Endpoint.VERIFY, 50010), call(error="reset")]
    with (tmp_path / "calls.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(CallRecord.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(record) for record in records)
    pd.testing.assert_frame_equal(analysis.read(tmp_path).to_pandas(), analysis.from_records(records))


def test_a_frame_that_pandas_wrote_is_read(call, tmp_path):
    frame = analysis.from_records([call(msg_id=MSG_ID, code=50014), call(error="timeout")])
    frame.to_csv(tmp_path / "calls.csv", index=False)
    read = analysis.read(tmp_path / "calls.csv").to_pandas()
    assert read["return_code"].tolist()[0] == 50014
    assert read["msg_id"].tolist()[0] == MSG_ID


def _zstd_open(path, mode, encoding):
    import io

    return io.TextIOWrapper(pa.CompressedOutputStream(str(path), "zstd"), encoding=encoding)


@pytest.mark.parametrize(
    ("suffix", "open_"),
    [("", open), (".gz", gzip.open), (".bz2", bz2.open), (".xz", lzma.open), (".zst", _zstd_open)],
)
def test_text_may_be_compressed(suffix, open_, row, write):
    assert len(analysis.read(write(f"calls.jsonl{suffix}", row(), row(), open_=open_)).to_pandas()) == 2


def test_several_sources_are_one_table(row, write, tmp_path):
    write("a.jsonl", row(run="a"))
    write("b.csv", "started_ns,endpoint,latency_ns,run", "1,send,1,b")
    write("c.jsonl", row(run="c"))
    for sources in ((tmp_path,), (tmp_path / "a.jsonl", str(tmp_path / "[bc].*")), (str(tmp_path / "*"),)):
        assert sorted(analysis.read(*sources).to_pandas()["run"]) == ["a", "b", "c"]


def test_a_file_that_two_sources_name_is_read_once(row, write):
    path = write("a.jsonl", row())
    assert len(analysis.read(path, str(path)).to_pandas()) == 1


# What can't be read.


def test_unreadable_rows_are_counted_and_quoted(row, write):
    path = write(
        "calls.jsonl", row(), "{", row(endpoint="resend"), row(latency_ns=-1), "{]", row(started_ns=None), row()
    )
    calls = analysis.read(path)
    assert len(calls.to_pandas()) == 2
    found = {reason: (rows, lines) for _, reason, rows, lines, _ in calls.unread.itertuples(index=False)}
    assert found == {
        "not a JSON object": (2, "2, 5"),
        "unknown endpoint (expected send, verify)": (1, "3"),
        "invalid latency_ns: expected a number of ns": (1, "4"),
        "no time: expected started, ended, or one of them in seconds as started_s, ended_s": (1, "6"),
    }
    assert calls.unread["text"].tolist()[0] == "{"
    assert calls.unread["rows"].sum() == 5


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("return_code", "many", "invalid return_code: expected a whole number"),
        ("return_code", 1e300, "invalid return_code: expected a whole number"),
        ("http_status", 200.5, "invalid http_status: expected a whole number"),
        ("mobile_key", 2**63, "invalid mobile_key: expected a whole number"),
        ("latency_ns", -1, "invalid latency_ns: expected a number of ns"),
        ("latency_ns", "NaN", "invalid latency_ns: expected a number of ns"),
        ("latency_ns", 2**60, "invalid latency_ns: expected a number of ns"),
        ("started_ns", 2**63 - 2**61, "invalid started_ns: expected a number of ns"),
        ("started_ns", "Infinity", "invalid started_ns: expected a number of ns"),
        ("wait_ns", "long", "invalid wait_ns: expected a number of ns"),
    ],
)
def test_an_invalid_value_is_named(field, value, reason, row, write):
    calls = analysis.read(write("calls.jsonl", row(), json.dumps(json.loads(row()) | {field: value})))
    assert calls.unread["reason"].tolist() == [reason]


def test_a_row_of_csv_with_too_few_fields_is_unread(write):
    calls = analysis.read(write("a.csv", "started_ns,endpoint,latency_ns", "1,send,1", "1,send", "2,verify,1"))
    assert calls.unread[["reason", "lines"]].values.tolist() == [["not 3 values, as in the header", "3"]]


def test_quoted_text_is_masked_and_cut(row, write):
    secret = '{"mobile": "13800138000", "code": "123456", "x": "' + "y" * 500
    calls = analysis.read(write("calls.jsonl", row(), secret))
    text = calls.unread["text"].tolist()[0]
    assert text.startswith('{"mobile": "1380013****", "code": "***"')
    assert len(text) < 200


@pytest.mark.parametrize(
    ("name", "lines", "said"),
    [
        ("a.jsonl", ["{", "json"], "line 1: not a JSON object; write each JSON object on a line, e.g. with jq -c"),
        ("a.json", ["[{", "}]"], "line 1: not in the log's format; write each JSON object on a line"),
        (
            "a.log",
            ["GET / 200"],
            "holds no calls: line 1: not in the log's format; for a log, give columns or log_format",
        ),
        ("a.csv", ["name,amount", "x,1"], "line 2: no endpoint: expected endpoint, request or path"),
    ],
)
def test_a_file_without_any_call_is_an_input_error(name, lines, said, write):
    with pytest.raises(InputError, match=said):
        analysis.read(write(name, *lines))


def test_a_file_without_any_call_names_the_columns_that_it_lacks(write):
    path = write("a.csv", "time;url;status", "2026-11-23T09:00:00Z;/v1/codes;200")
    with pytest.raises(
        InputError, match=r"no line has the column 'time' for started; .*'url' for path; for a log, give"
    ):
        analysis.read(path, columns={"started": "time", "path": "url"})


def test_a_damaged_archive_is_an_input_error(row, write):
    path = write("calls.jsonl.gz", *[row() for _ in range(1000)], open_=gzip.open)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"calls\.jsonl\.gz can't be read, or is damaged"):
        analysis.read(path)


@pytest.mark.parametrize(
    ("suffix", "open_"), [(".gz", gzip.open), (".bz2", bz2.open), (".xz", lzma.open), (".zst", _zstd_open)]
)
def test_a_member_whose_first_bytes_are_damaged_is_an_input_error(suffix, open_, row, write):
    path = write(f"calls.jsonl{suffix}", row(), open_=open_)
    member = path.read_bytes()
    path.write_bytes(member + b"damaged" + member[7:])
    with pytest.raises(InputError, match="can't be read, or is damaged"):
        analysis.read(path)


@pytest.mark.parametrize(
    ("suffix", "open_"), [(".gz", gzip.open), (".bz2", bz2.open), (".xz", lzma.open), (".zst", _zstd_open)]
)
def test_members_are_read_one_after_the_other(suffix, open_, row, write):
    path = write(f"calls.jsonl{suffix}", row(started_ns=1), open_=open_)
    other = write(f"other{suffix}", row(started_ns=2), open_=open_)
    path.write_bytes(path.read_bytes() + other.read_bytes())
    assert len(analysis.read(path)) == 2


def test_a_pipe_is_read_once_and_whole(row, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(f"{row(started_ns=1)}\n{row()}\n",))
    writer.start()
    assert len(analysis.read(tmp_path / "pipe")) == 2
    writer.join()


def test_a_link_to_nothing_does_not_exist(tmp_path):
    (tmp_path / "a.log").symlink_to(tmp_path / "b.log")
    (tmp_path / "b.log").symlink_to(tmp_path / "a.log")
    for source in ("a.log", "*.log"):
        with pytest.raises(InputError, match=r"a\.log doesn't exist"):
            analysis.read(tmp_path / source)


def test_a_file_that_is_cut_while_it_is_read_is_an_input_error(tmp_path):
    path = tmp_path / "access.log"
    path.write_bytes((b"x" * 1023 + b"\n") * 9000)

    def cut(*_):
        path.write_bytes(b"")

    with pytest.raises(InputError, match=r"it was cut from 9,216,000 to 8,388,608 bytes while it was read"):
        analysis.read(path, on_progress=cut)


def test_a_column_that_a_header_names_twice_is_an_input_error(write):
    path = write("a.csv", "started_ns,endpoint,return_code,return_code", "1,send,50000,50009")
    with pytest.raises(InputError, match=r"a\.csv has the column 'return_code' twice: rename one"):
        analysis.read(path)


def test_a_given_column_or_format_that_no_line_has_is_named(write, row):
    columns = {"return_code": "nosuch", "latency_ns": "latency_ns", "msg_id": ("x", "msg_id")}
    (source,) = analysis.read(write("a.jsonl", row()), columns=columns, log_format=LOG_FORMAT).sources
    assert source.unused == ("no line has the column 'nosuch' for return_code", "no line is in the log format")
    (source,) = analysis.read(write("access.log", COMBINED), log_format=LOG_FORMAT).sources
    assert source.unused == ()


def test_calls_before_the_year_2000_are_counted(write, row):
    line = json.dumps({"started_ms": 1793966400, "endpoint": "send"})  # seconds
    (source,) = analysis.read(write("a.jsonl", row(), line)).sources
    assert (source.calls, source.early) == (2, 1)


def test_an_empty_file_holds_no_calls_and_is_no_error(write, row):
    assert analysis.read(write("calls.jsonl")).to_pandas().empty


def test_no_sources_are_an_input_error():
    with pytest.raises(InputError, match="nothing to read: give the folder of a run"):
        analysis.read()


# Access logs.


def test_an_access_log_with_the_body_has_mobile_and_template(write):
    row = _only(analysis.read(write("access.log", COMBINED), log_format=LOG_FORMAT, master_secret="s3cret"))
    key, prefix = RecordBuilder.of("", "", "", "s3cret").digest("13800138000")
    assert row["mobile_key"] == int.from_bytes(key, "big", signed=True)
    assert (row["prefix"], row["temp_id"], row["app_key"]) == (prefix, 1, "app-1")
    assert (row["endpoint"], row["http_status"], row["return_code"]) == ("send", 403, None)
    assert row["latency_ns"] == 250_000_000
    assert row["started"].isoformat() == "2026-11-06T12:00:00.750000+00:00"  # the log says when it was answered


def test_a_403_without_a_body_has_no_return_code_and_a_200_is_a_success(write):
    lines = [COMBINED, COMBINED.replace(" 403 ", " 200 ")]
    table = analysis.return_codes(analysis.read(write("access.log", *lines), log_format=LOG_FORMAT))
    assert table["http_status"].tolist() == [200, 403]
    assert [None if pd.isna(code) else code for code in table["return_code"]] == [50000, None]


def test_other_requests_are_counted_and_are_not_unread(write):
    other = COMBINED.replace("POST /v1/codes", "GET /health")
    calls = analysis.read(write("access.log", COMBINED, other, "scrambled"), log_format=LOG_FORMAT)
    assert calls.unread[["reason", "rows"]].values.tolist() == [["not in the log's format", 1]]
    assert calls.sources[0].others == {"another request": 1}
    assert unread_ratio(calls.sources) == 1 / 3


@pytest.mark.parametrize("log_format", ["", "no variables", "$status $status"])
def test_an_invalid_log_format_is_an_input_error(log_format, write):
    with pytest.raises(InputError, match=r"copy it from nginx\.conf"):
        analysis.read(write("access.log", COMBINED), log_format=log_format)


@pytest.mark.parametrize("took", ["latency_ms", "latency_s"])
def test_columns_named_as_fields_need_no_map(took, write):
    text = f"started,endpoint,{took},return_code\n2026-11-06T12:00:00Z,send,2,50009\n"
    (call,) = analysis.read(write("mine.csv", text)).to_pandas().to_dict("records")
    assert call["started"] == pd.Timestamp("2026-11-06T12:00Z")
    assert (call["endpoint"], call["return_code"]) == ("send", 50009)
    assert call["latency_ns"] == {"latency_ms": 2_000_000, "latency_s": 2_000_000_000}[took]


def test_a_log_of_json_may_begin_with_plain_text(write):
    line = '{"time":"2026-11-06T12:00:00Z","endpoint":"send","http_status":200,"return_code":50000,"latency_ms":3.5}'
    calls = analysis.read(write("service.log", f"The SMS code API answers at http://127.0.0.1:8018\n{line}\n"))
    assert calls.to_pandas()["return_code"].tolist() == [50000]
    assert calls.unread["rows"].tolist() == [1]


def test_an_access_log_in_json_is_read_with_a_column_map(write):
    line = {
        "ts": 1793966400.5,
        "uri": f"/v1/codes/{MSG_ID}/valid",
        "st": "403",
        "rt": "0.010",
        "answer": '{"is_valid":false,"error":{"code":50010,"message":"invalid code"}}',
        "vhost": "edge-1",
    }
    columns = {"started_s": "ts", "http_status": "st", "latency_s": "rt", "source": "vhost", "answer": "answer"}
    row = _only(analysis.read(write("access.log", json.dumps(line)), columns=columns))
    assert (row["endpoint"], row["msg_id"], row["msg_key"]) == ("verify", MSG_ID, hash64(MSG_ID))
    assert (row["return_code"], row["kind"], row["source"]) == (50010, "VERDICT", "edge-1")
    assert row["started_ns"] == 1_793_966_400_500_000_000


def test_an_unknown_field_in_a_column_map_is_refused_with_the_known_ones(write):
    with pytest.raises(InputError, match=r"unknown field 'duration' in columns \(choose from started, started_ns"):
        analysis.read(write("access.log", "{}"), columns={"duration": "rt"})


def test_a_masked_mobile_has_no_key_and_an_invalid_one_no_prefix(write):
    line = {"ended": "2026-11-06T12:00:00Z", "latency_ms": 1, "endpoint": "send", "time": "2026-11-06T12:00:00Z"}
    path = write("s.jsonl", *(json.dumps(line | {"mobile": it}) for it in ("1380013****", "12345", 13800138000)))
    frame = analysis.read(path).to_pandas()
    assert frame["mobile_key"].isna().tolist() == [True, False, False]
    assert [None if pd.isna(it) else it for it in frame["prefix"]] == ["1380013", None, "1380013"]


def test_a_lone_surrogate_in_a_line_is_replaced(row, write):
    path = write("calls.jsonl", json.dumps(json.loads(row()) | {"msg_id": "a\ud800", "error": "\udfff"}))
    assert analysis.read(path).to_pandas()["msg_id"].tolist() == ["a?"]
