"""Windows: which sends the frequency rules accept. Exact sliding windows, over a whole day's sends at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.api.rate_rules import Rule

Ints = NDArray[np.int64]
_S = 1_000_000_000
NEVER_NS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Limit:
    """A rule that allows ``later`` in place of ``count`` from an instant on."""

    count: int
    window_ns: int
    later: int
    since_ns: int = NEVER_NS

    @classmethod
    def of(cls, rule: Rule) -> Limit:
        """Make a limit that stays as it is."""
        return cls(rule.count, rule.window_s * _S, rule.count)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Sends that were accepted: their keys, one for each mobile of an app, and their times in ns."""

    keys: Ints
    times_ns: Ints

    def since(self, limits: Sequence[Limit], now_ns: int) -> Accepted:
        """Return those that a limit still counts at a time."""
        longest_ns = max((limit.window_ns for limit in limits), default=0)
        kept = self.times_ns + longest_ns > now_ns
        return Accepted(self.keys[kept], self.times_ns[kept])


NOTHING = Accepted(np.zeros(0, np.int64), np.zeros(0, np.int64))


def admit(limits: Sequence[Limit], earlier: Accepted, keys: Ints, times_ns: Ints) -> NDArray[np.bool_]:
    """Tell which sends are accepted: those that come when every limit has room for one more.

    One at t has left a window at t + window. A refused send counts for nothing. ``earlier`` are not later than a send.
    """
    decided = np.ones(len(earlier.keys) + len(keys), np.bool_)
    if limits:
        all_keys, all_ns = np.concatenate([earlier.keys, keys]), np.concatenate([earlier.times_ns, times_ns])
        order = np.lexsort((all_ns, all_keys))
        rows, groups, ranks = _repeated(order, all_keys[order])
        given = rows < len(earlier.keys)
        decided[rows] = _decide(limits, groups, ranks, all_ns[rows], given)
    return decided[len(earlier.keys) :]


def _repeated(order: Ints, keys: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the rows whose key comes more than once, each one's group and its rank in there, by key and time."""
    firsts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    sizes = np.diff(np.concatenate([firsts, [len(keys)]]))
    group_sizes = sizes[sizes > 1]
    rows = order[np.repeat(sizes > 1, sizes)]
    ends = group_sizes.cumsum()
    ranks = np.arange(len(rows)) - np.repeat(ends - group_sizes, group_sizes)
    return rows, np.repeat(np.arange(len(group_sizes)), group_sizes), ranks


def _decide(
    limits: Sequence[Limit], groups: Ints, ranks: Ints, times_ns: Ints, given: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Decide the first send of every group, then the second of every group that has one, and so on."""
    decided = np.ones(len(groups), np.bool_)
    if not len(groups):
        return decided
    depth = min(max(max(limit.count, limit.later) for limit in limits), int(ranks.max()) + 1)
    ring = np.zeros((int(groups[-1]) + 1, depth), np.int64)  # of each group, when its last ones were accepted
    counts = np.zeros(len(ring), np.int64)
    by_rank = np.argsort(ranks, kind="stable")
    for rows in np.split(by_rank, np.bincount(ranks).cumsum()[:-1]):
        group, now_ns = groups[rows], times_ns[rows]
        accepted = given[rows] | ~_is_over(limits, ring, counts, group, now_ns)
        decided[rows] = accepted
        group = group[accepted]
        ring[group, counts[group] % depth] = now_ns[accepted]
        counts[group] += 1
    return decided


def _is_over(limits: Sequence[Limit], ring: Ints, counts: Ints, group: Ints, now_ns: Ints) -> NDArray[np.bool_]:
    """Tell which groups have no room for one more."""
    over = np.zeros(len(group), np.bool_)
    done = counts[group]
    for limit in limits:
        allowed = np.where(now_ns >= limit.since_ns, limit.later, limit.count)
        oldest_ns = ring[group, (done - allowed) % ring.shape[1]]
        over |= (done >= allowed) & (oldest_ns + limit.window_ns > now_ns)
    return over
