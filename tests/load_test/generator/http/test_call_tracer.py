"""The tracer samples as many calls as it should, and changes nothing but a header of their requests."""

from __future__ import annotations

import re

import pytest

from toolkit.api.basic_auth import Credentials
from toolkit.api.trace_context import TraceContext, parse_traceparent
from toolkit.load_test.generator.http.call_tracer import CallTracer
from toolkit.load_test.generator.http.request_encoder import RequestEncoder
from toolkit.load_test.generator.http.response_parser import Origin
from toolkit.load_test.generator.steps import Peek, Request, Send, Verify
from toolkit.load_test.plan.http_options import DEFAULT_HTTP

HEADER = re.compile(rb"\r\ntraceparent: ([^\r]*)")
STEPS = (Send("13800138000"), Send("13800138000", 7), Verify("m-1", "123456"), Verify("m/1", "wrong"))


def encoder(tracer: CallTracer) -> RequestEncoder:
    origin = Origin.of("http://api.example:8018")
    return RequestEncoder(origin, Credentials("key", "secret"), 1, tracer.add_header(DEFAULT_HTTP))


def write(tracer: CallTracer, step: Request = STEPS[0]) -> tuple[bytes, TraceContext | None]:
    return tracer.sample(encoder(tracer).encode(step))


def header(request: bytes) -> bytes:
    (value,) = HEADER.findall(request)
    return bytes(value)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_sampled_request_differs_in_the_header_alone_which_names_the_trace(step: Request) -> None:
    tracer = CallTracer(1.0)
    written, trace = write(tracer, step)
    assert trace
    assert trace.is_sampled
    assert trace == parse_traceparent(header(written))
    assert HEADER.sub(b"", written) == HEADER.sub(b"", encoder(tracer).encode(step))


def test_each_sampled_call_has_a_trace_of_its_own() -> None:
    tracer = CallTracer(1.0)
    traces = [trace for _, trace in (write(tracer) for _ in range(500)) if trace]
    assert len(traces) > 480  # some look like a mobile
    assert len({it.trace_id for it in traces}) == len({it.span_id for it in traces}) == len(traces)


def test_a_share_of_the_calls_is_sampled_by_the_lower_half_of_the_trace_id() -> None:
    tracer = CallTracer(0.25)
    written = [write(tracer) for _ in range(4_000)]
    contexts = [parse_traceparent(header(request)) for request, _ in written]
    traces = [trace for _, trace in written if trace]
    assert 750 < len(traces) < 1_250  # nine standard deviations
    assert all(int(it.trace_id[16:], 16) < 2**62 for it in traces)
    assert [it for it in contexts if it and it.is_sampled] == traces


def test_requests_that_are_not_sampled_share_one_header_that_says_so() -> None:
    tracer = CallTracer(0.0)
    written = [write(tracer, step) for step in STEPS]
    assert [trace for _, trace in written] == [None] * len(STEPS)
    (value,) = {header(request) for request in (encoder(tracer).encode(Peek("m-1")), *(it for it, _ in written))}
    context = parse_traceparent(value)
    assert context
    assert not context.is_sampled


def test_no_trace_id_would_be_masked_as_a_mobile() -> None:
    tracer = CallTracer(1.0)
    found = [trace.trace_id for _, trace in (write(tracer) for _ in range(5_000)) if trace]
    assert not [it for it in found if re.search(r"(?<!\d)(86)?1[3-9]\d{9}(?!\d)", it)]
