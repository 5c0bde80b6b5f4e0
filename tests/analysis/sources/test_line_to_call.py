"""A request means the same call in every format."""

import json

import pytest

from toolkit import analysis
from toolkit.api.return_codes import ReturnCode

MSG_ID = "06890980-6789-4054-bba9-90fb66ab2fce"
TIME = "01/Nov/2026:16:00:00 +0800"


def as_access_log(method, path, status):
    return f'10.0.0.1 - k1 [{TIME}] "{method} {path} HTTP/1.1" {status} 45 "-" "okhttp/4"'


def as_request_variable(method, path, status):
    return json.dumps({"time_local": TIME, "request": f"{method} {path} HTTP/1.1", "status": status})


def as_method_and_path(method, path, status):
    return json.dumps({"time_local": TIME, "request_method": method, "request_uri": path, "status": status})


def as_load_balancer(method, path, status):
    url = path if path.startswith("http") else f"https://sms.example.org:443{path}"
    return (
        "https 2026-11-01T08:00:00.000000Z app/lb/1 10.0.0.1:2817 10.0.1.1:80 0.000 0.012 0.000"
        f' {status} {status} 34 366 "{method} {url} HTTP/1.1" "okhttp/4" ECDHE TLSv1.2 arn "Root=1-5"'
    )


FORMATS = [as_access_log, as_request_variable, as_method_and_path, as_load_balancer]
OTHER, METHOD = "another request", "a request with another method than POST"
MEANINGS = [
    ("POST", "/v1/codes", 200, ("send", None)),
    ("POST", "/v1/codes?from=app", 200, ("send", None)),
    ("POST", "/sms/api/v1/codes", 200, ("send", None)),
    ("POST", f"/sms/v1/codes/{MSG_ID}/valid", 200, ("verify", MSG_ID)),
    ("POST", "/v1/codes/a%20b/valid", 200, ("verify", "a b")),
    ("POST", f"https://sms.example.org/v1/codes/{MSG_ID}/valid", 200, ("verify", MSG_ID)),
    ("GET", "/v1/codes", 405, METHOD),
    ("GET", f"/v1/codes/{MSG_ID}/valid", 405, METHOD),
    ("GET", "/healthz", 200, OTHER),
    ("POST", "/v1/codes/", 404, OTHER),
    ("POST", "/v1/codesx", 404, OTHER),
    ("POST", "/?next=/v1/codes", 404, OTHER),
]


@pytest.mark.parametrize("line", FORMATS)
@pytest.mark.parametrize(("method", "path", "status", "meaning"), MEANINGS)
def test_a_request_has_one_meaning_in_every_format(line, method, path, status, meaning, tmp_path):
    known = as_access_log("POST", "/v1/codes/known/valid", 200)
    (tmp_path / "x.log").write_text(f"{known}\n{line(method, path, status)}\n")
    calls = analysis.read(tmp_path / "x.log")
    (source,) = calls.sources
    if isinstance(meaning, str):
        assert (source.others, source.calls, source.unread_rows) == ({meaning: 1}, 1, 0)
        return
    found = calls.to_pandas().query("msg_id != 'known' or msg_id.isna()").iloc[-1]
    assert (found["endpoint"], found["msg_id"] if meaning[1] else None) == meaning


def test_the_services_own_log_of_a_get_is_no_send(tmp_path):
    line = {"time": "2026-11-01T08:00:00Z", "endpoint": "send", "latency_ms": 1, "mobile": None, "msg_id": None}
    sent = json.dumps(line | {"http_status": 200, "return_code": 50000, "app_key": "k1"})
    get = json.dumps(line | {"http_status": 405, "return_code": 50018, "app_key": None})  # refused before the login
    (tmp_path / "service.log").write_text(f"{sent}\n{get}\n")
    assert analysis.read(tmp_path / "service.log").sources[0].others == {METHOD: 1}


def test_the_services_own_messages_are_counted_and_failed_deliveries_by_name(tmp_path):
    call = {"time": "2026-11-01T08:00:00Z", "endpoint": "send", "latency_ms": 1, "return_code": 50000}
    message = {"time": "2026-11-01T08:00:00Z", "level": "warning", "logger": "toolkit.service.delivery.retry_loop"}
    lines = [call, *(message | {"message": it} for it in ("delivery failed", "delivery failed", "shutting down"))]
    (tmp_path / "service.log").write_text("".join(json.dumps(it) + "\n" for it in lines))
    (source,) = analysis.read(tmp_path / "service.log").sources
    assert source.others == {"delivery failed": 2, "a message of the service": 1}
    assert source.unread_rows == 0


# Return codes that a log doesn't hold.


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (200, 50000, "OK"),
        (401, 50002, "ACCOUNT"),
        (404, 50016, "REQUEST"),
        (415, 50017, "REQUEST"),
        (500, 50019, "SERVER"),
        (502, None, "SERVER"),
        (503, None, "SERVER"),
        (400, None, None),
        (403, None, None),
    ],
)
def test_a_return_code_is_inferred_only_from_a_status_that_has_one(status, code, kind, tmp_path):
    (tmp_path / "x.log").write_text(as_access_log("POST", "/v1/codes", status) + "\n")
    calls = analysis.read(tmp_path / "x.log")
    row = calls.to_pandas().astype(object).where(lambda it: it.notna(), None).iloc[0]
    assert (row["return_code"], row["kind"], row["error"]) == (code, kind, None)
    assert calls.sources[0].inferred == ({code: 1} if code else {})


def test_a_status_alone_is_a_class_of_its_own(tmp_path):
    lines = [as_access_log("POST", "/v1/codes", status) for status in (200, 403, 403, 502)]
    (tmp_path / "x.log").write_text("\n".join(lines))
    codes = analysis.return_codes(analysis.read(tmp_path / "x.log"))
    unknown = codes[codes["return_code"].isna()]
    assert unknown["message"].tolist() == ["code unknown"] * 2
    assert dict(zip(unknown["http_status"], unknown["calls"], strict=True)) == {403: 2, 502: 1}
    assert unknown["error"].isna().all()


def test_a_logged_return_code_wins_over_the_status(tmp_path):
    line = {"time_local": TIME, "request": "POST /v1/codes HTTP/1.1", "status": 500, "sent_http_x_return_code": "50105"}
    (tmp_path / "x.log").write_text(json.dumps(line))
    calls = analysis.read(tmp_path / "x.log")
    row = calls.to_pandas().iloc[0]
    assert (row["return_code"], row["kind"]) == (50105, "SERVER")
    assert calls.sources[0].inferred == {}


def test_a_column_may_be_a_field_of_an_inner_object_as_in_the_log_of_caddy(tmp_path):
    line = {
        "level": "info",
        "ts": 1795424400.5,
        "msg": "handled request",
        "request": {"method": "POST", "uri": "/v1/codes/a1/valid?x=1", "headers": {"User-Agent": ["curl/8"]}},
        "duration": 0.25,
        "status": 403,
        "rc.main": 50010,
    }
    other = line | {"request": {"method": "GET", "uri": "/healthz"}}
    lines = [json.dumps(line), "{", json.dumps(other)]
    (tmp_path / "access.log").write_text("\n".join(lines))
    columns = {"ended_s": "ts", "latency_s": "duration", "path": "request.uri", "method": "request.method"}
    calls = analysis.read(
        tmp_path / "access.log", columns=columns | {"return_code": "rc.main", "temp_id": "request.x..y"}
    )
    (call,) = calls.to_pandas().itertuples()
    assert (call.endpoint, call.return_code, call.latency_ns) == ("verify", 50010, 250_000_000)
    assert call.started_ns == 1795424400_250_000_000
    assert (calls.sources[0].others, calls.sources[0].unread_rows) == ({"another request": 1}, 1)
    assert {"path", "method", "return_code"} <= calls.sources[0].fields


def test_each_status_with_one_code_is_known():
    statuses = [row.http_status for row in ReturnCode]
    assert {status for status in statuses if statuses.count(status) == 1} == {200, 401, 404, 405, 415, 500}
