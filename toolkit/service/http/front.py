"""The service's front: gives a request its id, and its answer the form to be sent in; counts and logs. Decides none."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from toolkit.api.errors import StoreError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Refusal, Reply, build_refusal
from toolkit.service.http.request_context import (
    REQUEST_ID,
    Call,
    DroppedError,
    Request,
    new_request_ids,
    read_request_id,
)
from toolkit.service.metrics.call_log import LineWriter, call_line
from toolkit.service.metrics.counters import Counters

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 1000
# A second is the least that the header can say, and a thousand calls take a tenth of it where nothing is stuck.
_BUSY = Refusal(ReturnCode.SERVER_ERROR, retry_after_s=1)

Answer = Callable[[Call, Request], Awaitable[Reply | Refusal]]


@dataclass(frozen=True, slots=True)
class Front:
    """The application as the server sees it. ``call_log`` None: calls are not logged.

    ``max_in_flight``: calls under way at once. With a store that is stuck, waiting in line would cost the others the
    time limit, and the service its memory: they are turned away at once.
    """

    answer: Answer
    counters: Counters = field(default_factory=Counters)
    call_log: LineWriter | None = None
    max_in_flight: int = MAX_IN_FLIGHT
    request_ids: Iterator[bytes] = field(default_factory=new_request_ids)
    now_s: Callable[[], float] = time.perf_counter

    async def __call__(self, request: Request) -> Reply | None:
        """Answer one request; whatever happens, by a row of the return-code table. None: not at all."""
        call = self._open(read_request_id(request.header(REQUEST_ID)), request.peer)
        if self.counters.in_flight >= self.max_in_flight:
            return self._close(call, _BUSY)
        self.counters.in_flight += 1
        try:
            answer = await self.answer(call, request)
        except DroppedError:
            self.counters.unanswered += 1
            return None
        except asyncio.CancelledError:  # the service ends
            answer = Refusal(ReturnCode.SERVER_ERROR)
        except StoreError as problem:
            log.error("store: %s", problem)
            answer = Refusal(ReturnCode.SERVER_ERROR)
        except Exception:
            log.exception("the service failed on a request")
            answer = Refusal(ReturnCode.SERVER_ERROR)
        finally:
            self.counters.in_flight -= 1
        return self._close(call, answer)

    def refuse(self, return_code: ReturnCode, peer: str) -> Reply:
        """Count and log a request that can't be read, and return its answer."""
        return self._close(self._open(None, peer), Refusal(return_code))

    def _open(self, request_id: bytes | None, peer: str) -> Call:
        return Call(request_id or next(self.request_ids), peer, self.now_s())

    def _close(self, call: Call, answer: Reply | Refusal) -> Reply:
        """Count and log a call with its answer, and return what to send."""
        return_code = answer.return_code if isinstance(answer, Refusal) else ReturnCode.SUCCESS
        latency_s = self.now_s() - call.started_s
        self.counters.count(call.endpoint, return_code, latency_s)
        if self.call_log:
            self.call_log.write(call_line(call, return_code, latency_s))
        reply = build_refusal(answer) if isinstance(answer, Refusal) else answer
        return Reply(reply.http_status, (*reply.headers, (REQUEST_ID, call.request_id)), reply.body)
