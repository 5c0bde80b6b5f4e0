"""Journeys: what a person does with the API, as tasks for ``SmsCodeUser.tasks``.

The right code is read from the sandbox. Elsewhere nobody can read it, and a journey ends after one wrong code.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from toolkit.errors import TransportError
from toolkit.load.user import SmsCodeUser
from toolkit.wire import message_path

_NO_SANDBOX = "the target is no sandbox, so no code can be read: each journey sends, then verifies one wrong code"


def verify_right(user: SmsCodeUser) -> None:
    """Send a code and type it."""
    _send_and_type(user, lambda code: [code])


def verify_wrong_first(user: SmsCodeUser) -> None:
    """Send a code, type a wrong one, then the right one."""
    _send_and_type(user, lambda code: [_another(code), code])


def verify_twice(user: SmsCodeUser) -> None:
    """Send a code, type it, and type it once more."""
    _send_and_type(user, lambda code: [code, code])


def _send_and_type(user: SmsCodeUser, typed: Callable[[str], list[str]]) -> None:
    msg_id = user.sms.send_code(user.worker.next_mobile()).msg_id
    if msg_id is None:
        return
    code = _read_code(user, msg_id) if user.worker.is_sandbox else None
    if not user.worker.is_sandbox:
        user.sms.verify_code(msg_id, _another("0"))
    elif code is not None:
        for digits in typed(code):
            user.sms.verify_code(msg_id, digits)


def _another(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


def _read_code(user: SmsCodeUser, msg_id: str) -> str | None:
    """Read a message's code from the sandbox, None where it gives none. No call of the API: counted nowhere."""
    headers = {"Authorization": user.worker.credentials.authorization}
    try:
        http_status, _, body = user.sms.transport.exchange("GET", message_path(msg_id), headers)
        if http_status == 404:
            user.worker.is_sandbox = False
            user.worker.say(_NO_SANDBOX)
        return json.loads(body)["code"] if http_status == 200 else None
    except (TransportError, ValueError, LookupError, TypeError):
        return None
