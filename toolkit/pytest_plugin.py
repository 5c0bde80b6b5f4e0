"""Fixtures of pytest for tests that need a sandbox of the API.

pytest loads this module in every environment that has the package, so the sandbox is imported only when a fixture is
used.

Options in pytest's configuration file:

- ``sms_sandbox_rules``: the rate limits of a mobile, each COUNT/DURATION on a line; default: those of the API
- ``sms_sandbox_ttl_s``: the lifetime of a code in seconds; default 300
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from toolkit.client import AsyncClient, Client
    from toolkit.testing import AsyncSandbox, Sandbox


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    parser.addini("sms_sandbox_rules", "Rate limits of sms_sandbox, each COUNT/DURATION, e.g. 1/60s", type="linelist")
    parser.addini("sms_sandbox_ttl_s", "Lifetime of a code of sms_sandbox in seconds, e.g. 300")


@pytest.fixture(scope="session")
def _shared_sms_sandbox(pytestconfig: pytest.Config) -> Iterator[Sandbox]:
    """Run one sandbox for all tests of a process."""
    from toolkit.api import defaults

    try:
        from toolkit.testing import sandbox
    except ModuleNotFoundError as problem:
        install = "pip install 'sms-code-toolkit[testing]'"
        raise pytest.UsageError(f"sms_sandbox needs the testing extra: {install} ({problem})") from None

    ttl_s = pytestconfig.getini("sms_sandbox_ttl_s") or str(defaults.TTL_S)
    if not ttl_s.isdecimal():
        raise pytest.UsageError(f"invalid sms_sandbox_ttl_s {ttl_s!r}: expected seconds, e.g. 300")
    with sandbox(rules=pytestconfig.getini("sms_sandbox_rules") or defaults.RULES, ttl_s=int(ttl_s)) as sms:
        yield sms


@pytest.fixture
def sms_sandbox(_shared_sms_sandbox: Sandbox) -> Sandbox:
    """Return a sandbox of the API that is reset before each test: a ``toolkit.testing.Sandbox``."""
    _shared_sms_sandbox.reset()
    return _shared_sms_sandbox


@pytest.fixture
def sms_async_sandbox(sms_sandbox: Sandbox) -> AsyncSandbox:
    """Return ``sms_sandbox`` for async tests: a ``toolkit.testing.AsyncSandbox``."""
    return sms_sandbox.to_async()


@pytest.fixture
def sms_client(sms_sandbox: Sandbox) -> Iterator[Client]:
    """Return a ``toolkit.Client`` of ``sms_sandbox``."""
    with sms_sandbox.client() as client:
        yield client


@pytest.fixture
def sms_async_client(sms_sandbox: Sandbox) -> AsyncClient:
    """Return a ``toolkit.AsyncClient`` of ``sms_sandbox``, for pytest-asyncio and anyio.

    The two plugins have no async fixtures in common. So this one isn't async: the client keeps no connection after a
    call, and needs no closing.
    """
    import httpx

    # The sandbox has no TLS, and loading certificates would take 20 ms a test.
    transport = httpx.AsyncHTTPTransport(verify=False, limits=httpx.Limits(max_keepalive_connections=0))
    return sms_sandbox.to_async().client(transport=transport)
