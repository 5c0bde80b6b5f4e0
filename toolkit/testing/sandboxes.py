"""The sandbox of a test: ``Sandbox`` for blocking code, ``AsyncSandbox`` for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from toolkit.api import defaults
from toolkit.api.rate_rules import Rule
from toolkit.client import AsyncClient, Client
from toolkit.service.core.policy import Policy
from toolkit.service.process.config import ServiceConfig
from toolkit.testing.thread import Credentials, Message, SandboxThread


class _Base:
    def __init__(self, thread: SandboxThread) -> None:
        self._thread = thread

    @property
    def url(self) -> str:
        """The base URL of the API, e.g. "http://127.0.0.1:40123"."""
        return self._thread.url

    @property
    def credentials(self) -> Credentials:
        """The key and the secret of the ready-made app."""
        return self._thread.credentials

    @property
    def temp_id(self) -> int:
        """The number of the ready-made app's template."""
        return self._thread.temp_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


class Sandbox(_Base):
    """A running sandbox, and the actions of a test on it. ``sandbox`` starts one. Threads may share it.

    Attributes:
        url: the base URL of the API, e.g. "http://127.0.0.1:40123".
        credentials: the key and the secret of the ready-made app, a tuple that suits most HTTP clients' ``auth``.
        temp_id: the number of the ready-made app's template.
    """

    def client(self, **options: Any) -> Client:
        """Return a client of the sandbox; ``options`` are those of ``Client``."""
        return Client(self.url, *self.credentials, **options)

    def to_async(self) -> AsyncSandbox:
        """Return the same sandbox for asyncio."""
        return AsyncSandbox(self._thread)

    def messages(self, mobile: str | int | None = None) -> list[Message]:
        """Return the messages that were sent to a mobile, or to all mobiles, the oldest first."""
        return self._thread.messages(mobile).result()

    def wait_for_code(self, mobile: str | int, timeout_s: float = 5.0) -> str:
        """Return the code of the newest message to a mobile, and wait for that message if it is not there yet.

        Each message counts once: the next call waits for a newer message to the same mobile.

        Raises:
            TimeoutError: no message came within ``timeout_s`` seconds.
            InputError: the mobile is invalid, or the sandbox was stopped during the wait.
        """
        return self._thread.wait_for_code(mobile, timeout_s).result()

    def set_code(self, mobile: str | int, code: str) -> None:
        """Send this code to a mobile from now on, e.g. "123456", instead of a random one."""
        self._thread.set_code(mobile, code).result()

    def refuse(self, mobile: str | int, return_code: int, times: int | None = None) -> None:
        """Refuse the calls for a mobile with a return code: the next ``times`` calls, or all if it is None.

        A return code that judges a code (50010 to 50012) refuses verify calls, any other one refuses sends.

        >>> from toolkit.testing import sandbox
        >>> with sandbox() as sms:
        ...     sms.refuse("13800138000", 50014, times=1)
        """
        self._thread.refuse(mobile, return_code, times).result()

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock ahead, so that codes expire and rate limits end. It never goes back."""
        self._thread.advance(seconds).result()

    def fail(self, share: float = 1.0, *, drop_share: float = 0.0, latency: str = "0ms") -> None:
        """Inject faults into the API's two calls, in place of earlier ones. ``fail(0)`` ends them.

        Args:
            share: the share of calls that are answered with 50019 and not carried out, from 0 to 1.
            drop_share: the share of calls that are carried out, and whose connection is closed without a response.
            latency: added to each call: a duration, e.g. "200ms", or "20ms~0.5" for log-normal latency.
        """
        self._thread.fail(share, drop_share, latency).result()

    def reset(self) -> None:
        """Remove messages, rate limits and tries, end faults and refusals, and restore the balance."""
        self._thread.reset().result()


class AsyncSandbox(_Base):
    """A running sandbox for asyncio: ``Sandbox`` with ``await``. ``async_sandbox`` starts one.

    It has the same attributes.
    """

    def client(self, **options: Any) -> AsyncClient:
        """Return a client of the sandbox; ``options`` are those of ``AsyncClient``."""
        return AsyncClient(self.url, *self.credentials, **options)

    async def messages(self, mobile: str | int | None = None) -> list[Message]:
        """Return messages, as ``Sandbox.messages`` does."""
        return await asyncio.wrap_future(self._thread.messages(mobile))

    async def wait_for_code(self, mobile: str | int, timeout_s: float = 5.0) -> str:
        """Return the code of the newest message to a mobile, as ``Sandbox.wait_for_code`` does."""
        return await asyncio.wrap_future(self._thread.wait_for_code(mobile, timeout_s))

    async def set_code(self, mobile: str | int, code: str) -> None:
        """Send this code to a mobile from now on."""
        await asyncio.wrap_future(self._thread.set_code(mobile, code))

    async def refuse(self, mobile: str | int, return_code: int, times: int | None = None) -> None:
        """Refuse the calls for a mobile, as ``Sandbox.refuse`` does."""
        await asyncio.wrap_future(self._thread.refuse(mobile, return_code, times))

    async def advance(self, seconds: float) -> None:
        """Move the sandbox's clock ahead."""
        await asyncio.wrap_future(self._thread.advance(seconds))

    async def fail(self, share: float = 1.0, *, drop_share: float = 0.0, latency: str = "0ms") -> None:
        """Inject faults, as ``Sandbox.fail`` does."""
        await asyncio.wrap_future(self._thread.fail(share, drop_share, latency))

    async def reset(self) -> None:
        """Remove all state, as ``Sandbox.reset`` does."""
        await asyncio.wrap_future(self._thread.reset())


@contextmanager
def sandbox(*, rules: Sequence[str] = defaults.RULES, ttl_s: int = defaults.TTL_S, port: int = 0) -> Iterator[Sandbox]:
    """Run a sandbox in a thread of this process until the block ends.

    It listens on loopback and sends no message. Signal handlers and log settings of the process stay as they are.

    Args:
        rules: the rate limits of a mobile, each COUNT/DURATION. None at all: ``()``.
        ttl_s: the lifetime of a code in seconds, 1 to 86400.
        port: the TCP port; 0 takes a free one.

    Raises:
        InputError: a rule is not valid.
        SettingsError: ``ttl_s`` is not valid.
        RunError: the port can't be used.

    >>> with sandbox(rules=["1/60s"]) as sms:
    ...     sms.messages()
    []
    """
    thread = SandboxThread(_config(rules, ttl_s, port))
    try:
        thread.started.result()
        yield Sandbox(thread)
    finally:
        thread.stop()


@asynccontextmanager
async def async_sandbox(
    *, rules: Sequence[str] = defaults.RULES, ttl_s: int = defaults.TTL_S, port: int = 0
) -> AsyncIterator[AsyncSandbox]:
    """Run a sandbox until the block ends, as ``sandbox`` does, without blocking the event loop.

    >>> async def test() -> str:
    ...     async with async_sandbox() as sms, sms.client() as client:
    ...         await client.send_code("13800138000", sms.temp_id)
    ...         return await sms.wait_for_code("13800138000")
    >>> len(asyncio.run(test()))
    6
    """
    thread = SandboxThread(_config(rules, ttl_s, port))
    try:
        await asyncio.to_thread(thread.started.result)  # a cancelled wrap_future would cancel the start's future
        yield AsyncSandbox(thread)
    finally:
        await asyncio.to_thread(thread.stop)


def _config(rules: Sequence[str], ttl_s: int, port: int) -> ServiceConfig:
    return ServiceConfig(port=port, ttl_s=ttl_s, policy=Policy(rules=tuple(map(Rule.parse, rules))))
