"""Journeys: what a person does with the API, for ``SmsCodeUser.tasks``: a user plays one at a time, the engine many.

The right code is read from the sandbox. Elsewhere nobody can read it, and a journey ends after one wrong code.
"""

from __future__ import annotations

from collections.abc import Callable

from toolkit.load.steps import Journey, Peek, Send, Verify
from toolkit.load.worker import Worker


def verify_right(worker: Worker) -> Journey:
    """Send a code and type it."""
    yield from _send_and_type(worker, lambda code: [code])


def verify_wrong_first(worker: Worker) -> Journey:
    """Send a code, type a wrong one, then the right one."""
    yield from _send_and_type(worker, lambda code: [_another(code), code])


def verify_twice(worker: Worker) -> Journey:
    """Send a code, type it, and type it once more."""
    yield from _send_and_type(worker, lambda code: [code, code])


def _send_and_type(worker: Worker, typed: Callable[[str], list[str]]) -> Journey:
    msg_id = (yield Send(worker.next_mobile())).msg_id
    if msg_id is None:
        return
    code = (yield Peek(msg_id)) if worker.is_sandbox else None
    if not worker.is_sandbox:
        yield Verify(msg_id, _another("0"))
    elif code is not None:
        for digits in typed(code):
            yield Verify(msg_id, digits)


def _another(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"
