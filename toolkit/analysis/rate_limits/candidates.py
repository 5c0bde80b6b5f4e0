"""Enumerate families of candidate rules and score each send in a family.

A rule accepts ``count`` sends per window. A family fixes all of its parameters but one, the threshold, and gives each
send a score such that a rule of the family refuses exactly the sends whose score is below its threshold:

================  ===============  ==========================================================  =================
shape             fixed parameter  score of a send                                             threshold
================  ===============  ==========================================================  =================
sliding           count            age in s of the count-th last accepted send to the mobile   window length in s
clock,first send  window length    minus the number of accepted sends before it in its window  1 - count
================  ===============  ==========================================================  =================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from toolkit.analysis.rate_limits.fixed_windows import clock_windows, first_send_windows
from toolkit.analysis.rate_limits.send_attempts import Bools, Floats, Ints, SendAttempts

MIN_ROWS = 2  # rows of refusals that a rule must explain alone; 1 would make a rule of every odd refusal
_MAX_COUNT = 1000  # of a sliding window; a larger count is rarely used and costs a family each
_FIXED_WINDOWS_S = (60, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)
DAY_S = 86_400
CHINA_OFFSET_S = 57_600  # a day in China begins at 16:00 UTC


class WindowShape(StrEnum):
    """The ways in which the windows of a rule can lie in time."""

    SLIDING = "sliding"  # ends with each send
    CLOCK = "clock"  # begins at each multiple of its length
    FIRST_SEND = "first send"  # begins with a send that is in no earlier window


@dataclass(frozen=True, slots=True)
class RuleFamily:
    """All rules of one shape that share a count (sliding windows) or a window length (fixed windows)."""

    shape: WindowShape
    count: int = 0
    window_s: int = 0
    offset_s: int = 0


@dataclass(frozen=True, slots=True)
class AttemptSlice:
    """The sends that one set of rules has to explain.

    ``is_bounding``: for each accepted send, whether it bounds the rules. ``refusals``: indices of the refused sends.
    """

    attempts: SendAttempts
    is_bounding: Bools
    refusals: Ints

    def of_mobiles(self, is_selected: Bools) -> AttemptSlice:
        """Return the sends to some mobiles; ``is_selected`` is indexed by mobile number."""
        accepted, refused = self.attempts.accepted, self.attempts.refused
        is_refusal = np.zeros(len(refused), np.bool_)
        is_refusal[self.refusals] = True
        return AttemptSlice(
            self.attempts.of_mobiles(is_selected),
            self.is_bounding[is_selected[accepted.mobile]],
            np.flatnonzero(is_refusal[is_selected[refused.mobile]]),
        )


@dataclass(frozen=True, slots=True)
class FamilyScores:
    """The scores of a slice's sends in one family.

    ``accepted``: scores of accepted sends; ``positions``: their indices among all accepted sends; ``refused``: scores
    of the slice's refusals; ``bounding``: number of accepted sends with a score, also if only the lowest are kept.
    """

    family: RuleFamily
    accepted: Floats
    positions: Ints
    refused: Floats
    bounding: int


def sliding_families(sends: AttemptSlice) -> Iterator[RuleFamily]:
    """Yield the sliding families with enough refusals: those after at least ``count`` accepted sends."""
    refused = sends.attempts.refused
    rows_by_rank = np.bincount(refused.rank[sends.refusals], refused.rows[sends.refusals], 1)
    rows_from_rank = rows_by_rank[::-1].cumsum()[::-1]
    for count in range(1, min(int((rows_from_rank >= MIN_ROWS).sum()), _MAX_COUNT + 1)):
        yield RuleFamily(WindowShape.SLIDING, count)


def fixed_families() -> Iterator[RuleFamily]:
    """Yield the families of fixed windows."""
    for window_s in _FIXED_WINDOWS_S:
        yield RuleFamily(WindowShape.CLOCK, 0, window_s)
    yield RuleFamily(WindowShape.CLOCK, 0, DAY_S, CHINA_OFFSET_S)
    for window_s in _FIXED_WINDOWS_S:
        yield RuleFamily(WindowShape.FIRST_SEND, 0, window_s)


def score_sends(sends: AttemptSlice, family: RuleFamily, lowest: int | None = None) -> FamilyScores:
    """Score the sends of a slice in a family.

    With ``lowest``, keep only that number of the lowest accepted scores, ascending: a threshold above them would have
    too many breaches to be worth anything.
    """
    attempts = sends.attempts
    if family.shape is WindowShape.SLIDING:
        positions = np.flatnonzero(sends.is_bounding & (attempts.accepted.rank >= family.count))
        accepted = attempts.max_ages_s(family.count, positions)
        refused = attempts.min_ages_s(family.count, sends.refusals)
    else:
        if family.shape is WindowShape.CLOCK:
            windows = clock_windows(attempts, family.window_s, family.offset_s)
        else:
            windows = first_send_windows(attempts, family.window_s)
        is_bounding = sends.is_bounding[windows.positions]
        positions = windows.positions[is_bounding]
        accepted = -windows.count_before_accepted()[is_bounding].astype(np.float64)
        refused = -windows.count_before_refused(sends.refusals).astype(np.float64)
    bounding = len(positions)
    if lowest is not None:
        kept = np.argpartition(accepted, lowest)[:lowest] if lowest < bounding else np.arange(bounding)
        kept = kept[np.argsort(accepted[kept])]
        positions, accepted = positions[kept], accepted[kept]
    return FamilyScores(family, accepted, positions, refused, bounding)
