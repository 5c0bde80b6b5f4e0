"""Every condition's status, body and headers follow the contract, in every shape that clients send."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from support.service import Got, Running, basic, running, smscode

# The contract's table, spelled out: HTTP status, message, by return code.
TABLE = {
    50000: (200, "success"),
    50001: (400, "missing auth"),
    50002: (401, "auth failed"),
    50003: (400, "missing body"),
    50004: (400, "missing mobile"),
    50005: (400, "missing temp_id"),
    50006: (403, "invalid mobile"),
    50007: (403, "invalid body"),
    50008: (403, "no sms code auth"),
    50009: (403, "out of freq"),
    50010: (403, "invalid code"),
    50011: (403, "expired code"),
    50012: (403, "verified code"),
    50013: (403, "invalid temp_id"),
    50014: (403, "no money"),
    50015: (400, "missing code"),
    50016: (404, "api not found"),
    50017: (415, "media not supported"),
    50018: (405, "request method not support"),
    50019: (500, "server error"),
}


@dataclass
class Stage:
    """A production-like service with apps in every state, and what a condition needs set up."""

    service: Running
    store: Path
    poor: dict[str, str] = field(default_factory=dict)
    unpermitted: dict[str, str] = field(default_factory=dict)
    suspended: dict[str, str] = field(default_factory=dict)
    temp_ids: dict[str, int] = field(default_factory=dict)

    def administer(self, *arguments: str) -> Any:
        done = smscode(*arguments, "--store", f"sqlite:///{self.store}", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def new_app(self, name: str, balance: int) -> tuple[str, dict[str, str]]:
        made = self.administer("app", "create", "--balance", str(balance))
        self.temp_ids[name] = made["temp_id"]
        return made["app_key"], basic(made["app_key"], made["master_secret"])

    def used_up(self) -> str:
        msg_id = self.service.send()
        wrong = "000000" if self.service.peek(msg_id) != "000000" else "111111"
        for _ in range(5):
            assert self.service.verify(msg_id, wrong).code == 50010
        return msg_id

    def verified(self) -> str:
        msg_id = self.service.send()
        assert self.service.verify(msg_id, self.service.peek(msg_id)).code == 50000
        return msg_id


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    store = tmp_path_factory.mktemp("contract") / "store.db"
    with running("--store", f"sqlite:///{store}") as service:
        stage = Stage(service, store)
        _, stage.poor = stage.new_app("poor", 0)
        key, stage.unpermitted = stage.new_app("unpermitted", 9)
        stage.administer("app", "permit", "--revoke", key)
        key, stage.suspended = stage.new_app("suspended", 9)
        stage.administer("app", "suspend", key)
        stage.administer("template", "disable", str(stage.temp_ids["unpermitted"]))
        yield stage


@dataclass(frozen=True)
class Call:
    """One request; ``fields`` become its JSON body unless ``body`` is given."""

    path: str = "/v1/codes"
    method: str = "POST"
    fields: dict[str, Any] | None = None
    body: bytes | None = None
    auth: dict[str, str] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def make(self, service: Running) -> Got:
        body = json.dumps(self.fields).encode() if self.fields is not None else self.body
        return service.call(
            self.method, self.path, body, (service.auth if self.auth is None else self.auth) | self.headers
        )


def sending(stage: Stage, **fields: Any) -> Call:
    """A send to a fresh mobile."""
    return Call(fields={"mobile": next(stage.service.mobiles), "temp_id": stage.service.temp_id} | fields)


def verifying(msg_id: str, **fields: Any) -> Call:
    return Call(path=f"/v1/codes/{msg_id}/valid", fields=fields)


def repeated(stage: Stage) -> Call:
    call = sending(stage)
    assert call.make(stage.service).code == 50000
    return call


UNKNOWN = "06890980-6789-4054-bba9-90fb66ab2fce"
XML = {"Content-Type": "application/xml"}

CONDITIONS: dict[str, tuple[int, Callable[[Stage], Call]]] = {
    "an accepted send": (50000, sending),
    "a right code": (50000, lambda s: verifying(m := s.service.send(), code=s.service.peek(m))),
    "no Authorization": (50001, lambda s: replace(sending(s), auth={})),
    "an empty Authorization": (50001, lambda s: replace(sending(s), auth={"Authorization": ""})),
    "verify without Authorization": (50001, lambda s: replace(verifying(UNKNOWN, code="1"), auth={})),
    "a wrong scheme": (50002, lambda s: replace(sending(s), auth={"Authorization": "Bearer abc"})),
    "undecodable credentials": (50002, lambda s: replace(sending(s), auth={"Authorization": "Basic !!!"})),
    "credentials without a colon": (50002, lambda s: replace(sending(s), auth={"Authorization": "Basic YWJj"})),
    "an unknown key": (50002, lambda s: replace(sending(s), auth=basic("nobody", "x"))),
    "a wrong secret": (50002, lambda s: replace(sending(s), auth=basic(s.service.app_key, "x"))),
    "a suspended app": (50002, lambda s: replace(sending(s), auth=s.suspended)),
    "an empty body": (50003, lambda s: Call(body=b"")),
    "no mobile": (50004, lambda s: Call(fields={"temp_id": 1})),
    "a null mobile": (50004, lambda s: sending(s, mobile=None)),
    "an empty mobile": (50004, lambda s: sending(s, mobile="")),
    "no temp_id": (50005, lambda s: Call(fields={"mobile": "13800138000"})),
    "a null temp_id": (50005, lambda s: sending(s, temp_id=None)),
    "a mobile too short": (50006, lambda s: sending(s, mobile="1380013800")),
    "a landline": (50006, lambda s: sending(s, mobile="12800138000")),
    "full-width digits": (50006, lambda s: sending(s, mobile="１３８００１３８０００")),
    "a boolean mobile": (50006, lambda s: sending(s, mobile=True)),
    "a list for a mobile": (50006, lambda s: sending(s, mobile=["13800138000"])),
    "no JSON": (50007, lambda s: Call(body=b"mobile=13800138000")),
    "a JSON array": (50007, lambda s: Call(body=b"[]")),
    "not UTF-8": (50007, lambda s: Call(body=b'{"mobile":"\xff"}')),
    "UTF-16": (50007, lambda s: Call(body='{"mobile":"13800138000","temp_id":1}'.encode("utf-16"))),
    "over 16 KiB": (50007, lambda s: sending(s, padding="x" * 16384)),
    "nested absurdly deep": (50007, lambda s: Call(body=b'{"a":' * 3000 + b"1" + b"}" * 3000)),
    "no permission": (50008, lambda s: replace(sending(s), auth=s.unpermitted)),
    "a second send within a minute": (50009, repeated),
    "a wrong code": (50010, lambda s: verifying(s.service.send(), code="abc")),
    "a code of no text": (50010, lambda s: verifying(s.service.send(), code=["123456"])),
    "an unknown msg_id": (50010, lambda s: verifying(UNKNOWN, code="123456")),
    "an odd msg_id": (50010, lambda s: verifying("%00%2F..%ff", code="123456")),
    "another app's msg_id": (50010, lambda s: replace(verifying(s.service.send(), code="123456"), auth=s.poor)),
    "another app's verified msg_id": (50010, lambda s: replace(verifying(s.verified(), code="1"), auth=s.poor)),
    "another app's used up msg_id": (50010, lambda s: replace(verifying(s.used_up(), code="1"), auth=s.poor)),
    "five tries used up": (50011, lambda s: verifying(m := s.used_up(), code=s.service.peek(m))),
    "verified already": (50012, lambda s: verifying(m := s.verified(), code=s.service.peek(m))),
    "an unknown template": (50013, lambda s: sending(s, temp_id=99)),
    "a template of no number": (50013, lambda s: sending(s, temp_id="one")),
    "another app's template": (50013, lambda s: sending(s, temp_id=s.temp_ids["poor"])),
    "a disabled template": (50013, lambda s: sending(s, temp_id=s.temp_ids["unpermitted"])),
    "no balance": (50014, lambda s: replace(sending(s, temp_id=s.temp_ids["poor"]), auth=s.poor)),
    "no code": (50015, lambda s: verifying(UNKNOWN)),
    "a null code": (50015, lambda s: verifying(UNKNOWN, code=None)),
    "an empty code": (50015, lambda s: verifying(UNKNOWN, code="")),
    "another path": (50016, lambda s: replace(sending(s), path="/v1/code")),
    "a msg_id that is missing": (50016, lambda s: replace(sending(s), path="/v1/codes//valid")),
    "another media type": (50017, lambda s: replace(sending(s), headers=XML)),
    "another method": (50018, lambda s: Call(method="GET")),
    "another method on verify": (50018, lambda s: Call(path=f"/v1/codes/{UNKNOWN}/valid", method="DELETE")),
    "an unheard-of method": (50018, lambda s: Call(method="FETCH")),
    "a server error": (50019, lambda s: sending(s, mobile="19900050019")),
}

SHAPES: dict[str, dict[str, Any]] = {
    "JSON": {"headers": {"Content-Type": "application/json"}},
    "no Content-Type": {},
    "text/plain": {"headers": {"Content-Type": "text/plain; charset=utf-8"}},
    "curl's form type": {"headers": {"Content-Type": "application/x-www-form-urlencoded"}},
    "a string temp_id": {"fields": {"temp_id": str}},
    "an integer mobile": {"fields": {"mobile": int}},
    "Expect": {"headers": {"Expect": "100-continue"}},
}


def check(got: Got, code: int) -> None:
    """Hold an answer against the contract."""
    status, message = TABLE[code]
    assert (got.code, got.status) == (code, status)
    assert got.headers["content-type"] == "application/json"
    assert int(got.headers["content-length"]) == len(got.body)
    assert got.headers["x-request-id"]
    if code != 50000:
        verdict = {"is_valid": False} if code in (50010, 50011, 50012) else {}
        assert got.json == verdict | {"error": {"code": code, "message": message}}
        assert list(got.json) == [*verdict, "error"]
    assert got.headers.get("allow") == ("POST" if code == 50018 else None)
    assert got.headers.get("www-authenticate", "").startswith("Basic" if code == 50002 else "")
    assert ("www-authenticate" in got.headers) == (code == 50002)
    assert ("retry-after" in got.headers) == (code == 50009)


def test_the_conditions_cover_every_return_code() -> None:
    assert {code for code, _ in CONDITIONS.values()} == set(TABLE)


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_gets_the_response_of_its_return_code(stage: Stage, name: str) -> None:
    code, prepare = CONDITIONS[name]
    check(prepare(stage).make(stage.service), code)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_gets_the_same_response_from_every_kind_of_vendor_client(
    stage: Stage, name: str, shape: str
) -> None:
    code, prepare = CONDITIONS[name]
    call = prepare(stage)
    fields = {
        key: reshape(call.fields[key], how)
        for key, how in SHAPES[shape].get("fields", {}).items()
        if key in (call.fields or {})
    }
    headers = SHAPES[shape].get("headers", {}) | call.headers
    call = replace(call, headers=headers, fields=call.fields and call.fields | fields)
    check(call.make(stage.service), code)


def reshape(value: Any, how: type) -> Any:
    """Say the same in another JSON type, where there is another."""
    return how(value) if isinstance(value, int | str) and str(value).isascii() and str(value).isdecimal() else value


def test_a_sent_code_has_a_msg_id_and_a_right_one_is_valid(stage: Stage) -> None:
    got = sending(stage).make(stage.service)
    assert set(got.json) == {"msg_id"}
    assert len(got.json["msg_id"]) == 36
    assert stage.service.verify(got.json["msg_id"], stage.service.peek(got.json["msg_id"])).json == {"is_valid": True}


def test_the_first_check_that_fails_answers(stage: Stage) -> None:
    """Each request has every fault from one check on; the answers follow the contract's order."""
    nothing: dict[str, str] = {}
    bad = basic("nobody", "x")
    faults = [
        (Call("/v2", "GET", None, b"", nothing, XML), 50016),
        (Call("/v1/codes", "GET", None, b"", nothing, XML), 50018),
        (Call("/v1/codes", "POST", None, b"", nothing, XML), 50001),
        (Call("/v1/codes", "POST", None, b"", bad, XML), 50002),
        (Call("/v1/codes", "POST", None, b"", None, XML), 50017),
        (Call("/v1/codes", "POST", None, b""), 50003),
        (Call("/v1/codes", "POST", None, b"{"), 50007),
        (Call(fields={"mobile": ""}, auth=stage.unpermitted), 50004),
        (Call(fields={"mobile": "1"}, auth=stage.unpermitted), 50005),
        (Call(fields={"mobile": "1", "temp_id": 99}, auth=stage.unpermitted), 50006),
        (Call(fields={"mobile": "13900000000", "temp_id": 99}, auth=stage.unpermitted), 50008),
        (Call(fields={"mobile": "13900000000", "temp_id": 99}, auth=stage.poor), 50013),
    ]
    assert [call.make(stage.service).code for call, _ in faults] == [code for _, code in faults]


def test_the_template_is_checked_before_rate_limits_and_those_before_the_balance(stage: Stage) -> None:
    _, auth = stage.new_app("spent", 1)
    temp_id = stage.temp_ids["spent"]
    call = replace(sending(stage, temp_id=temp_id), auth=auth)
    assert call.make(stage.service).code == 50000
    assert call.fields
    wrong = replace(call, fields=call.fields | {"temp_id": 99})
    other = replace(sending(stage, temp_id=temp_id), auth=auth)
    assert [it.make(stage.service).code for it in (wrong, call, other)] == [50013, 50009, 50014]


def test_verify_follows_its_order_of_checks(start: Callable[..., Running]) -> None:
    """Each verify has every fault from one check on. A code lives three seconds here, as long as the rule's window."""
    service = start("--speed", "100", "--rule", "2/300s", "--failures-per-hour", "4")
    capped, mobile = next(service.mobiles), next(service.mobiles)
    verified, expired = service.send(mobile), service.send(mobile)
    assert service.verify(verified, service.peek(verified)).code == 50000
    for _ in range(2):
        wait_for_window(service, mobile)  # so both are expired

    def ask(msg_id: str, **fields: str) -> int:
        return verifying(msg_id, **fields).make(service).code

    assert ask(verified, code="wrong") == 50012
    assert ask(expired, code="wrong") == 50011
    fresh = service.send(capped)
    assert [ask(fresh, code="wrong") for _ in range(4)] == [50010] * 4
    assert [ask(fresh), ask(fresh, code="wrong"), ask(fresh, code=service.peek(fresh))] == [50015, 50009, 50009]


def wait_for_window(service: Running, mobile: str) -> None:
    """Ask until one more send is within the rules."""
    while service.post("/v1/codes", {"mobile": mobile, "temp_id": service.temp_id}).code == 50009:
        pass


def test_retry_after_is_in_whole_seconds_rounded_up(stage: Stage) -> None:
    assert repeated(stage).make(stage.service).headers["retry-after"] == "60"


def test_every_spelling_of_a_mobile_counts_as_the_same_mobile(stage: Stage) -> None:
    mobile = next(stage.service.mobiles)
    codes = [
        sending(stage, mobile=it).make(stage.service).code
        for it in (mobile, f"+86{mobile}", f"86{mobile}", int(mobile))
    ]
    assert codes == [50000, 50009, 50009, 50009]


def test_failed_tries_of_a_mobile_count_over_all_its_messages(start: Callable[..., Running]) -> None:
    service = start("--rule", "100/60s", "--failures-per-hour", "7")
    mobile = next(service.mobiles)
    first, second = service.send(mobile), service.send(mobile)
    answers = [service.verify(msg_id, "wrong").code for msg_id in [first] * 5 + [second] * 2]
    assert answers == [50010] * 7
    capped = service.verify(second, service.peek(second))
    check(capped, 50009)
    assert capped.headers["retry-after"] == "3600"


def test_strict_media_accepts_json_alone(start: Callable[..., Running]) -> None:
    service = start("--strict-media")
    for type_, code in (("application/json; charset=utf-8", 50000), ("text/plain", 50017)):
        fields = {"mobile": next(service.mobiles), "temp_id": 1}
        assert service.post("/v1/codes", fields, service.auth | {"Content-Type": type_}).code == code
    assert service.post("/v1/codes", fields).code == 50017


def test_a_code_expires_with_its_ttl(start: Callable[..., Running]) -> None:
    service = start("--speed", "1000000")
    msg_id = service.send()
    check(service.verify(msg_id, service.peek(msg_id)), 50011)


def test_the_documents_own_curl_lines_work(sandbox: Running) -> None:
    """Source: SMS Code API v1; only the host, the credentials and the mobile differ, and verify has -u as well."""
    user, mobile = f"{sandbox.app_key}:{sandbox.master_secret}", next(sandbox.mobiles)
    send = ["curl", "--insecure", "-X", "POST", "-v", f"{sandbox.url}/v1/codes", "-H", "Content-Type: application/json"]
    msg_id = curl(*send, "-u", user, "-d", json.dumps({"mobile": mobile, "temp_id": 1}))["msg_id"]
    verify = ["curl", "--insecure", "-X", "POST", "-v", f"{sandbox.url}/v1/codes/{msg_id}/valid", "-u", user, "-d"]
    right = sandbox.peek(msg_id)
    wrong = curl(*verify, json.dumps({"code": "x" + right}))
    assert (wrong["is_valid"], wrong["error"]["code"]) == (False, 50010)
    assert curl(*verify, json.dumps({"code": right})) == {"is_valid": True}


def curl(*command: str) -> Any:
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=240).stdout)


def test_the_vendors_own_client_works_with_only_its_base_url_changed(sandbox: Running) -> None:
    from jsms import Jsms

    client = Jsms(sandbox.app_key, sandbox.master_secret)
    client.BASE_URL = f"{sandbox.url}/v1/"
    with client.session:
        msg_id = client.send_code(next(sandbox.mobiles), "1")["msg_id"]
        right = sandbox.peek(msg_id)
        assert client.verify_code(msg_id, "x" + right)["error"]["code"] == 50010
        assert client.verify_code(msg_id, right) == {"is_valid": True}
        assert client.verify_code(msg_id, right)["error"]["code"] == 50012
