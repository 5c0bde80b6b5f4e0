"""Run a sandbox in a thread with its own event loop, and carry out a test's calls there.

A call goes straight to the request handler, not through a socket. So it also works while a test replaces sockets or
the transports of httpx.
"""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlencode

from toolkit.api.defaults import CODE_DIGITS
from toolkit.api.errors import InputError
from toolkit.api.wire import parse_mobile
from toolkit.service.http.request_parser import Request
from toolkit.service.http.server import loop_factory
from toolkit.service.process.config import ServiceConfig
from toolkit.service.process.runtime import EmbeddedSandbox, embedded_sandbox
from toolkit.service.sandbox.controls import (
    MAX_ADVANCE_S,
    MAX_LIMIT,
    MAX_TIMES,
    MAX_WAIT_S,
    read_advance_ms,
    read_faults,
    read_number,
)
from toolkit.service.sandbox.numbers import NumberRule, is_refused

T = TypeVar("T")


class Credentials(NamedTuple):
    """The app key and the master secret of a sandbox's app."""

    app_key: str
    master_secret: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message that the sandbox accepted. ``sent_at`` is a time of the sandbox's clock, in UTC."""

    msg_id: str
    mobile: str
    temp_id: int
    code: str
    text: str
    sent_at: datetime

    @classmethod
    def of(cls, shown: dict[str, Any]) -> Self:
        """Return a message as the sandbox's list of messages shows it."""
        return cls(**shown | {"sent_at": datetime.fromisoformat(shown["sent_at"])})


class SandboxThread:
    """A sandbox in a daemon thread. ``started`` gets it once it accepts connections, or the error of its start.

    The public methods can be called in any thread. They check their arguments, raise InputError for an invalid one,
    and return a future of the result.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.started: Future[EmbeddedSandbox] = Future()
        self._config = config
        self._taken: dict[str, str] = {}  # by mobile, the last msg_id whose code was waited for
        self._waits: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="sms-sandbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the requests in flight are answered. Doing so again has no effect."""
        if self.started.exception() is None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as problem:
            if self.started.done():
                raise
            self.started.set_exception(problem)

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        async with embedded_sandbox(self._config) as running:
            self._sandbox, self._handler = running.sandbox, running.handler
            self.url: str = running.description["url"]
            self.temp_id: int = running.description["temp_id"]
            self.credentials = Credentials(running.description["app_key"], running.description["master_secret"])
            self._app_id = running.app_id
            token = b64encode(":".join(self.credentials).encode())
            self._headers = {b"authorization": b"Basic " + token, b"content-type": b"application/json"}
            self.started.set_result(running)
            await self._stopped.wait()
            for task in self._waits:
                task.cancel()
            await asyncio.gather(*self._waits, return_exceptions=True)

    # The calls of a test.

    def messages(self, mobile: str | int | None = None) -> Future[list[Message]]:
        """List the messages to a mobile, or all, the oldest first."""
        return self._submit(self._list("" if mobile is None else _check_mobile(mobile), after=""))

    def wait_for_code(self, mobile: str | int, timeout_s: float = 5.0) -> Future[str]:
        """Wait for a message to a mobile that is newer than the last one that was waited for; return its code."""
        return self._submit(self._wait_until_stopped(self._wait_for_code(_check_mobile(mobile), timeout_s)))

    def set_code(self, mobile: str | int, code: str) -> Future[None]:
        """Send this code to a mobile from now on."""
        problem = f'invalid code {code!r}: expected text of {CODE_DIGITS} digits, e.g. "123456"'
        rule = _read(read_number, {"code": code}, problem)
        return self._submit(self._change(_check_mobile(mobile), rule))

    def refuse(self, mobile: str | int, return_code: int, times: int | None = None) -> Future[None]:
        """Refuse the next sends to a mobile, or its verify calls if the return code is a verdict on a code."""
        problem = f"invalid return code {return_code!r}: expected one of a refusal, e.g. 50014"
        outcome = _read(read_number, {"verify": return_code}, problem).verify
        assert outcome
        fields = {"send" if is_refused(outcome.return_code) else "verify": return_code}
        if times is not None:
            fields["times"] = times
        problem = f"invalid times {times!r}: expected 1 to {MAX_TIMES}, or None for all calls"
        return self._submit(self._change(_check_mobile(mobile), _read(read_number, fields, problem)))

    def advance(self, seconds: float) -> Future[None]:
        """Move the clock ahead."""
        fields: dict[str, Any] = {"advance_s": seconds}
        _read(read_advance_ms, fields, f"invalid seconds {seconds!r}: expected 0 to {MAX_ADVANCE_S}")
        return self._submit(self._control("POST", "/sandbox/clock", fields))

    def fail(self, share: float, drop_share: float, latency: str) -> Future[None]:
        """Replace the faults."""
        faults = {"error_share": share, "drop_share": drop_share, "latency": latency}
        for name, field, value in (("share", "error_share", share), ("drop_share", "drop_share", drop_share)):
            _read(read_faults, {field: value}, f"invalid {name} {value!r}: expected a share from 0 to 1")
        read_faults(faults)
        return self._submit(self._control("PUT", "/sandbox/faults", faults))

    def reset(self) -> Future[None]:
        """Remove messages, rate limits and tries, lift faults and numbers, and restore the balance."""
        return self._submit(self._reset())

    # In the thread of the sandbox.

    def _submit(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        if not self._thread.is_alive():
            call.close()
            raise InputError("the sandbox is stopped: call it inside its with block")
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    async def _list(self, mobile: str, after: str, wait_s: float = 0.0) -> list[Message]:
        found: list[Message] = []
        while True:
            query = {"after": after, "wait_s": wait_s} | ({"mobile": mobile} if mobile else {})
            body = await self._call("GET", "/sandbox/messages", query=urlencode(query).encode())
            found += map(Message.of, body["messages"])
            if len(body["messages"]) < MAX_LIMIT:
                return found
            after, wait_s = found[-1].msg_id, 0.0

    async def _wait_until_stopped(self, wait: Coroutine[Any, Any, T]) -> T:
        """Carry out a wait; raise InputError once the sandbox is stopped."""
        task = asyncio.ensure_future(wait)
        self._waits.add(task)
        if self._stopped.is_set():
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            if self._stopped.is_set():
                raise InputError("the sandbox was stopped while a code was waited for") from None
            raise
        finally:
            self._waits.discard(task)

    async def _wait_for_code(self, mobile: str, timeout_s: float) -> str:
        until_s = self._loop.time() + timeout_s
        while True:
            left_s = max(0.0, until_s - self._loop.time())
            found = await self._list(mobile, self._taken.get(mobile, ""), min(left_s, MAX_WAIT_S))
            if found:
                self._taken[mobile] = found[-1].msg_id
                return found[-1].code
            if not left_s:
                others = len({it.mobile for it in await self._list("", after="")} - {mobile})
                newer = "newer " if mobile in self._taken else ""
                raise TimeoutError(
                    f"no {newer}message to {mobile} within {timeout_s:g} s; {others} other mobiles have messages"
                )

    async def _change(self, mobile: str, rule: NumberRule) -> None:
        self._sandbox.numbers.merge(self._app_id, mobile, rule)

    async def _control(self, method: str, path: str, fields: dict[str, object]) -> None:
        await self._call(method, path, json.dumps(fields).encode())

    async def _reset(self) -> None:
        self._taken.clear()
        await self._call("DELETE", "/sandbox/state")

    async def _call(self, method: str, path: str, body: bytes = b"", query: bytes = b"") -> dict[str, Any]:
        request = Request(method.encode(), path.encode(), self._headers, body, "127.0.0.1", query)
        response = await self._handler(request)
        assert response is not None
        fields: dict[str, Any] = json.loads(response.body)
        if "error" in fields:
            raise InputError(f"{method} {path} {body.decode()}: {fields['error']['message']}")
        return fields


def _read(read: Callable[[dict[str, Any]], T], fields: dict[str, Any], problem: str) -> T:
    """Read the fields of a control; raise InputError with the problem in the words of the method's arguments."""
    try:
        return read(fields)
    except InputError:
        raise InputError(problem) from None


def _check_mobile(mobile: str | int) -> str:
    digits = parse_mobile(mobile)
    if digits is None:
        raise InputError(f"invalid mobile {mobile!r}: expected 11 digits of mainland China, e.g. 13800138000")
    return digits
