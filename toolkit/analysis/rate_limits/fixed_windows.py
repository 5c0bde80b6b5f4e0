"""Count the accepted sends in fixed windows, which begin by the clock or with a send."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.analysis.rate_limits.send_attempts import Ints, SendAttempts, is_run_start
from toolkit.analysis.timestamps import NS_PER_MS, NS_PER_S


@dataclass(frozen=True, slots=True)
class FixedWindows:
    """The accepted sends in windows of fixed length; one array element per send that is certainly in one window.

    ``positions``: the send's index among all accepted sends. ``openers``: index, within ``positions``, of the first
    send in the same window. ``until_ns``: end of the window.
    """

    attempts: SendAttempts
    positions: Ints
    openers: Ints
    until_ns: Ints

    def count_before_accepted(self) -> Ints:
        """Return for each send the number of accepted sends before it in its window."""
        return np.arange(len(self.positions)) - self.openers

    def count_before_refused(self, which: Ints) -> Ints:
        """Return for each of these refusals the number of accepted sends before it in its window."""
        accepted, refused = self.attempts.accepted, self.attempts.refused
        earlier = np.searchsorted(self.positions, refused.position[which])
        if not len(self.positions):
            return np.zeros_like(earlier)
        last = np.maximum(earlier - 1, 0)
        is_same_mobile = (earlier > 0) & (accepted.mobile[self.positions[last]] == refused.mobile[which])
        is_inside = is_same_mobile & (refused.start_ns[which] < self.until_ns[last])
        return np.where(is_inside, earlier - self.openers[last], 0)


def clock_windows(attempts: SendAttempts, window_s: int, offset_s: int) -> FixedWindows:
    """Return the windows that begin ``offset_s`` after each multiple of their length."""
    sends, skew_ns = attempts.accepted, attempts.skew_ns
    width_ns, offset_ns = window_s * NS_PER_S, offset_s * NS_PER_S
    number = (sends.start_ns - skew_ns - offset_ns) // width_ns
    positions = np.flatnonzero(number == (sends.end_ns + skew_ns - offset_ns) // width_ns)
    number = number[positions]
    starts = is_run_start(sends.mobile[positions], number)
    openers = np.maximum.accumulate(np.where(starts, np.arange(len(starts)), 0))
    return FixedWindows(attempts, positions, openers, (number + 1) * width_ns + offset_ns)


def first_send_windows(attempts: SendAttempts, window_s: int) -> FixedWindows:
    """Return the windows that begin with the first accepted send outside any earlier window.

    A window's opener determines the next one: the first send of the mobile at least a window length later. The loop
    follows these links for all mobiles at once, so it runs as often as the mobile with the most windows has windows.
    """
    sends, width_ns = attempts.accepted, window_s * NS_PER_S
    opens = is_run_start(sends.mobile)
    if len(sends):
        first_ns, width_ms = int(sends.start_ns.min()), width_ns // NS_PER_MS
        start_ms, end_ms = ((ns - first_ns) // NS_PER_MS for ns in (sends.start_ns, sends.end_ns + attempts.skew_ns))
        # One time axis for all mobiles, each with a separate span, so that one search serves all.
        shift_ms = sends.mobile * (int(end_ms.max()) + width_ms + 1)
        ends_ms = np.maximum.accumulate(shift_ms + end_ms)
        next_opener = np.searchsorted(ends_ms, shift_ms + start_ms + width_ms)
        mobile = np.append(sends.mobile, -1)
        openers = np.flatnonzero(opens)
        while len(openers):
            following = next_opener[openers]
            openers = following[mobile[following] == mobile[openers]]
            opens[openers] = True
    latest = np.maximum.accumulate(np.where(opens, np.arange(len(opens)), 0))
    return FixedWindows(attempts, np.arange(len(opens)), latest, sends.start_ns[latest] + width_ns)
