"""Generate the mobiles of a load test from a seed, a shard of a pool for each worker.

| pool | mobiles |
|---|---|
| ``uniform`` | all mainland numbers in random order |
| ``zipf:1.1`` | a million numbers of each shard, some far more often than others; the exponent is above 1 |
| ``prefix:1380013`` | the numbers of a prefix, in ascending order |
| ``file:PATH`` | the numbers of a file, one per line |
| ``magic:CODE`` | the number that a sandbox answers with a return code |

The pools uniform, prefix and file yield each number once, and no two shards share a number. Only magic yields magic
numbers.
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
_BLOCK = 1024  # mobiles calculated at once
_PREFIX = re.compile(r"1[3-9][0-9]{0,9}")
_EXTRA_WORKERS = 256  # workers that may join beyond the expected ones
_HOT_COUNT = 1_000_000  # numbers in one shard of a Zipf pool

Pool = Callable[[int, int, int], Iterator[str]]
"""Called with a seed, the number of a shard and the number of shards; returns the mobiles of that shard."""


def parse_pool(text: str) -> Pool:
    """Parse a pool.

    >>> next(parse_pool("prefix:1380013")(0, 0, 1))
    '13800130000'

    Raises:
        InputError: The text is not a pool, or the file cannot be read or contains something else than mobiles.
    """
    name, _, value = text.partition(":")
    if name not in _POOLS or (name == "uniform") != (not value):
        raise InputError(
            f"invalid mobiles {text!r}: expected uniform, zipf:1.1 (an exponent), prefix:1380013, file:PATH"
            f" or magic:{ReturnCode.NO_MONEY:d} (a return code)"
        )
    return _POOLS[name](value)


def shard_of(worker: int, expected: int) -> tuple[int, int]:
    """Return the shard of a worker and the number of shards, so that no two workers share a mobile.

    Each of the ``expected`` workers has its own of ``expected + 1`` shards. The last one is divided among workers that
    join later, e.g. to replace a lost one.

    Args:
        worker: Number of the worker, from 0.
        expected: Number of workers that the test was started with.
    """
    if worker < expected:
        return worker, expected + 1
    return expected + (expected + 1) * (worker - expected), (expected + 1) * _EXTRA_WORKERS


def uniform(seed: int, shard: int = 0, shards: int = 1) -> Iterator[str]:
    """Yield mobiles spread evenly over all prefixes. The same seed gives the same mobiles.

    The order is an affine permutation of the 7 * 10^9 valid numbers, so that no number repeats and none is stored:
    number i of the pool is ``(start + i * step) % 7e9``, with a step coprime to 7e9. Shard k takes every i that is k
    modulo the number of shards.
    """
    start, step = _draw_permutation(seed)
    positions, stride = range(shard, _COUNT, shards), shards * step % _COUNT

    def block(first: int) -> Iterable[int]:
        steps = np.arange(min(_BLOCK, len(positions) - first), dtype=np.int64)
        numbers = _FIRST + ((start + positions[first] * step) % _COUNT + steps * stride) % _COUNT
        return numbers[numbers // 10 ** (_DIGITS - len(_MAGIC)) != int(_MAGIC)].tolist()  # type: ignore[no-any-return]

    return map(str, chain.from_iterable(map(block, range(0, len(positions), _BLOCK))))


def zipf(exponent: float, seed: int, shard: int = 0, shards: int = 1) -> Iterator[str]:
    """Yield mobiles without end; the k-th most frequent one is k ** exponent times as rare as the first.

    Args:
        exponent: Exponent of Zipf's law, above 1.
        seed: The same seed gives the same mobiles.
        shard: Number of the shard, from 0. It has a million numbers, the first ones that ``uniform`` yields for it.
        shards: Number of shards.
    """
    (start, step), draw = _draw_permutation(seed), Random(f"{seed}/{shard}")
    positions = (shard + (rank - 1) * shards for rank in _ranks(exponent, draw))
    return _without_magic(str(_FIRST + (start + position * step) % _COUNT) for position in positions)


def sequential(prefix: str, shard: int = 0, shards: int = 1) -> Iterator[str]:
    """Yield the mobiles of a prefix in ascending order; each shard takes every ``shards``-th one."""
    span = 10 ** (_DIGITS - len(prefix))
    return _without_magic(str(int(prefix) * span + number) for number in range(shard, span, shards))


def _draw_permutation(seed: int) -> tuple[int, int]:
    """Return the start and the step of an affine permutation of all numbers."""
    draw = Random(seed)
    start = draw.randrange(_COUNT)
    while True:
        step = draw.randrange(_COUNT // 4, _COUNT)
        if gcd(step, _COUNT) == 1:
            return start, step


def _without_magic(mobiles: Iterator[str]) -> Iterator[str]:
    return (mobile for mobile in mobiles if not mobile.startswith(_MAGIC))


def _ranks(exponent: float, draw: Random) -> Iterator[int]:
    """Yield ranks of Zipf's law, from 1, by rejection (L. Devroye, Non-Uniform Random Variate Generation, X.6.1)."""
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
        raise InputError(f"invalid mobiles 'zipf:{value}': expected an exponent above 1 and at most 100, e.g. zipf:1.1")
    return partial(zipf, exponent)


def _read_prefix(value: str) -> Pool:
    if not _PREFIX.fullmatch(value) or value.startswith(_MAGIC):
        raise InputError(f"invalid mobiles 'prefix:{value}': expected the first 2 to 11 digits of mainland mobiles")
    return lambda seed, shard, shards: sequential(value, shard, shards)


def _read_file(value: str) -> Pool:
    try:
        lines = Path(value).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8"
        raise InputError(f"invalid mobiles 'file:{value}': the file can't be read: {reason}") from None
    mobiles = [parse_mobile(line) for line in lines]
    if None in mobiles or not mobiles:
        reason = f"entry {mobiles.index(None) + 1} is not a mobile" if mobiles else "the file is empty"
        raise InputError(f"invalid mobiles 'file:{value}': {reason}; expected one mobile per line")
    distinct = tuple(dict.fromkeys(filter(None, mobiles)))
    return lambda seed, shard, shards: _without_magic(islice(distinct, shard, None, shards))


def _read_magic(value: str) -> Pool:
    code = find(int(value)) if value.isdecimal() else None
    if code is None:
        raise InputError(f"invalid mobiles 'magic:{value}': expected a return code, see `smscode codes`")
    return lambda seed, shard, shards: repeat(f"{_MAGIC}{code:d}")


_POOLS: dict[str, Callable[[str], Pool]] = {
    "uniform": lambda value: uniform,
    "zipf": _read_zipf,
    "prefix": _read_prefix,
    "file": _read_file,
    "magic": _read_magic,
}
