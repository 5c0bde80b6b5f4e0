"""What the sandbox adds: a look at what was "sent", codes on demand, faults. Production has none of it."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from toolkit.api.durations import parse_duration
from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode, find
from toolkit.api.wire import Refusal, Reply, build_message, read_authorization, read_message_path, read_path
from toolkit.service.http.handler import OTHER, PEEK, Api, DropConnectionError, RequestContext
from toolkit.service.http.request_parser import Request
from toolkit.service.stores.base import Store

MAGIC_PREFIX = "199000"
MAX_SIGMA = 5


def magic_return_code(mobile: str) -> ReturnCode | None:
    """Return the return code that a magic mobile asks for: 199000 followed by the code's number."""
    return find(int(mobile[len(MAGIC_PREFIX) :])) if mobile.startswith(MAGIC_PREFIX) else None


@dataclass(frozen=True, slots=True)
class Latency:
    """Added latency: ``median_s`` seconds, always (sigma 0) or log-normal around it."""

    median_s: float = 0.0
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= MAX_SIGMA:
            raise InputError(f"sigma {self.sigma}: give a number from 0 to {MAX_SIGMA}")

    @classmethod
    def parse(cls, text: str) -> Latency:
        """Read ``20ms``, or ``20ms~0.5`` for a log-normal one with that sigma."""
        span, _, sigma = text.partition("~")
        try:
            return cls(parse_duration(span, allow_zero=True), float(sigma or 0))
        except ValueError:
            raise InputError(
                f"latency {text!r}: write 20ms, or 20ms~0.5 for a log-normal one; sigma is 0 to {MAX_SIGMA}"
            ) from None

    def draw(self, chance: random.Random) -> float:
        """Draw one latency in seconds."""
        return self.median_s * math.exp(chance.gauss(0, self.sigma)) if self.sigma else self.median_s


NO_LATENCY = Latency()


@dataclass(frozen=True, slots=True)
class Stall:
    """Every ``period_s`` seconds nothing is answered for ``length_s`` seconds."""

    length_s: float
    period_s: float

    @classmethod
    def parse(cls, text: str) -> Stall:
        """Read ``200ms/2s``: length and period."""
        length, _, period = text.partition("/")
        try:
            stall = cls(parse_duration(length, allow_zero=True), parse_duration(period))
        except ValueError:
            raise InputError(f"stall {text!r}: write length/period, such as 200ms/2s") from None
        if stall.length_s >= stall.period_s:
            raise InputError(f"stall {text!r}: the length must be shorter than the period")
        return stall

    def left(self, now_s: float) -> float:
        """Return how many seconds of a stall are left at a time."""
        return max(0.0, self.length_s - now_s % self.period_s)


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong on purpose. Shares are 0 to 1.

    error_share: answered "server error", with nothing done. drop_share: done, and the connection dropped in place of
    an answer.
    """

    latency: Latency = NO_LATENCY
    error_share: float = 0.0
    drop_share: float = 0.0
    stall: Stall | None = None

    def __post_init__(self) -> None:
        for name in ("error_share", "drop_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name.replace('_', ' ')} {getattr(self, name)}: give a share from 0 to 1")


NO_FAULTS = Faults()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The service with its sandbox around it."""

    api: Api
    store: Store
    faults: Faults = NO_FAULTS
    chance: random.Random = field(default_factory=random.Random)
    now_s: Callable[[], float] = time.monotonic

    async def answer(self, context: RequestContext, request: Request) -> Reply | Refusal:
        """Answer one request: a look at a message, or a call of the API with its faults."""
        msg_id = read_message_path(request.path)
        if msg_id is not None:
            context.endpoint, context.msg_id = PEEK, msg_id
            return await self._peek(context, msg_id, request)
        if self.faults != NO_FAULTS:
            return await self._faulty(context, request)
        return await self.api.answer(context, request)

    async def _peek(self, context: RequestContext, msg_id: str, request: Request) -> Reply | Refusal:
        if request.method != b"GET":
            return Refusal(ReturnCode.METHOD_NOT_SUPPORT, allow=b"GET")
        credentials = read_authorization(request.header(b"authorization"))
        if isinstance(credentials, Refusal):
            return credentials
        app = self.api.verification.authenticate(credentials)
        if isinstance(app, Refusal):
            return app
        context.app_key = app.app_key
        job = await self.store.pending_job(app.app_id, msg_id)
        template = self.store.template(job.temp_id) if job else None
        if job is None or template is None:
            return Refusal(ReturnCode.API_NOT_FOUND)
        return build_message(job.code, template.render(job.code))

    async def _faulty(self, context: RequestContext, request: Request) -> Reply | Refusal:
        faults = self.faults
        delay_s = faults.latency.draw(self.chance) + (faults.stall.left(self.now_s()) if faults.stall else 0)
        if delay_s:
            await asyncio.sleep(delay_s)
        if self.chance.random() < faults.error_share:
            target = read_path(request.path)
            context.endpoint = OTHER if isinstance(target, Refusal) else target[0]
            return Refusal(ReturnCode.SERVER_ERROR)
        answer = await self.api.answer(context, request)
        if self.chance.random() < faults.drop_share:
            raise DropConnectionError
        return answer
