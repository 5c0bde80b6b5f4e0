import subprocess
import sys
from itertools import islice

import pytest

from toolkit.load.mobiles import uniform
from toolkit.wire import parse_mobile

MANY = 200_000


def test_no_mobile_comes_twice() -> None:
    assert len(set(islice(uniform(1), MANY))) == MANY


def test_every_mobile_is_valid_and_no_magic_one() -> None:
    for mobile in islice(uniform(2), MANY):
        assert parse_mobile(mobile) == mobile
        assert not mobile.startswith("199000")


def test_a_seed_gives_the_same_mobiles_again_and_another_seed_others() -> None:
    first, again, other = (list(islice(uniform(seed), 1000)) for seed in (3, 3, 4))
    assert first == again
    assert not set(first) & set(other)


def test_workers_share_no_mobile() -> None:
    lanes = [set(islice(uniform(5, lane, 4), MANY // 4)) for lane in range(4)]
    assert len(set().union(*lanes)) == MANY


def test_all_workers_together_have_the_mobiles_that_one_would_have() -> None:
    alone = set(islice(uniform(5), 4000))
    assert alone == set().union(*(islice(uniform(5, lane, 4), 1000) for lane in range(4)))


@pytest.mark.parametrize("seed", range(5))
def test_prefixes_are_used_evenly(seed: int) -> None:
    counts = dict.fromkeys((f"1{second}" for second in range(3, 10)), 0)
    for mobile in islice(uniform(seed), 70_000):
        counts[mobile[:2]] += 1
    assert all(9_500 < count < 10_500 for count in counts.values())


def test_mobiles_can_be_drawn_without_locust() -> None:
    check = "import sys, toolkit.load.mobiles; sys.exit('locust' in sys.modules or 'gevent' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
