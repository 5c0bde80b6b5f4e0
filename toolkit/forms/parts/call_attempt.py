"""Attempt: one call made by hand, and all that is known of it afterwards. Blocking; no widgets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from toolkit.api.errors import CallError, InputError, ReturnCodeError, RunError
from toolkit.api.return_codes import ReturnCode, find
from toolkit.api.wire import Credentials, message_path
from toolkit.client import Client
from toolkit.forms.parts import curl
from toolkit.masking import mask_text
from toolkit.records.call_record import CallRecord
from toolkit.settings import Target

_RUN = "by hand"
_PEEK_S = 5.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call: its record, what it was about (masked), the same as a line of curl, and what went wrong in words.

    ``msg_id``: of an accepted send, or that was verified. ``message``: the API's wording, "" without an answer.
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
        """The table's row of its return code; None without one."""
        return None if self.record.return_code is None else find(self.record.return_code)


def send(target: Target, mobile: str, temp_id: int) -> Attempt:
    """Send a code; whatever comes of it is the attempt."""
    line = curl.send_line(target, mobile, temp_id)
    return _make(target, mask_text(mobile), line, lambda client: client.send_code(mobile, temp_id).msg_id)


def verify(target: Target, msg_id: str, code: str) -> Attempt:
    """Verify a code; whatever comes of it is the attempt."""

    def call(client: Client) -> str:
        client.verify_code(msg_id, code)
        return msg_id

    return _make(target, msg_id, curl.verify_line(target, msg_id), call)


def peek(target: Target, msg_id: str) -> str:
    """Return the code that a sandbox "sent"; raise RunError where the target is none, or doesn't know the message."""
    about = Request(target.base_url + message_path(msg_id))
    about.add_header("Authorization", Credentials(target.app_key, target.master_secret).authorization)
    try:
        with build_opener(ProxyHandler({})).open(about, timeout=_PEEK_S) as answer:
            return str(json.load(answer)["code"])
    except HTTPError as refused:
        with refused:
            raise RunError(f"the code can't be read: the target answered HTTP {refused.code}") from None
    except (OSError, ValueError, KeyError) as problem:
        raise RunError(f"the code can't be read: {problem}") from None


def _make(target: Target, about: str, line: str, call: Callable[[Client], str]) -> Attempt:
    records: list[CallRecord] = []
    with Client(target.base_url, target.app_key, target.master_secret, on_call=records.append, run=_RUN) as client:
        try:
            msg_id, problem = call(client), None
        except CallError as error:
            msg_id, problem = "", error
    if not records:
        raise InputError("nothing was called")
    return _describe(records[0], about, line, msg_id, problem)


def _describe(record: CallRecord, about: str, line: str, msg_id: str, problem: CallError | None) -> Attempt:
    if isinstance(problem, ReturnCodeError):
        return Attempt(record, about, line, msg_id, problem.message, "", problem.retry_after_s)
    known = None if record.return_code is None else find(record.return_code)
    return Attempt(record, about, line, msg_id, known.message if known else "", "" if problem is None else str(problem))
