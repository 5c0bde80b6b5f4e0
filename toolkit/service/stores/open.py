"""Which engine a store's URL names, and opening it; each engine is imported only where it is asked for."""

from __future__ import annotations

from pathlib import Path

from toolkit.api.errors import SettingsError
from toolkit.service.core.policy import Policy
from toolkit.service.metrics.counters import Histogram
from toolkit.service.stores.base import Store

WAYS = "give sqlite:///path.db, or redis://host:port"

_SHARED = ("redis", "rediss", "redis+cluster", "rediss+cluster")


def is_shared(url: str) -> bool:
    """Return whether several processes can have a store open at once; raise SettingsError for a URL that names none."""
    scheme = url.partition(":")[0]  # the rest may hold a password
    if scheme not in ("sqlite", *_SHARED):
        raise SettingsError(f"store {scheme}: there is no such engine; {WAYS}")
    return scheme in _SHARED


def read_path(url: str) -> Path:
    """Return the file of a SQLite store: ``sqlite:///path.db`` is relative, ``sqlite:////path.db`` absolute."""
    path = url.removeprefix("sqlite:///")
    if path in (url, ""):
        raise SettingsError(f"store {url!r}: give sqlite:///path.db, or sqlite:////path.db for an absolute path")
    return Path(path)


async def open_store(
    url: str, policy: Policy, key_file: Path, speed: float | None = None, sizes: Histogram | None = None
) -> Store:
    """Open the store of a URL; raise RunError where this can't be.

    ``key_file`` is of a shared store; ``speed`` None leaves a shared store's clock as fast as it is. ``sizes``: of what
    goes to the disk, or to Redis, at once, in calls.
    """
    if is_shared(url):
        from toolkit.service.stores.redis.store import RedisStore

        return await RedisStore.open(url, policy, key_file, speed, sizes=sizes)
    from toolkit.service.stores.sqlite.store import SqliteStore

    return SqliteStore.open(read_path(url), policy, speed or 1.0, sizes=sizes)
