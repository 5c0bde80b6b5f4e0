"""Make one call by hand, and collect its record, its problem and the equivalent curl command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from toolkit.api.basic_auth import Credentials
from toolkit.api.errors import CallError, InputError, ReturnCodeError, RunError
from toolkit.api.return_codes import ReturnCode, find
from toolkit.api.wire import CODES_PATH, JSON_TYPE, message_path, verify_path
from toolkit.client import Client
from toolkit.masking import MASK, mask_text
from toolkit.records.call_record import CallRecord
from toolkit.settings import Target

_RUN = "by hand"
_SECRET = '"$SMSCODE_MASTER_SECRET"'
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call with its record, its masked subject, the equivalent curl command and its problem.

    ``about`` is the masked mobile of a send or the msg_id of a verification. ``msg_id`` is that of the message that was
    sent or verified. ``message`` is the API's message, "" without a response.
    """

    record: CallRecord
    about: str
    curl: str
    msg_id: str = field(default="", repr=False)
    message: str = ""
    problem: str = ""
    retry_after_s: int | None = None

    @property
    def row(self) -> ReturnCode | None:
        """The return code with its meaning; None for an unknown code and without a code."""
        return None if self.record.return_code is None else find(self.record.return_code)


def send(target: Target, mobile: str, temp_id: int) -> Attempt:
    """Send a code. Errors are part of the attempt, not raised."""
    line = curl_send(target, mobile, temp_id)
    return _make(target, mask_text(mobile), line, lambda client: client.send_code(mobile, temp_id).msg_id)


def verify(target: Target, msg_id: str, code: str) -> Attempt:
    """Verify a code. Errors are part of the attempt, not raised."""

    def call(client: Client) -> str:
        client.verify_code(msg_id, code)
        return msg_id

    return _make(target, msg_id, curl_verify(target, msg_id), call)


def read_sent_code(target: Target, msg_id: str) -> str:
    """Return the code that a sandbox sent. Raises RunError if the target is not a sandbox or lacks the message."""
    request = Request(target.base_url + message_path(msg_id))
    request.add_header("Authorization", Credentials(target.app_key, target.master_secret).authorization)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_TIMEOUT_S) as response:
            return str(json.load(response)["code"])
    except HTTPError as refused:
        with refused:
            raise RunError(f"can't read the code: the target responded with HTTP {refused.code}") from None
    except (OSError, ValueError, KeyError) as problem:
        raise RunError(f"can't read the code: {problem}") from None


def _make(target: Target, about: str, line: str, call: Callable[[Client], str]) -> Attempt:
    records: list[CallRecord] = []
    with Client(target.base_url, target.app_key, target.master_secret, on_call=records.append, run=_RUN) as client:
        try:
            msg_id, problem = call(client), None
        except CallError as error:
            msg_id, problem = "", error
    if not records:
        raise InputError("no call was made")
    record = records[0]
    if isinstance(problem, ReturnCodeError):
        return Attempt(record, about, line, msg_id, problem.message, "", problem.retry_after_s)
    known = None if record.return_code is None else find(record.return_code)
    return Attempt(record, about, line, msg_id, known.message if known else "", "" if problem is None else str(problem))


def curl_send(target: Target, mobile: str, temp_id: int) -> str:
    """Return a curl command that sends a code. It has no secret, and the last digits of the mobile are masked."""
    return _curl(target, CODES_PATH, {"mobile": mask_text(mobile), "temp_id": temp_id})


def curl_verify(target: Target, msg_id: str) -> str:
    """Return a curl command that verifies a code. It has no secret, and the code is masked."""
    return _curl(target, verify_path(msg_id), {"code": MASK})


def _curl(target: Target, path: str, body: dict[str, object]) -> str:
    user = f"{shlex.quote(target.app_key)}:{_SECRET}"
    content_type = shlex.quote(f"Content-Type: {JSON_TYPE}")
    return f"curl -u {user} -H {content_type} -d {shlex.quote(json.dumps(body))} {shlex.quote(target.base_url + path)}"
