"""Add the sandbox to the API: its state, reading a message that was "sent", magic mobiles and injected faults.

Production builds none of this: ``toolkit.service.process.runtime`` puts the sandbox around the API.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from toolkit.api.durations import parse_duration
from toolkit.api.errors import InputError, StoreError
from toolkit.api.return_codes import ReturnCode, find
from toolkit.api.wire import (
    SANDBOX_STATE_PATH,
    Refusal,
    message_response,
    read_message_path,
    read_path,
    sandbox_state_response,
)
from toolkit.service.core.accounts import App
from toolkit.service.core.deferred import Deferred, run
from toolkit.service.http.handler import OTHER, PEEK, SANDBOX, Answer, Api, RequestContext
from toolkit.service.http.request_parser import Request
from toolkit.service.stores.base import Store

log = logging.getLogger(__name__)

MAGIC_PREFIX = "199000"
_PREFIX = b"/sandbox/"
_STATE_PATH = SANDBOX_STATE_PATH.encode()
MAX_SIGMA = 5


def magic_return_code(mobile: str) -> ReturnCode | None:
    """Return the return code that a magic mobile asks for; None for another mobile.

    A magic mobile is 199000 followed by a return code.

    >>> magic_return_code("19900050014").name
    'NO_MONEY'
    >>> magic_return_code("13800138000") is None
    True
    """
    return find(int(mobile[len(MAGIC_PREFIX) :])) if mobile.startswith(MAGIC_PREFIX) else None


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency added to each call: constant (``sigma`` 0), or log-normal with the median ``median_s`` in seconds."""

    median_s: float = 0.0
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= MAX_SIGMA:
            raise InputError(f"invalid sigma {self.sigma}: expected a number from 0 to {MAX_SIGMA}")

    @classmethod
    def parse(cls, text: str) -> Latency:
        """Parse ``MEDIAN`` or ``MEDIAN~SIGMA``.

        >>> Latency.parse("20ms~0.5")
        Latency(median_s=0.02, sigma=0.5)
        """
        median, _, sigma = text.partition("~")
        try:
            return cls(parse_duration(median, allow_zero=True), float(sigma or 0))
        except ValueError:
            raise InputError(
                f"invalid latency {text!r}: expected a duration, e.g. 20ms, or 20ms~0.5 for log-normal latency with"
                f" sigma 0.5; sigma is at most {MAX_SIGMA}"
            ) from None

    def draw(self, rng: random.Random) -> float:
        """Draw one latency in seconds."""
        return self.median_s * math.exp(rng.gauss(0, self.sigma)) if self.sigma else self.median_s


NO_LATENCY = Latency()


@dataclass(frozen=True, slots=True)
class Stall:
    """A pause at the start of every ``period_s`` seconds: nothing is answered for ``length_s`` seconds."""

    length_s: float
    period_s: float

    @classmethod
    def parse(cls, text: str) -> Stall:
        """Parse ``LENGTH/PERIOD``.

        >>> Stall.parse("200ms/2s")
        Stall(length_s=0.2, period_s=2.0)
        """
        length, _, period = text.partition("/")
        try:
            stall = cls(parse_duration(length, allow_zero=True), parse_duration(period))
        except ValueError:
            raise InputError(f"invalid stall {text!r}: expected LENGTH/PERIOD, e.g. 200ms/2s") from None
        if stall.length_s >= stall.period_s:
            raise InputError(f"invalid stall {text!r}: expected a length shorter than the period, e.g. 200ms/2s")
        return stall

    def remaining_s(self, now_s: float) -> float:
        """Return the rest of the pause at a time of any monotonic clock, in seconds; 0 outside of a pause."""
        return max(0.0, self.length_s - now_s % self.period_s)


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults that the sandbox injects. Shares are between 0 and 1.

    - ``latency``: delay before a call is handled
    - ``error_share``: calls that are answered with a server error and not carried out
    - ``drop_share``: calls that are carried out, and whose connection is closed without a response
    - ``stall``: pauses in which nothing is answered
    """

    latency: Latency = NO_LATENCY
    error_share: float = 0.0
    drop_share: float = 0.0
    stall: Stall | None = None

    def __post_init__(self) -> None:
        for name in ("error_share", "drop_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"invalid {name} {getattr(self, name)}: expected a share from 0 to 1")


NO_FAULTS = Faults()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Wraps the API with the sandbox's own routes and its faults.

    ``now_s`` is a monotonic clock in seconds. ``tasks`` holds the calls that wait for a delay or for the store.
    """

    api: Api
    store: Store
    faults: Faults = NO_FAULTS
    rng: random.Random = field(default_factory=random.Random)
    now_s: Callable[[], float] = time.monotonic
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    has_faults: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "has_faults", self.faults != NO_FAULTS)

    def answer(self, context: RequestContext, request: Request) -> Deferred[Answer]:
        """Answer one request: read a message, or pass a call on to the API, with faults."""
        if request.path.startswith(_PREFIX):
            if request.path == _STATE_PATH:
                context.endpoint = SANDBOX
                app = self._authenticate(context, request)
                return Deferred(app if isinstance(app, Refusal) else sandbox_state_response())
            if (msg_id := read_message_path(request.path)) is not None:
                context.endpoint, context.msg_id = PEEK, msg_id
                return run(self._peek(context, msg_id, request), self.tasks, _refuse)
        if self.has_faults:
            return run(self._answer_with_faults(context, request), self.tasks, _refuse)
        return self.api.answer(context, request)

    def _authenticate(self, context: RequestContext, request: Request) -> App | Refusal:
        if request.method != b"GET":
            return Refusal(ReturnCode.METHOD_NOT_SUPPORT, allow=b"GET")
        app = self.api.verification.authenticate(request.headers.get(b"authorization"))
        if not isinstance(app, Refusal):
            context.app_key = app.app_key
        return app

    async def _peek(self, context: RequestContext, msg_id: str, request: Request) -> Answer:
        app = self._authenticate(context, request)
        if isinstance(app, Refusal):
            return app
        job = await self.store.pending_job(app.app_id, msg_id)
        template = self.store.template(job.temp_id) if job else None
        if job is None or template is None:
            return Refusal(ReturnCode.API_NOT_FOUND)
        return message_response(job.code, template.render(job.code))

    async def _answer_with_faults(self, context: RequestContext, request: Request) -> Answer:
        faults = self.faults
        delay_s = faults.latency.draw(self.rng) + (faults.stall.remaining_s(self.now_s()) if faults.stall else 0)
        if delay_s:
            await asyncio.sleep(delay_s)
        if self.rng.random() < faults.error_share:
            target = read_path(request.path)
            context.endpoint = OTHER if isinstance(target, Refusal) else target[0]
            return Refusal(ReturnCode.SERVER_ERROR)
        answer = await self.api.answer(context, request)
        return None if self.rng.random() < faults.drop_share else answer


def _refuse(problem: BaseException) -> Refusal:
    """Return the refusal for an error of the store, of the service, or for a service that is shutting down."""
    if isinstance(problem, StoreError):
        log.error("store: %s", problem)
    elif not isinstance(problem, asyncio.CancelledError):
        log.error("the service failed on a request", exc_info=problem)
    return Refusal(ReturnCode.SERVER_ERROR)
