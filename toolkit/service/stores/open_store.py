"""Open the store of a URL. An engine is imported only if its URL is used."""

from __future__ import annotations

import asyncio
from pathlib import Path

from toolkit.api.errors import SettingsError
from toolkit.service.core.policy import Policy
from toolkit.service.metrics.counters import Histogram
from toolkit.service.stores.base import LoadProgress, Store
from toolkit.settings import SHARED_STORES, STORE_SCHEMES, STORE_URLS


def is_shared(url: str) -> bool:
    """Return whether several processes can open the store at once.

    >>> is_shared("redis://localhost:6379"), is_shared("sqlite:///sms.db")
    (True, False)

    Raises:
        SettingsError: if no engine has the URL's scheme. The message repeats the scheme only: the rest may hold a
            password.
    """
    scheme = url.partition(":")[0]
    if scheme not in STORE_SCHEMES:
        raise SettingsError(f"unknown store engine {scheme!r}: expected {STORE_URLS}")
    return scheme in SHARED_STORES


def read_path(url: str) -> Path:
    """Return the file of a SQLite store's URL: relative after three slashes, absolute after four.

    >>> str(read_path("sqlite:///sms.db")), str(read_path("sqlite:////var/lib/sms.db"))
    ('sms.db', '/var/lib/sms.db')

    Raises:
        SettingsError: if the URL has no path.
    """
    path = url.removeprefix("sqlite:///")
    if path in (url, "", ":memory:"):  # a store outlives its process, so it can't be in memory
        raise SettingsError(
            f"invalid store {url!r}: give sqlite:///path.db, or sqlite:////path.db for an absolute path"
        )
    return Path(path)


async def open_store(
    url: str,
    policy: Policy,
    key_file: Path,
    speed: float | None = None,
    batch_sizes: Histogram | None = None,
    progress: LoadProgress | None = None,
) -> Store:
    """Open a store.

    Args:
        url: such as ``sqlite:///sms.db`` or ``redis://localhost:6379``.
        policy: the limits that the service enforces.
        key_file: the key of a shared store's digests. The key of a SQLite store is in the file ``<path>.key``.
        speed: seconds of the service clock in one real second; None leaves a shared store's clock as it is.
        batch_sizes: counts the calls of each commit, or of each pipeline that is sent to Redis.
        progress: is kept up to date while a SQLite store is loaded, in a thread.

    Raises:
        SettingsError: if the URL is not valid.
        RunError: if the store cannot be opened.
    """
    if is_shared(url):
        from toolkit.service.stores.redis.store import RedisStore

        return await RedisStore.open(url, policy, key_file, speed, batch_sizes=batch_sizes)
    from toolkit.service.stores.sqlite.store import SqliteStore

    path = read_path(url)
    return await asyncio.to_thread(
        SqliteStore.open, path, policy, speed or 1.0, batch_sizes=batch_sizes, progress=progress
    )
