"""A store's URL names its engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from toolkit.api.errors import SettingsError
from toolkit.service.core.policy import Policy
from toolkit.service.stores.open_store import is_shared, open_store, read_path


@pytest.mark.parametrize("url", ["", "store.db", "postgres:///x", "redi://user:hidden@host", "/sms.db", "file:///x"])
def test_the_error_for_an_unknown_engine_repeats_only_the_scheme(url: str) -> None:
    with pytest.raises(SettingsError, match=r"expected sqlite:///path\.db, or redis://host:port") as problem:
        is_shared(url)
    assert "hidden" not in str(problem.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster", "rediss+cluster"])
def test_a_redis_is_shared_by_processes_and_a_sqlite_file_is_not(scheme: str) -> None:
    assert is_shared(f"{scheme}://localhost:6379")
    assert not is_shared("sqlite:///sms.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:path.db", "sqlite://path.db", "sqlite:///:memory:"])
def test_a_sqlite_url_without_a_path_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"sqlite:////path\.db for an absolute path"):
        read_path(url)


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "127.0.0.1:hidden",
        "127.0.0.1:65536",
        "[::1",
        "user:hidden/1@127.0.0.1:1",
        "127.0.0.1:1/one",
        "127.0.0.1:1?hidden=1",
        "127.0.0.1:1?socket_timeout=600",
        "127.0.0.1:1?protocol=",
    ],
)
@pytest.mark.parametrize("scheme", ["redis", "rediss+cluster"])
def test_the_error_for_an_invalid_redis_url_does_not_repeat_it(scheme: str, rest: str) -> None:
    with pytest.raises(SettingsError, match=r"write redis://user:password@host:port/db") as problem:
        asyncio.run(open_store(f"{scheme}://{rest}", Policy(), Path("smscode.key")))
    assert "hidden" not in str(problem.value)


def test_paths_are_relative_with_three_slashes_and_absolute_with_four() -> None:
    assert read_path("sqlite:///a/b.db") == Path("a/b.db")
    assert read_path("sqlite:////a/b.db") == Path("/a/b.db")
