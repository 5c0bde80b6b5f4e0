"""A call as it came, and as the service watches it: its request id, and what it turned out to be."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from toolkit.api import wire
from toolkit.api.wire import Endpoint

REQUEST_ID = wire.REQUEST_ID.encode()
PEEK, OTHER = "peek", "other"
ENDPOINTS = (*Endpoint, PEEK, OTHER)

_SANE_ID = re.compile(rb"[!-~]{1,128}")


class DroppedError(Exception):
    """A call shall have no answer: its connection is to be dropped."""


class Request(NamedTuple):
    """A request as it came: ``path`` still quoted and without its query, header names in lower case.

    Of a ``body`` that is too large for any call, there is just enough to tell.
    """

    method: bytes
    path: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    peer: str

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of a name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@dataclass(slots=True)
class Call:
    """A call under way. Whoever learns a part of it notes it here; what stays unknown stays None.

    ``endpoint`` is one of ENDPOINTS. ``started_s`` is of a clock that only runs on.
    """

    request_id: bytes
    peer: str
    started_s: float
    endpoint: str = OTHER
    app_key: str | None = None
    mobile: str | None = None
    msg_id: str | None = None


def read_request_id(value: bytes | None) -> bytes | None:
    """Return a caller's request id if it is a sane one: 1 to 128 visible ASCII characters."""
    return value if value and _SANE_ID.fullmatch(value) else None


def new_request_ids() -> Iterator[bytes]:
    """Draw request ids without end: a random part for this process, and a number."""
    process = secrets.token_hex(5).encode()  # ten digits at most: a log takes no id of ours for a mobile
    return (b"%s-%d" % (process, number) for number in itertools.count(1))
