"""The tracer samples as many calls as it should, and changes nothing but a header of their requests."""

from __future__ import annotations

import re

import pytest

from toolkit.api.basic_auth import Credentials
from toolkit.api.trace_context import parse_traceparent
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


def header(request: bytes) -> bytes:
    (value,) = HEADER.findall(request)
    return bytes(value)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_sampled_request_differs_in_the_header_alone_which_names_the_trace_of_the_step(step: Request) -> None:
    tracer = CallTracer(1.0)
    plain = encoder(tracer).encode
    written = tracer.wrap(plain)(step)
    assert not isinstance(step, Peek)
    assert step.trace == parse_traceparent(header(written))
    assert step.trace.is_sampled
    assert HEADER.sub(b"", written) == HEADER.sub(b"", plain(step))


def test_each_sampled_call_has_a_trace_of_its_own() -> None:
    tracer = CallTracer(1.0)
    encode, steps = tracer.wrap(encoder(tracer).encode), [Send("13800138000") for _ in range(500)]
    for step in steps:
        encode(step)
    traces = [step.trace for step in steps if step.trace]
    assert len(traces) > 480  # some look like a mobile
    assert len({it.trace_id for it in traces}) == len({it.span_id for it in traces}) == len(traces)


def test_a_share_of_the_calls_is_sampled_by_the_lower_half_of_the_trace_id() -> None:
    tracer = CallTracer(0.25)
    encode, steps = tracer.wrap(encoder(tracer).encode), [Send("13800138000") for _ in range(4_000)]
    contexts = [parse_traceparent(header(encode(step))) for step in steps]
    traces = [step.trace for step in steps if step.trace]
    assert 750 < len(traces) < 1_250  # nine standard deviations
    assert all(int(it.trace_id[16:], 16) < 2**62 for it in traces)
    assert [it for it in contexts if it and it.is_sampled] == traces


def test_requests_that_are_not_sampled_share_one_header_that_says_so() -> None:
    tracer = CallTracer(0.0)
    encode = encoder(tracer).encode
    assert tracer.wrap(encode) == encode
    (value,) = {header(encode(step)) for step in (*STEPS, Peek("m-1"))}
    context = parse_traceparent(value)
    assert context
    assert not context.is_sampled


def test_a_peek_is_never_sampled() -> None:
    tracer = CallTracer(1.0)
    context = parse_traceparent(header(tracer.wrap(encoder(tracer).encode)(Peek("m-1"))))
    assert context
    assert not context.is_sampled


def test_no_trace_id_would_be_masked_as_a_mobile() -> None:
    tracer = CallTracer(1.0)
    encode = tracer.wrap(encoder(tracer).encode)
    steps = [Send("13800138000") for _ in range(5_000)]
    for step in steps:
        encode(step)
    found = [it.trace.trace_id for it in steps if it.trace]
    assert not [it for it in found if re.search(r"(?<!\d)(86)?1[3-9]\d{9}(?!\d)", it)]
