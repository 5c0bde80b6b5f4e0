"""Mobiles: seeded pools of numbers to load with, each worker's own.

A pool is written as ``uniform``, ``zipf:1.1``, ``prefix:1380013``, ``file:PATH`` or ``magic:CODE``. Uniform, prefix and
file give no number twice, and no two shards the same one; but for magic, none gives a magic number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice, repeat
from math import gcd
from pathlib import Path
from random import Random

import numpy as np

from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode, find
from toolkit.api.wire import parse_mobile

_FIRST, _COUNT = 13_000_000_000, 7_000_000_000  # mainland mobiles: 11 digits, 1[3-9] first
_DIGITS = 11
_MAGIC = "199000"  # the sandbox answers these with a return code on demand
_BLOCK = 1024  # mobiles that are worked out at once
_PREFIX = re.compile(r"1[3-9][0-9]{0,9}")
_NEWCOMERS = 256  # how many workers may come beyond those that are expected
_HOT_COUNT = 1_000_000  # how many numbers a Zipf pool of one shard has

Pool = Callable[[int, int, int], Iterator[str]]
"""Gives the mobiles for a seed to one shard of several."""


def parse_pool(text: str) -> Pool:
    """Return the pool that a text names; raise InputError for none, and for a file that can't be used."""
    name, _, value = text.partition(":")
    if name not in _POOLS or (name == "uniform") != (not value):
        raise InputError(
            f"mobiles {text!r}: write uniform, zipf:1.1 (its exponent), prefix:1380013, file:PATH"
            f" or magic:{ReturnCode.NO_MONEY:d} (the return code)"
        )
    return _POOLS[name](value)


def shard_of(worker: int, expected: int) -> tuple[int, int]:
    """Return the shard of a worker, numbered from 0, and of how many shards: no two workers have one in common.

    Each of the ``expected`` workers has a shard, and one more shard is divided among those that come all the same, as
    in the place of one that was lost.
    """
    if worker < expected:
        return worker, expected + 1
    return expected + (expected + 1) * (worker - expected), (expected + 1) * _NEWCOMERS


def uniform(seed: int, shard: int = 0, shards: int = 1) -> Iterator[str]:
    """Yield mobiles spread evenly over all prefixes, the same for a seed; each of ``shards`` workers has its own.

    An affine permutation of the 7 * 10^9 valid numbers, so nothing has to be remembered.
    """
    start, step = _draw_permutation(seed)
    positions, stride = range(shard, _COUNT, shards), shards * step % _COUNT

    def block(first: int) -> Iterable[int]:
        steps = np.arange(min(_BLOCK, len(positions) - first), dtype=np.int64)
        numbers = _FIRST + ((start + positions[first] * step) % _COUNT + steps * stride) % _COUNT
        return numbers[numbers // 10 ** (_DIGITS - len(_MAGIC)) != int(_MAGIC)].tolist()  # type: ignore[no-any-return]

    return map(str, chain.from_iterable(map(block, range(0, len(positions), _BLOCK))))


def zipf(exponent: float, seed: int, shard: int = 0, shards: int = 1) -> Iterator[str]:
    """Yield mobiles for ever, the k-th hottest of a shard k ** exponent times more rarely than the hottest.

    The exponent is above 1. Each shard has its own million numbers, those that ``uniform`` gives it first.
    """
    (start, step), draw = _draw_permutation(seed), Random(f"{seed}/{shard}")
    positions = (shard + (rank - 1) * shards for rank in _ranks(exponent, draw))
    return _without_magic(str(_FIRST + (start + position * step) % _COUNT) for position in positions)


def sequential(prefix: str, shard: int = 0, shards: int = 1) -> Iterator[str]:
    """Yield the mobiles of a prefix in ascending order, each shard every ``shards``-th of them."""
    span = 10 ** (_DIGITS - len(prefix))
    return _without_magic(str(int(prefix) * span + number) for number in range(shard, span, shards))


def _draw_permutation(seed: int) -> tuple[int, int]:
    """Return where an affine permutation of all numbers starts, and its step."""
    draw = Random(seed)
    return draw.randrange(_COUNT), _draw_step(draw)


def _draw_step(draw: Random) -> int:
    while True:
        step = draw.randrange(_COUNT // 4, _COUNT)
        if gcd(step, _COUNT) == 1:
            return step


def _without_magic(mobiles: Iterator[str]) -> Iterator[str]:
    return (mobile for mobile in mobiles if not mobile.startswith(_MAGIC))


def _ranks(exponent: float, draw: Random) -> Iterator[int]:
    """Yield Zipf's ranks, from 1, by rejection: L. Devroye, Non-Uniform Random Variate Generation (1986), X.6.1."""
    power = exponent - 1
    scale = 2**power
    while True:
        log_rank = -math.log(1 - draw.random()) / power
        if log_rank >= math.log(_HOT_COUNT):
            continue
        rank = int(math.exp(log_rank))
        bound = (1 + 1 / rank) ** power
        if draw.random() * rank * (bound - 1) / (scale - 1) <= bound / scale:
            yield rank


def _read_zipf(value: str) -> Pool:
    try:
        exponent = float(value)
    except ValueError:
        exponent = math.nan
    if not 1 < exponent <= 100:
        raise InputError(f"mobiles zipf:{value}: the exponent is a number above 1, at most 100")
    return partial(zipf, exponent)


def _read_prefix(value: str) -> Pool:
    if not _PREFIX.fullmatch(value) or value.startswith(_MAGIC):
        raise InputError("mobiles prefix: give the first 2 to 11 digits of mainland mobiles, not the sandbox's magic")
    return lambda seed, shard, shards: sequential(value, shard, shards)


def _read_file(value: str) -> Pool:
    try:
        lines = Path(value).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"mobiles file:{value}: it can't be read: {type(problem).__name__}") from None
    mobiles = [parse_mobile(line) for line in lines]
    if None in mobiles or not mobiles:
        place = f"number {mobiles.index(None) + 1} of it is no mobile" if mobiles else "it is empty"
        raise InputError(f"mobiles file:{value}: {place}: write one mobile a line")
    distinct = tuple(dict.fromkeys(filter(None, mobiles)))
    return lambda seed, shard, shards: _without_magic(islice(distinct, shard, None, shards))


def _read_magic(value: str) -> Pool:
    code = find(int(value)) if value.isdecimal() else None
    if code is None:
        raise InputError(f"mobiles magic:{value}: give one of the API's return codes, as `smscode codes` lists them")
    return lambda seed, shard, shards: repeat(f"{_MAGIC}{code:d}")


_POOLS: dict[str, Callable[[str], Pool]] = {
    "uniform": lambda value: uniform,
    "zipf": _read_zipf,
    "prefix": _read_prefix,
    "file": _read_file,
    "magic": _read_magic,
}
