"""Apply rate limits to the sends of a whole day at once.

Each limit is a sliding window: a send at time t is accepted if fewer than ``count`` sends with the same key (a mobile
of an app) were accepted in (t - window, t]. Refused sends don't count. Whether a send is accepted depends only on
earlier sends with its key. Therefore all keys are decided side by side: the first send of each key, then the second
send of each key that has one, and so on. Each key has a ring buffer with the times of its last accepted sends:

    key   sends at           round 0     round 1             round 2
    a     10 s, 30 s, 75 s   accept 10   refuse 30 (20 < 60)    accept 75 (65 >= 60)
    b     12 s, 80 s         accept 12   accept 80 (68 >= 60)

(for the limit 1/60s). Most keys occur once and need no round. A day takes as many rounds as its busiest key has sends.
Each round is a few numpy operations on all its keys, instead of one step of Python for each send.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.api.rate_rules import Rule

Ints = NDArray[np.int64]
_S = 1_000_000_000
_NEVER_NS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class SendLimit:
    """A rate limit that may be lowered at some time.

    Attributes:
        count: The number of sends that are accepted in a window.
        window_ns: The length of the window.
        lowered_count: The number from ``lowered_ns`` on.
        lowered_ns: The time of the change, ns since 1970.
    """

    count: int
    window_ns: int
    lowered_count: int
    lowered_ns: int = _NEVER_NS

    @classmethod
    def from_rule(cls, rule: Rule) -> SendLimit:
        """Return a limit that is not lowered."""
        return cls(rule.count, rule.window_s * _S, rule.count)


@dataclass(frozen=True, slots=True)
class AcceptedSends:
    """Accepted sends: a key for each mobile of an app, and times in ns."""

    keys: Ints
    times_ns: Ints

    def within(self, limits: Sequence[SendLimit], now_ns: int) -> AcceptedSends:
        """Return the sends that are still in the window of a limit."""
        longest_ns = max((limit.window_ns for limit in limits), default=0)
        kept = self.times_ns + longest_ns > now_ns
        return AcceptedSends(self.keys[kept], self.times_ns[kept])


NO_SENDS = AcceptedSends(np.zeros(0, np.int64), np.zeros(0, np.int64))


def are_accepted(limits: Sequence[SendLimit], earlier: AcceptedSends, keys: Ints, times_ns: Ints) -> NDArray[np.bool_]:
    """Return for each send whether it is accepted: whether every limit has room for one more.

    Args:
        limits: The rate limits. A send at time t has left a window at t + window.
        earlier: Sends that were accepted before all of these.
        keys: The key of each send.
        times_ns: The time of each send, in any order.
    """
    accepted = np.ones(len(earlier.keys) + len(keys), np.bool_)
    if limits:
        all_keys, all_ns = np.concatenate([earlier.keys, keys]), np.concatenate([earlier.times_ns, times_ns])
        order = np.lexsort((all_ns, all_keys))
        rows, groups, ranks = _repeated_keys(order, all_keys[order])
        accepted[rows] = _decide_by_rank(limits, groups, ranks, all_ns[rows], rows < len(earlier.keys))
    return accepted[len(earlier.keys) :]


def _repeated_keys(order: Ints, keys: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the rows with a key that occurs more than once, the number of each one's key, and its rank there."""
    firsts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    sizes = np.diff(np.concatenate([firsts, [len(keys)]]))
    group_sizes = sizes[sizes > 1]
    rows = order[np.repeat(sizes > 1, sizes)]
    ends = group_sizes.cumsum()
    ranks = np.arange(len(rows)) - np.repeat(ends - group_sizes, group_sizes)
    return rows, np.repeat(np.arange(len(group_sizes)), group_sizes), ranks


def _decide_by_rank(
    limits: Sequence[SendLimit], groups: Ints, ranks: Ints, times_ns: Ints, is_earlier: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return whether each send is accepted; decide the first send of every group, then the second, and so on."""
    decided = np.ones(len(groups), np.bool_)
    if not len(groups):
        return decided
    depth = min(max(max(limit.count, limit.lowered_count) for limit in limits), int(ranks.max()) + 1)
    ring_ns = np.zeros((int(groups[-1]) + 1, depth), np.int64)  # for each group, its last accepted times
    counts = np.zeros(len(ring_ns), np.int64)
    by_rank = np.argsort(ranks, kind="stable")
    for rows in np.split(by_rank, np.bincount(ranks).cumsum()[:-1]):
        group, now_ns = groups[rows], times_ns[rows]
        accepted = is_earlier[rows] | ~_exceeds(limits, ring_ns, counts, group, now_ns)
        decided[rows] = accepted
        group = group[accepted]
        ring_ns[group, counts[group] % depth] = now_ns[accepted]
        counts[group] += 1
    return decided


def _exceeds(limits: Sequence[SendLimit], ring_ns: Ints, counts: Ints, group: Ints, now_ns: Ints) -> NDArray[np.bool_]:
    """Return for each group whether one more send exceeds a limit."""
    exceeds = np.zeros(len(group), np.bool_)
    done = counts[group]
    for limit in limits:
        allowed = np.where(now_ns >= limit.lowered_ns, limit.lowered_count, limit.count)
        oldest_ns = ring_ns[group, (done - allowed) % ring_ns.shape[1]]
        exceeds |= (done >= allowed) & (oldest_ns + limit.window_ns > now_ns)
    return exceeds
