"""Calls made by hand, and runs drawn by hypothesis."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from toolkit.api.return_codes import find, kind_of
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import CallRecord

NOON_NS = 1_793_966_400_000_000_000  # 2026-11-06 12:00:00 UTC
SEND_CODES = (50000, 50006, 50009, 50014, 50019, 59031)
VERIFY_CODES = (50000, 50010, 50011, 50012)


def _call(
    endpoint: Endpoint = Endpoint.SEND, code: int | None = 50000, error: str | None = None, **changes: object
) -> CallRecord:
    """Make one call; an ``error`` means that no answer of the API was read."""
    code = None if error else code
    row = None if code is None else find(code)
    fields = {
        "started_ns": NOON_NS,
        "run": "r1",
        "source": "worker-0",
        "endpoint": endpoint,
        "http_status": row.http_status if row else None if error else 403,
        "return_code": code,
        "kind": None if code is None else kind_of(code),
        "latency_ns": 2_000_000,
        "error": error,
    }
    return CallRecord(**(fields | changes))


def _outcomes() -> st.SearchStrategy[tuple[Endpoint, int | None, str | None]]:
    sends = st.tuples(st.just(Endpoint.SEND), st.sampled_from(SEND_CODES), st.none())
    verifies = st.tuples(st.just(Endpoint.VERIFY), st.sampled_from(VERIFY_CODES), st.none())
    failures = st.tuples(st.sampled_from(list(Endpoint)), st.none(), st.sampled_from(["timeout", "refused", "reset"]))
    return st.one_of(sends, verifies, failures)


@pytest.fixture(scope="session")
def call() -> Callable[..., CallRecord]:
    return _call


@pytest.fixture(scope="session")
def runs() -> st.SearchStrategy[list[CallRecord]]:
    """Runs of 0 to 40 calls in 5 seconds, with ties; some of them all failing."""
    calls = st.builds(
        lambda outcome, **times: _call(*outcome, **times),
        _outcomes(),
        started_ns=st.integers(NOON_NS, NOON_NS + 5_000_000_000),
        latency_ns=st.one_of(st.sampled_from([0, 1_000_000, 2_000_000]), st.integers(0, 10_000_000_000)),
        wait_ns=st.one_of(st.just(0), st.integers(0, 1_000_000_000)),
    )
    failing = st.builds(lambda error: _call(error=error), st.sampled_from(["timeout", "reset"]))
    return st.one_of(st.lists(calls, max_size=40, unique=True), st.lists(failing, max_size=10))
