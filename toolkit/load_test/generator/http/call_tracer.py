"""Choose the calls that are traced, and put the trace context into their requests."""

from __future__ import annotations

import secrets
from dataclasses import replace
from random import Random

from toolkit.api.trace_context import TRACEPARENT, TraceContext
from toolkit.load_test.plan.http_options import HttpOptions
from toolkit.masking import mask_text

_ID_END = 1 << 64


class CallTracer:
    """Traces a share of the calls of one process.

    Every request has a ``traceparent``, because a service would begin a trace of its own for one without. The requests
    that are not sampled share one with the flag "not sampled": it costs no time, and the service can keep the parsed
    headers. A sampled request has a trace id of its own. The choice is that of OpenTelemetry's sampler
    ``traceidratio``, so services with that sampler agree.

    Args:
        sample_ratio: the share of the calls that are sampled, 0 to 1.
    """

    def __init__(self, sample_ratio: float) -> None:
        self._bound = round(sample_ratio * _ID_END)
        self._random = Random(secrets.randbits(128))
        context = TraceContext(f"{self._draw_id()}{self._draw_id()}", self._draw_id(), False)
        self._unsampled = context.header().encode()

    def add_header(self, http: HttpOptions) -> HttpOptions:
        """Return the options with the header of the requests that are not sampled."""
        return replace(http, headers=(*http.headers, (TRACEPARENT, self._unsampled.decode())))

    def sample(self, request: bytes) -> tuple[bytes, TraceContext | None]:
        """Decide whether a call is sampled. Return its request and, if it is, its trace, which the request names.

        Args:
            request: the request with the header of ``add_header``.
        """
        low = self._random.getrandbits(64)
        if low >= self._bound:
            return request, None
        trace = TraceContext(f"{self._draw_id()}{low:016x}", self._draw_id(), True)
        if mask_text(trace.trace_id) != trace.trace_id:
            return request, None  # in a report and a log these digits would be masked as a mobile
        return request.replace(self._unsampled, trace.header().encode(), 1), trace

    def _draw_id(self) -> str:
        return f"{self._random.getrandbits(64) | 1:016x}"  # zero is no id
