"""Cut the calls of two sides of a comparison into blocks of time, whose length follows from their memory.

The sides are two runs or periods. ``block_length`` computes how long a block must be, ``resampling`` tests the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from toolkit.analysis.calls import span
from toolkit.analysis.calls_table import IntoCalls
from toolkit.analysis.change_detection.block_length import block_length, cut_blocks, widening
from toolkit.analysis.change_detection.resampling import Bools
from toolkit.analysis.change_detection.time_buckets import WIDTHS_NS, Floats, Ints
from toolkit.analysis.timestamps import NS_PER_S

MIN_BEYOND = 10  # calls of a side above and below a percentile: fewer don't determine it
_BUCKETS = 96  # of the shorter side by default, in which the memory is measured
_BLOCKS = 24  # of the shorter side at most, without a width: more have more power, but split clusters
MIN_BLOCKS = 8  # of a side: fewer have too few permutations for a small p-value
_LENGTH_STEP = 1.5  # between the lengths of blocks: a smaller step takes more time, as each length is tested on its own


def bucket_width_ns(sides: Iterable[IntoCalls]) -> int:
    """Return the width of a bucket by default: the largest one that gives the shorter side 96 buckets."""
    periods = [period for side in sides if (period := span(side))]
    shorter = min(((last - first).value for first, last in periods), default=0)
    return max((width for width in WIDTHS_NS if width * (_BUCKETS - 1) < shorter), default=WIDTHS_NS[0])


def both_sides(counts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the counts of both sides in one frame, with the column side: 0 for a, 1 for b."""
    return pd.concat([frame.assign(side=side) for side, frame in enumerate(counts)], ignore_index=True)


@dataclass(frozen=True, slots=True)
class Resampling:
    """The parameters of the tests. ``width``: of a bucket, ns; with ``is_width_given`` it is the least block."""

    permutations: int
    seed: int
    width: int
    is_width_given: bool = False


@dataclass(frozen=True, slots=True)
class SideBlocks:
    """Blocks of time of both sides. ``firsts``: the first row of each block in the matrix of counts."""

    firsts: Ints
    is_b: Bools
    block_s: float

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the number of blocks of a and of b."""
        return int((~self.is_b).sum()), int(self.is_b.sum())

    @property
    def note(self) -> str:
        """Return why nothing is tested; "" if the sides have enough blocks."""
        few = [f"{name} has {size}" for name, size in zip("ab", self.sizes, strict=True) if size < MIN_BLOCKS]
        return f"too few blocks of time with calls: {' and '.join(few)} of {MIN_BLOCKS}" if few else ""

    def sums(self, values: Floats) -> Floats:
        """Return the sum of each block's rows."""
        return np.asarray(np.add.reduceat(values, self.firsts, axis=0), np.float64)

    def sides(self, values: Floats) -> tuple[Floats, Floats]:
        """Return the sums of a's blocks and those of b's."""
        sums = self.sums(values)
        return sums[~self.is_b], sums[self.is_b]

    def widening(self, calls: Floats, found: Floats) -> float:
        """Return the factor of the variance for the correlation of neighbouring blocks."""
        pairs = zip(self.sides(found), self.sides(calls), strict=True)
        return widening([hit - of * (hit.sum() / of.sum()) for hit, of in pairs])


@dataclass(frozen=True, slots=True)
class SideBuckets:
    """The calls of one endpoint in each bucket of time; those of a come first, then those of b.

    ``position``: number of buckets since the side's first one; ``sizes``: buckets from the first to the last, by side.
    """

    calls: Floats
    is_b: Bools
    position: Ints
    sizes: tuple[int, int]

    @classmethod
    def of(cls, rows: pd.DataFrame, calls: Floats, width: int) -> SideBuckets:
        """Number the buckets; ``rows`` has the columns side and bucket_ns, by which it is sorted."""
        is_b = rows["side"].to_numpy() == 1
        position = rows["bucket_ns"].to_numpy(np.int64) // width
        position -= rows.assign(position=position).groupby("side")["position"].transform("min").to_numpy()
        size_a, size_b = (int(position[is_b == side].max(initial=-1)) + 1 for side in (False, True))
        return cls(calls, is_b, position, (size_a, size_b))

    def sums(self, values: Floats) -> tuple[Floats, Floats]:
        """Return the sums over a's buckets and over b's."""
        return values[~self.is_b].sum(axis=0), values[self.is_b].sum(axis=0)

    def residuals(self, found: Floats) -> list[Floats]:
        """Return for each side and bucket, also without calls, the calls found less those that its share expects."""
        series = []
        for side, size in zip((False, True), self.sizes, strict=True):
            of_side, evenly = self.is_b == side, np.zeros(size)
            calls, hits = self.calls[of_side], found[of_side]
            evenly[self.position[of_side]] = hits - calls * (hits.sum() / max(calls.sum(), 1))
            series.append(evenly)
        return series

    def cut(self, length: float, width: int) -> SideBlocks:
        """Cut both sides into blocks of about ``length`` buckets; a block without calls is left out."""
        number = np.zeros(len(self.position), np.int64)
        for side, size in zip((False, True), self.sizes, strict=True):
            of_side = self.is_b == side
            number[of_side] = np.searchsorted(cut_blocks(size, length), self.position[of_side], "right") * 2 + side
        firsts = np.flatnonzero(np.diff(number, prepend=-1))
        return SideBlocks(firsts, self.is_b[firsts], length * width / NS_PER_S)

    def blocks(self, found: Floats, resampling: Resampling) -> Iterator[tuple[Ints, SideBlocks]]:
        """Yield columns of ``found`` whose memory needs blocks of the same length, with these blocks."""
        shorter = min(self.sizes)
        least = 1.0 if resampling.is_width_given else max(1.0, shorter / _BLOCKS)
        most = max(least, shorter / MIN_BLOCKS)
        memory = np.array([block_length(self.residuals(column)) if shorter else 1.0 for column in found.T])
        steps = np.ceil(np.log(np.maximum(memory / least, 1)) / math.log(_LENGTH_STEP) - 1e-9)
        lengths = np.minimum(least * _LENGTH_STEP**steps, most)
        for length in np.unique(lengths):
            yield np.flatnonzero(lengths == length), self.cut(float(length), resampling.width)
