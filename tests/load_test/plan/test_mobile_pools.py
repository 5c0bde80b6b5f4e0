"""Pools of mobiles: what each of them promises, for any seed and any number of shards."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.errors import InputError
from toolkit.api.wire import parse_mobile
from toolkit.load_test.plan.mobile_pools import parse_pool, sequential, shard_of, uniform, zipf

MANY = 200_000
MAGIC = "199000"
SEEDS = st.integers(0, 1 << 32)
LANES = st.integers(1, 8)
POOLS = st.sampled_from(["uniform", "zipf:1.1", "zipf:3", "prefix:1380013", "prefix:19900", "prefix:139001380"])


def test_no_uniform_mobile_comes_twice() -> None:
    assert len(set(islice(uniform(1), MANY))) == MANY


@given(POOLS, SEEDS, LANES)
def test_every_mobile_is_valid_and_no_magic_one(pool: str, seed: int, shards: int) -> None:
    for mobile in islice(parse_pool(pool)(seed, shards - 1, shards), 200):
        assert parse_mobile(mobile) == mobile
        assert not mobile.startswith(MAGIC)


@given(POOLS, SEEDS, LANES)
def test_a_seed_gives_the_same_mobiles_again(pool: str, seed: int, shards: int) -> None:
    first, again = (list(islice(parse_pool(pool)(seed, 0, shards), 100)) for _ in range(2))
    assert first == again


def test_another_seed_gives_other_mobiles() -> None:
    assert not set(islice(uniform(3), 1000)) & set(islice(uniform(4), 1000))


@given(POOLS, SEEDS, st.integers(2, 8))
def test_workers_share_no_mobile(pool: str, seed: int, shards: int) -> None:
    taken = [set(islice(parse_pool(pool)(seed, shard, shards), 300)) for shard in range(shards)]
    assert len(set().union(*taken)) == sum(map(len, taken))


@given(SEEDS, LANES)
def test_all_workers_together_have_the_mobiles_that_one_would_have(seed: int, shards: int) -> None:
    alone = set(islice(uniform(seed), 40 * shards))
    together = set().union(*(islice(uniform(seed, shard, shards), 40) for shard in range(shards)))
    assert len(alone ^ together) <= 2  # a magic number that was left out shifts one of them


@pytest.mark.parametrize("seed", range(5))
def test_prefixes_are_used_evenly(seed: int) -> None:
    counts = dict.fromkeys((f"1{second}" for second in range(3, 10)), 0)
    for mobile in islice(uniform(seed), 70_000):
        counts[mobile[:2]] += 1
    assert all(9_500 < count < 10_500 for count in counts.values())


@pytest.mark.parametrize("exponent", [1.1, 1.5, 2.0])
def test_hot_mobiles_are_as_hot_as_zipf_says(exponent: float) -> None:
    calls = Counter(islice(zipf(exponent, 1), MANY)).most_common(5)
    for rank, (_, count) in enumerate(calls, start=1):
        assert calls[0][1] / count == pytest.approx(rank**exponent, rel=0.1)


def test_a_prefix_is_gone_through_in_order_to_its_end() -> None:
    assert list(sequential("138001380")) == [f"138001380{n:02}" for n in range(100)]
    assert list(sequential("13800138000", 0, 2)) == ["13800138000"]


def test_a_prefix_around_the_magic_numbers_leaves_them_out() -> None:
    assert len(list(sequential("19900"))) == 10**6 - 10**5


def test_a_file_gives_each_of_its_mobiles_once(tmp_path: Path) -> None:
    file = tmp_path / "mobiles.txt"
    file.write_text("13800138000\n+8613900139000\n\n13800138000\n13700137000\n")
    pool = parse_pool(f"file:{file}")
    assert list(pool(1, 0, 1)) == ["13800138000", "13900139000", "13700137000"]
    assert [list(pool(1, shard, 2)) for shard in range(2)] == [["13800138000", "13700137000"], ["13900139000"]]


def test_magic_gives_the_number_of_a_return_code() -> None:
    assert list(islice(parse_pool("magic:50014")(1, 0, 1), 2)) == ["19900050014"] * 2


@pytest.mark.parametrize(
    "text",
    ["", "even", "uniform:1", "zipf", "zipf:1", "zipf:nan", "prefix:", "prefix:12", "prefix:138001380001",
     "prefix:199000", "file:", "file:/no/such", "magic:1", "magic:x"],
)  # fmt: skip
def test_what_names_no_pool_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="mobiles"):
        parse_pool(text)


def test_a_file_with_something_else_in_it_is_refused_without_repeating_it(tmp_path: Path) -> None:
    file = tmp_path / "mobiles.txt"
    file.write_text("13800138000\n23800138000\n")
    with pytest.raises(InputError, match="entry 2 is not a mobile") as caught:
        parse_pool(f"file:{file}")
    assert "23800138000" not in str(caught.value)


def test_mobiles_can_be_drawn_without_locust() -> None:
    check = (
        "import sys, toolkit.load_test.plan.mobile_pools; sys.exit('locust' in sys.modules or 'gevent' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@given(st.integers(1, 5))
def test_no_two_workers_have_a_lane_in_common_and_expected_ones_have_nearly_all(expected: int) -> None:
    taken: list[int] = []
    for worker in range(expected + 4):
        shard, shards = shard_of(worker, expected)
        taken += range(shard, 10_000, shards)
    assert len(set(taken)) == len(taken) >= 10_000 * expected // (expected + 1)
