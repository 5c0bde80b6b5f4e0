"""The engines that a store runs on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.redis import RedisServer, need_redis, redis_cluster, redis_server
from support.stores import Case


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that the whole run shares."""
    need_redis()
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """A Redis Cluster of three nodes that the whole run shares."""
    need_redis()
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture(params=["sqlite", "redis", "cluster"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """Every engine, each with an empty database."""
    if request.param == "sqlite":
        return Case(f"sqlite:///{tmp_path}/store.db", tmp_path)
    return _redis_case(request, tmp_path)


@pytest.fixture(params=["redis", "cluster"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """Every engine that several machines can share."""
    return _redis_case(request, tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for one test, which may stop and kill it; it keeps what it answered."""
    need_redis()
    with redis_server(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def _redis_case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    found: RedisServer | list[RedisServer] = request.getfixturevalue(request.param)
    nodes = found if isinstance(found, list) else [found]
    for node in nodes:
        node.empty()
    return Case(nodes[0].url.replace("redis:", "redis+cluster:" if len(nodes) > 1 else "redis:"), tmp_path)
