"""Searches: finds the rules of a part of a log from a few mobiles, and then proves them on all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.analysis.rate_limits.candidates import Measure, View, fixed, lay, sliding
from toolkit.analysis.rate_limits.rule_cover import BREACH_COST, Line, cover, left
from toolkit.analysis.rate_limits.send_attempts import Attempts, Bools, Ints, is_drawn
from toolkit.analysis.timestamps import NS_PER_S

_MOST_REFUSALS = 4_000  # whose mobiles are searched at once
_ROUNDS = 3
_LEAST_TROUBLE, _TROUBLE_RATIO = 5.0, 0.005  # rows of refusals that noise may be, and which share of all


def find(view: View) -> list[Line]:
    """Return the rules of a view: of some mobiles, then also of some to which they don't explain a refusal."""
    attempts, lines = view.attempts, list[Line]()
    rest, drawn = np.ones(len(view.refusals), np.bool_), np.zeros(attempts.mobiles, np.bool_)
    for _ in range(_ROUNDS):
        drawn |= draw_refused(attempts, view.refusals[rest], _MOST_REFUSALS)
        known, tried = _search(view.of(drawn))
        before, lines = lines, _cover(view, known, tried)
        rest = left(lines, len(view.refusals))
        if not is_troubled(view, lines) or [it.axis.measure for it in before] == [it.axis.measure for it in lines]:
            break
    return lines


def trouble(view: View, lines: Sequence[Line]) -> float:
    """Return what rules leave, as covers weigh it.

    That is what none explains though all the sends are known that it may count, and what is accepted in spite of one.
    """
    breaches = sum(line.broken for line in lines)
    return float(view.attempts.refused.weight[_rest(view, lines)].sum()) + BREACH_COST * breaches


def is_troubled(view: View, lines: Sequence[Line]) -> bool:
    """Tell whether rules leave more than noise."""
    rows = view.attempts.refused.rows
    most = max(_LEAST_TROUBLE, _TROUBLE_RATIO * float(rows[view.refusals].sum()))
    return float(rows[_rest(view, lines)].sum()) + sum(line.broken for line in lines) > most


def _rest(view: View, lines: Sequence[Line]) -> Ints:
    known = view.attempts.refused.start_ns[view.refusals] >= known_from_ns(view.attempts, lines)
    return view.refusals[left(lines, len(view.refusals)) & known]


def known_from_ns(attempts: Attempts, lines: Sequence[Line]) -> int:
    """Return from when on the log has the sends that rules may count; at the latest, after a quarter of it."""
    windows_s = [line.axis.measure.window_s or line.at for line in lines]
    longest_ns = max((it for it in windows_s if it < np.inf), default=0) * NS_PER_S
    return attempts.first_ns + int(min(longest_ns, (attempts.last_ns - attempts.first_ns) / 4))


def draw_refused(attempts: Attempts, refused: Ints, most: int) -> Bools:
    """Draw mobiles that have so many of some refusals; tell of each whether it is drawn."""
    drawn = np.zeros(attempts.mobiles, np.bool_)
    drawn[attempts.refused.mobile[refused]] = True
    return drawn & is_drawn(np.arange(len(drawn)), most / max(len(refused), 1))


def _search(view: View) -> tuple[list[Measure], int]:
    """Return the measures of the rules of a view, and how many were tried; fixed windows only if others don't do."""
    tried = list(sliding(view))
    lines = _cover(view, tried, len(tried))
    if is_troubled(view, lines):
        tried += fixed()
        lines = _cover(view, tried, len(tried))
    return [line.axis.measure for line in lines], len(tried)


def _cover(view: View, measures: Sequence[Measure], tried: int) -> list[Line]:
    weight, rows = (it[view.refusals] for it in (view.attempts.refused.weight, view.attempts.refused.rows))
    most = int(weight.sum() / BREACH_COST) + 2
    return cover([lay(view, it, most) for it in measures], weight, rows, int(view.bounds.sum()), tried)
