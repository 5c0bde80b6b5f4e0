"""SmsCodeUser in a process of its own: importing it patches the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.api import Api

from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint, ServerResponse

USER = """
import json, sys
import gevent
from locust.argument_parser import get_parser
from locust.env import Environment
from toolkit.load_test.generator.user import SmsCodeUser

class User(SmsCodeUser):
    expected = json.loads(sys.argv[2])

environment = Environment(user_classes=[User], host=sys.argv[1])
environment.parsed_options = get_parser().parse_args([])
environment.create_local_runner()
user = User(environment)
"""

# For each line on stdin, {"call": name, "arguments": [..]}, one call, and on stdout what came of it.
CHILD = """
seen = []
environment.events.request.add_listener(lambda **event: seen.append(event))
for line in sys.stdin:
    do = json.loads(line)
    outcome = getattr(user.sms, do["call"])(*do["arguments"])
    event = seen.pop()
    answer = {"return_code": outcome.return_code, "msg_id": outcome.msg_id, "error": type(outcome.error).__name__}
    print(json.dumps({"answer": answer, "event": event, "more": len(seen)}, default=str), flush=True)
"""

# The tasks that are left by locust's --tags and --exclude-tags.
TAGGED = """
from locust import tag
from locust.user.task import filter_tasks_by_tags
from toolkit.load_test.generator.journeys.people import abandon, thoughtful, verify_right, verify_wrong
from toolkit.load_test.generator.user import list_journeys

def left(tags, exclude):
    class Person(SmsCodeUser):
        tasks = [thoughtful(tag("slow", "right")(verify_right), 1), tag("wrong")(verify_wrong), abandon]

    filter_tasks_by_tags(Person, tags, exclude)
    closed = [task.__name__ for task in Person.tasks]
    assert closed == [journey.__name__ for journey, *_ in list_journeys([Person])]
    return closed

print(json.dumps([left({"right"}, None), left(None, {"slow"}), left({"right", "wrong"}, {"slow"}), left(None, None)]))
"""

# A user that is ended while it waits, after its waking was already due.
ENDED = """
def wait_and_send():
    gevent.sleep(0)
    user.sms.send_code("13800138001")

user.sms.send_code("13800138000")
late = gevent.spawn(wait_and_send)
gevent.sleep(0)
late.kill(block=False)
late.join()
user.sms.send_code("13800138002")
"""

Call = Callable[..., dict[str, Any]]


def child(api: Api, script: str, expected: list[int]) -> dict[str, Any]:
    target = api.target
    settings = {
        "SMSCODE_APP_KEY": target.app_key,
        "SMSCODE_MASTER_SECRET": target.master_secret,
        "SMSCODE_TEMP_ID": str(target.temp_id),
        "SMSCODE_ALLOW_TARGET": "127.0.0.1",
        "SMSCODE_MAX_MESSAGES": "1000",
    }
    command = [sys.executable, "-c", USER + script, target.base_url, json.dumps(expected)]
    return {"args": command, "env": {**os.environ, **settings}, "text": True}


@pytest.fixture
def call(api: Api, request: pytest.FixtureRequest) -> Iterator[Call]:
    """Make one call as a user whose class expects what the test's parameter says, if it has one."""
    pipe = subprocess.PIPE
    with subprocess.Popen(**child(api, CHILD, getattr(request, "param", [])), stdin=pipe, stdout=pipe) as process:

        def make(name: str, *arguments: object) -> dict[str, Any]:
            assert process.stdin
            assert process.stdout
            print(json.dumps({"call": name, "arguments": arguments}), file=process.stdin, flush=True)
            got: dict[str, Any] = json.loads(process.stdout.readline())
            assert got["more"] == 0
            return got

        yield make


def refuse(code: int, message: str) -> ServerResponse:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return ServerResponse(403, ((b"content-length", b"%d" % len(body)),), body)


def test_a_call_is_one_event_in_locusts_statistics(call: Call) -> None:
    event = call("send_code", "13800138000")["event"]
    assert (event["name"], event["request_type"], event["exception"]) == ("send", "POST", None)
    assert event["context"] == {"return_code": 50000}
    assert event["response_length"] == len('{"msg_id":"0"}')
    assert 0 < event["response_time"] < 10_000
    assert isinstance(event["response_time"], float)


def test_a_send_gives_the_msg_id_that_its_code_is_verified_with(call: Call) -> None:
    msg_id = call("send_code", "13800138000")["answer"]["msg_id"]
    assert call("verify_code", msg_id, "000000")["answer"]["return_code"] == ReturnCode.INVALID_CODE
    verified = call("verify_code", msg_id, "123456")
    assert verified["answer"]["return_code"] == ReturnCode.SUCCESS
    assert verified["event"]["name"] == "verify"


def test_the_kind_decides_what_fails_and_a_failure_has_code_and_message(api: Api, call: Call) -> None:
    for code in ReturnCode:
        if code is not ReturnCode.SUCCESS:
            api.refuse = {Endpoint.SEND: (0, code)}
            got = call("send_code", "13800138000")
            assert got["answer"]["return_code"] == got["event"]["context"]["return_code"] == code
            failure = got["event"]["exception"]
            if code.kind is Kind.VERDICT:
                assert failure is None
            else:
                assert f"{code:d} {code.message}" in failure


def test_a_code_that_the_table_does_not_know_is_a_failure_and_stays_data(api: Api, call: Call) -> None:
    api.reply = refuse(59104, "new refusal")
    got = call("send_code", "13800138000")
    assert got["answer"]["return_code"] == 59104
    assert "59104 new refusal" in got["event"]["exception"]


@pytest.mark.parametrize(
    ("call", "failures"), [([], 1), ([50009], 0), (["RATE"], 0), ([50014, "ACCOUNT"], 1)], indirect=["call"]
)
def test_a_refusal_is_no_failure_if_the_user_class_expects_its_code_or_kind(
    api: Api, call: Call, failures: int
) -> None:
    api.refuse = {Endpoint.SEND: (0, ReturnCode.OUT_OF_FREQ)}
    assert (call("send_code", "13800138000")["event"]["exception"] is not None) == failures


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (ServerResponse(0, (), b""), "TransportError"),
        (ServerResponse(502, ((b"content-length", b"4"),), b"<p/>"), "ProtocolError"),
    ],
    ids=["hung up", "a proxy's page"],
)
def test_a_call_without_an_answer_is_an_outcome_and_a_failure(
    api: Api, call: Call, reply: ServerResponse, error: str
) -> None:
    api.reply = reply
    got = call("send_code", "13800138000")
    assert got["answer"] == {"return_code": None, "msg_id": None, "error": error}
    assert got["event"]["exception"]
    api.reply = None
    assert call("send_code", "13800138000")["answer"]["return_code"] == ReturnCode.SUCCESS


def test_a_target_that_is_gone_is_an_outcome_and_a_failure(api: Api, call: Call) -> None:
    api.server_close()
    assert call("send_code", "13800138000")["answer"]["error"] == "NotConnectedError"


def test_a_user_that_was_ended_while_it_waited_sends_nothing_more(api: Api) -> None:
    subprocess.run(**child(api, ENDED, []), timeout=240, check=True)
    assert api.mobiles == ["13800138000", "13800138002"]


def test_tags_choose_among_journeys(api: Api) -> None:
    done = subprocess.run(**child(api, TAGGED, []), timeout=240, check=True, stdout=subprocess.PIPE)
    assert json.loads(done.stdout) == [
        ["verify_right"],
        ["verify_wrong", "abandon"],
        ["verify_wrong"],
        ["verify_right", "verify_wrong", "abandon"],
    ]
