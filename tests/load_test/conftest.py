from collections.abc import Iterator

import pytest
from support.api import Api, serving


@pytest.fixture
def api() -> Iterator[Api]:
    """A server that takes 10 ms for each response, so that users without a wait time don't use up the CPU."""
    with serving() as server:
        server.latency_s = 0.01
        yield server
