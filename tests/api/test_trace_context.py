"""Compare the reader of ``traceparent`` with the rules of W3C Trace Context, section 3.2."""

from __future__ import annotations

import pytest

from toolkit.api.trace_context import TraceContext, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(("flags", "is_sampled"), [("01", True), ("00", False), ("03", True), ("02", False)])
def test_the_last_bit_of_the_flags_tells_whether_it_is_sampled(flags: str, is_sampled: bool) -> None:
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}".encode()) == TraceContext(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize("is_sampled", [True, False])
def test_what_is_written_is_read(is_sampled: bool) -> None:
    context = TraceContext(TRACE, SPAN, is_sampled)
    assert parse_traceparent(context.header().encode()) == context


def test_a_later_version_may_have_more_fields() -> None:
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-01-what-the-future-brings".encode()) == TraceContext(TRACE, SPAN, True)


@pytest.mark.parametrize(
    "value",
    [
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        "",
        "\u4e2d",
    ],
)
def test_any_other_value_is_ignored(value: str) -> None:
    assert parse_traceparent(value.encode()) is None
