from collections.abc import Iterator

import pytest
from support.api import Api, serving


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as server:
        yield server
