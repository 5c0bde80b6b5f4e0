"""Fixed windows: those that don't slide, but begin by the clock or with a send, and how many sends each holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.analysis.rate_limits.send_attempts import NS_PER_MS, Accepted, Attempts, Bools, Ints, differs
from toolkit.analysis.timestamps import NS_PER_S


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of accepted sends.

    among: the places of those that are surely in one. opens: for each of them, which of them is the first in its
    window. until_ns: when that ends.
    """

    attempts: Attempts
    among: Ints
    opens: Ints
    until_ns: Ints

    def before_accepted(self) -> Ints:
        """Count for each of ``among`` those before it in its window."""
        return np.arange(len(self.among)) - self.opens

    def before_refused(self, which: Ints) -> Ints:
        """Count for each refusal those before it in its window."""
        accepted, refused = self.attempts.accepted, self.attempts.refused
        upto = np.searchsorted(self.among, refused.before[which])
        if not len(self.among):
            return np.zeros_like(upto)
        last = np.maximum(upto - 1, 0)
        same = (upto > 0) & (accepted.mobile[self.among[last]] == refused.mobile[which])
        return np.where(same & (refused.start_ns[which] < self.until_ns[last]), upto - self.opens[last], 0)


def by_clock(attempts: Attempts, window_s: int, offset_s: int) -> Windows:
    """Return the windows that begin so long after each multiple of their length."""
    it, width_ns, offset_ns, skew_ns = attempts.accepted, window_s * NS_PER_S, offset_s * NS_PER_S, attempts.skew_ns
    number = (it.start_ns - skew_ns - offset_ns) // width_ns
    among = np.flatnonzero(number == (it.end_ns + skew_ns - offset_ns) // width_ns)
    number = number[among]
    opens = _latest(differs(it.mobile[among], number))
    return Windows(attempts, among, opens, (number + 1) * width_ns + offset_ns)


def from_first_send(attempts: Attempts, window_s: int) -> Windows:
    """Return the windows that begin with the first accepted send that no window holds."""
    opens = _latest(_begins(attempts.accepted, attempts.skew_ns, window_s * NS_PER_S))
    until_ns = attempts.accepted.start_ns[opens] + window_s * NS_PER_S
    return Windows(attempts, np.arange(len(opens)), opens, until_ns)


def _begins(it: Accepted, skew_ns: int, width_ns: int) -> Bools:
    """Tell which sends begin a window: go from one such to the next, for all mobiles at once."""
    begins = differs(it.mobile)
    if not len(it):
        return begins
    first_ns, width_ms = int(it.start_ns.min()), width_ns // NS_PER_MS
    start_ms, end_ms = ((ns - first_ns) // NS_PER_MS for ns in (it.start_ns, it.end_ns + skew_ns))
    line_ms = it.mobile * (int(end_ms.max()) + width_ms + 1)  # all mobiles' times, one after another
    following = np.searchsorted(np.maximum.accumulate(line_ms + end_ms), line_ms + start_ms + width_ms)
    mobile = np.append(it.mobile, -1)
    at = np.flatnonzero(begins)
    while len(at):
        after = following[at]
        at = after[mobile[after] == mobile[at]]
        begins[at] = True
    return begins


def _latest(begins: Bools) -> Ints:
    """Return for each the place of the latest one that begins a window."""
    places: Ints = np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))
    return places
