"""Read and write the header ``traceparent``, which names the trace of a request.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/, section 3.2.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TRACEPARENT = "traceparent"
_SAMPLED_FLAG = 1
# Version 00 ends after the flags. A later version may have more fields; ff is not a version, and no id is all zeros.
_FORMAT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})((?:-.*)?)", re.DOTALL
)


class TraceContext(NamedTuple):
    """The trace of a request, and the span in it that made the request.

    Attributes:
        trace_id: 32 hexadecimal digits in lower case.
        span_id: 16 hexadecimal digits in lower case.
        is_sampled: whether the caller records the span, so that the service should record its own.
    """

    trace_id: str
    span_id: str
    is_sampled: bool

    def header(self) -> str:
        """Return the value of the header.

        >>> TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True).header()
        '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
        """
        return f"00-{self.trace_id}-{self.span_id}-{self.is_sampled:02x}"


def parse_traceparent(value: bytes) -> TraceContext | None:
    """Parse the value of the header; return None for an invalid one, which is to be ignored by the standard.

    >>> parse_traceparent(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").trace_id
    '0af7651916cd43dd8448eb211c80319c'
    """
    found = _FORMAT.fullmatch(value)
    if found is None or (found[1] == b"00" and found[5]):
        return None
    return TraceContext(found[2].decode(), found[3].decode(), bool(int(found[4], 16) & _SAMPLED_FLAG))
