"""Each log format that people have is read; the lines are as the programs write them."""

import gzip
import json

import pandas as pd
import pytest

from toolkit import analysis
from toolkit.analysis.sources.log_formats import alb_format, parse_log_format
from toolkit.api.errors import InputError

MSG_ID = "06890980-6789-4054-bba9-90fb66ab2fce"
AGENT = '"-" "okhttp/4.12.0"'
SEND = f'10.0.0.1 - k1 [01/Nov/2026:16:00:00 +0800] "POST /v1/codes HTTP/1.1" 200 45 {AGENT}'
VERIFY = f'10.0.0.1 - k1 [01/Nov/2026:16:00:09 +0800] "POST /v1/codes/{MSG_ID}/valid HTTP/2.0" 403 71 {AGENT}'
SERVICE = json.dumps(
    {
        "time": "2026-11-01T08:00:00.000+00:00",
        "level": "info",
        "http_status": 403,
        "return_code": 50009,
        "kind": "RATE",
        "request_id": "r0",
        "endpoint": "send",
        "latency_ms": 5.5,
        "app_key": "k1",
        "msg_id": None,
        "mobile": "1380013****",
        "peer": "",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }
)
START = pd.Timestamp("2026-11-01T08:00Z")


@pytest.fixture
def write(tmp_path):
    def write(name, *lines, end="\n", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes("".join(f"{line}{end}" for line in lines).encode(encoding))
        return path

    return write


def rows(calls):
    frame = calls.to_pandas().sort_values("started_ns").astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def test_a_combined_log_has_calls_without_a_latency(write):
    calls = analysis.read(write("access.log", SEND, VERIFY))
    send, verify = rows(calls)
    assert (send["endpoint"], send["http_status"], send["app_key"], send["latency_ns"]) == ("send", 200, "k1", None)
    assert (verify["endpoint"], verify["msg_id"], verify["return_code"]) == ("verify", MSG_ID, None)
    assert send["started"] == START
    assert analysis.latency(calls).empty
    assert analysis.span(calls) == (START, START + pd.Timedelta("9s"))


@pytest.mark.parametrize(
    "question", ["return_codes", "over_time", "errors", "changes", "limits", "suspects", "burn_rates", "compare"]
)
def test_questions_are_answered_for_calls_without_a_latency(question, write):
    calls = analysis.read(write("access.log", SEND, VERIFY))
    getattr(analysis, question)(*[calls] * (1 + (question == "compare")))


def test_a_common_log_is_read(write):
    (call,) = rows(analysis.read(write("access.log", SEND.removesuffix(f" {AGENT}"))))
    assert (call["endpoint"], call["return_code"]) == ("send", 50000)


def test_a_load_balancers_log_is_read_with_the_sum_of_its_times(write):
    line = (
        "https 2026-11-01T08:00:00.012000Z app/lb/1 10.0.0.1:2817 10.0.1.1:80 0.001 0.010 0.001 403 403 34 366"
        ' "POST https://sms.example.org:443/v1/codes?x=1 HTTP/1.1" "okhttp/4" ECDHE TLSv1.2 arn "Root=1-5" "host"'
        ' "-" 0 2026-11-01T08:00:00.000000Z "forward" "-" "-" "10.0.1.1:80" "200" "-" "-"'
    )
    lost = line.replace("0.001 0.010 0.001 403 403", "-1 -1 -1 502 -")
    found = rows(analysis.read(write("alb.log", line, lost)))
    assert [call["latency_ns"] for call in found] == [12_000_000, None]
    assert found[0]["started"] == START
    assert [call["kind"] for call in found] == [None, "SERVER"]


WRAPPED = {
    "docker": json.dumps({"log": SERVICE + "\n", "stream": "stderr", "time": "2026-11-01T08:00:00.123456789Z"}),
    "cri": f"2026-11-01T08:00:00.123456789Z stderr F {SERVICE}",
    "compose": f"sms-1  | {SERVICE}",
    "journald": json.dumps({"MESSAGE": SERVICE, "__REALTIME_TIMESTAMP": "1793520000123456", "_PID": "7"}),
    "plain": SERVICE,
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_a_log_within_another_programs_log_is_unwrapped(wrapped, write):
    (call,) = rows(analysis.read(write("x.log", WRAPPED[wrapped])))
    assert (call["return_code"], call["latency_ns"], call["request_id"]) == (50009, 5_500_000, "r0")
    assert call["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


def test_a_combined_log_within_a_container_log_is_read(write):
    assert len(analysis.read(write("x.log", f"2026-11-01T08:00:00.123456789Z stdout F {SEND}"))) == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "gb18030"])
def test_a_file_is_read_in_its_encoding(encoding, write):
    given = None if encoding in ("utf-8-sig", "utf-16", "utf-32") else encoding  # the others have a byte order mark
    path = write("x.jsonl", SERVICE.replace('"r0"', '"验证码"'), encoding=encoding)
    (call,) = rows(analysis.read(path, encoding=given))
    assert call["request_id"] == "验证码"


def test_a_wrong_encoding_is_an_error_that_names_it(write):
    path = write("x.jsonl", SERVICE.replace('"r0"', '"验证码"'), encoding="gb18030")
    with pytest.raises(InputError, match=r"is not utf-8: .*: give its --encoding, e\.g\. gb18030"):
        analysis.read(path, encoding="utf-8")
    with pytest.raises(InputError, match="unknown --encoding 'klingon': expected a name"):
        analysis.read(path, encoding="klingon")
    with pytest.raises(InputError, match=r"is not utf-16: UTF-16 stream does not start with BOM: .* or utf-16-le"):
        analysis.read(path, encoding="utf-16")
    assert analysis.read(path).sources[0].undecoded == 1  # a caller may send any bytes, so that is no error


def test_utf_16_without_a_mark_or_an_encoding_is_named(write):
    with pytest.raises(InputError, match="is not text; if it is UTF-16, give the encoding"):
        analysis.read(write("x.jsonl", SERVICE, encoding="utf-16-le"))


def test_line_ends_may_be_mixed(tmp_path):
    (tmp_path / "x.log").write_bytes("\r\n".join([SERVICE, SERVICE]).encode() + b"\n" + SERVICE.encode() + b"\r\n\r\n")
    source = analysis.read(tmp_path / "x.log").sources[0]
    assert (source.lines, source.calls) == (3, 3)


def test_nginx_s_escapes_in_json_are_read(write):
    line = SERVICE.replace('"peer": ""', r'"agent": "Dalvik \x22X\x22 \xE4\xBD\xA0"')
    assert len(analysis.read(write("x.log", line))) == 1


def test_times_may_be_microseconds_or_milliseconds_and_of_the_end(write):
    line = {"ts": 1793520000244, "request": "POST /v1/codes HTTP/1.1", "status": "200", "took_us": 2000}
    columns = {"ended_ms": "ts", "latency_us": "took_us"}
    (call,) = rows(analysis.read(write("x.log", json.dumps(line)), columns=columns))
    assert (call["started_ns"], call["latency_ns"]) == (1_793_520_000_242_000_000, 2_000_000)


def test_a_mobile_that_pandas_made_a_float_is_the_same_mobile(write):
    line = {"started": "2026-11-01T08:00:00Z", "latency_ms": 1, "endpoint": "send"}
    path = write("x.jsonl", *(json.dumps(line | {"mobile": it}) for it in (13800138000.0, "13800138000")))
    frame = analysis.read(path).to_pandas()
    assert frame["mobile_key"].nunique() == 1
    assert set(frame["prefix"]) == {"1380013"}


def test_a_column_map_leaves_the_other_columns_as_they_are(write):
    line = json.loads(SERVICE)
    line["ms"] = line.pop("latency_ms")
    (call,) = rows(analysis.read(write("x.log", json.dumps(line)), columns={"latency_ms": "ms"}))
    assert (call["latency_ns"], call["return_code"]) == (5_500_000, 50009)
    assert call["started"] == START - pd.Timedelta("5.5ms")


def test_times_without_a_zone_are_in_the_given_time_zone_and_counted(write):
    path = write("x.csv", "started,endpoint,latency_ms", "2026-11-01T16:00:00,send,1", "2026-11-01T08:00:00Z,send,1")
    calls = analysis.read(path, timezone="Asia/Shanghai")
    assert set(calls.to_pandas()["started"]) == {START}
    assert (calls.sources[0].without_zone, calls.sources[0].timezone) == (1, "Asia/Shanghai")


# Rotated logs, and other files beside them.


def test_a_rotated_log_is_read_whole(write, tmp_path):
    lines = iter([SERVICE.replace("08:00:00", f"08:0{minute}:00") for minute in range(5)])
    for name in ("service.log", "service.log.1", "service.log-20261101"):
        write(name, next(lines))
    for name in ("service.log.2.gz", "service.log-20261031.gz"):
        (tmp_path / name).write_bytes(gzip.compress(next(lines).encode()))
    assert len(analysis.read(tmp_path)) == 5


def test_a_file_without_any_call_is_left_out_and_named(write, tmp_path):
    write("service.log", SERVICE)
    write("error.log", "2026/11/01 08:00:00 [error] 7#7: upstream timed out", "another line")
    (tmp_path / "core.png").write_bytes(b"\x89PNG\0\0")
    calls = analysis.read(tmp_path)
    found = {source.file.rpartition("/")[2]: source for source in calls.sources}
    assert len(calls) == 1
    assert (found["error.log"].calls, found["error.log"].lines) == (0, 2)
    assert found["core.png"].skipped.startswith("is not text")
    assert analysis.source_record.unread_ratio(calls.sources) == 0


def test_a_table_of_csv_is_known_by_its_header(write):
    assert len(analysis.read(write("calls.csv.1", "started,endpoint,latency_ms", "2026-11-01T08:00:00Z,send,1"))) == 1


# Lines that a caller made.

LONG = 65_536
HOSTILE = {
    "quotes": '" ' * (LONG // 2),
    "escaped quotes": r"\" " * (LONG // 3),
    "brackets": " [" * (LONG // 2),
    "dashes": " - " * (LONG // 3),
    "backslashes": "\\" * LONG,
    "escapes": r"\x22" * (LONG // 4),
    "braces": "{" * LONG,
    "nested": '{"a":' * (LONG // 5),
    "letters": "a" * LONG,
}


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.timeout(60)  # a cubic expression would take years
def test_a_line_of_64_kib_of_any_content_is_read_or_counted(hostile, write):
    text = HOSTILE[hostile]
    lines = [SEND.replace("okhttp", text), text, SERVICE.replace("r0", text), "{" + text, f"x | {text}"]
    (source,) = analysis.read(write("access.log", SEND, *lines)).sources
    assert source.calls + source.unread_rows + sum(source.others.values()) == source.lines == 6
    assert all(len(it.text) < 200 for it in source.unread)


def test_the_split_of_a_line_reads_each_character_a_fixed_number_of_times():
    split = parse_log_format('$a "$b" "$c" "$d" $e').split

    class Counted(str):
        searched = 0

        def find(self, text, at=0):
            end = super().find(text, at)
            Counted.searched += (len(self) if end < 0 else end) - at
            return end

    line = Counted('x "' + r"\" " * 10_000 + '" "')
    assert split(line) is None
    assert Counted.searched <= 2 * len(line)


@pytest.mark.parametrize(
    "line", [r'1 "GET /\" x HTTP/1.1" 200', r'1 "GET /\\" 200', '1 "" 200', '1 "a" b" 200', '1 "GET /" 200'][:3]
)
def test_a_quote_behind_a_backslash_is_part_of_the_value(line):
    values = parse_log_format('$a "$request" $status').split(line)
    assert values is not None
    assert values[2] == "200"


@pytest.mark.parametrize("type_", ["http", "https", "h2", "grpcs", "ws", "wss"])
def test_a_line_of_a_load_balancer_is_told_by_its_type(type_: str) -> None:
    line = f'{type_} 2026-11-06T10:00:00Z app 1.2.3.4:5 10.0.0.1:80 0.0 0.1 0.0 200 200 34 366 "POST / HTTP/1.1" "ua" -'
    values = alb_format().split(line)
    assert values is not None
    assert dict(zip(alb_format().names, values, strict=True))["request"] == "POST / HTTP/1.1"
    assert alb_format().split(line.replace(type_, "1.2.3.4", 1)) is None
