"""Mobiles: seeded sequences of numbers to load with. No number comes twice, and no two lanes share one."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from random import Random

_FIRST, _COUNT = 13_000_000_000, 7_000_000_000  # mainland mobiles: 11 digits, 1[3-9] first
_MAGIC = "199000"  # the sandbox answers these with a return code on demand


def uniform(seed: int, lane: int = 0, lanes: int = 1) -> Iterator[str]:
    """Yield mobiles spread evenly over all prefixes, the same for a seed; each of ``lanes`` workers takes its own lane.

    An affine permutation of the 7 * 10^9 valid numbers, so nothing has to be remembered.
    """
    draw = Random(seed)
    start, step = draw.randrange(_COUNT), _draw_step(draw)
    for position in range(lane, _COUNT, lanes):
        mobile = str(_FIRST + (start + position * step) % _COUNT)
        if not mobile.startswith(_MAGIC):
            yield mobile


def _draw_step(draw: Random) -> int:
    while True:
        step = draw.randrange(_COUNT // 4, _COUNT)
        if gcd(step, _COUNT) == 1:
            return step
