"""Periods: the parts of a log that have rules of their own: an app's, or those before and after a change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.analysis.rate_limits.candidates import View, lay
from toolkit.analysis.rate_limits.rule_cover import BREACH_COST, Line
from toolkit.analysis.rate_limits.rule_search import draw_refused, find, is_troubled, trouble
from toolkit.analysis.rate_limits.send_attempts import Accepted, Attempts, Bools, Floats, Refused

_MOST_REFUSALS = 2_000  # among which it is searched for when rules changed
_RELIEF = 0.5  # which share of a part's trouble its parts may have together
_CUTS = 16
_ROUNDS = 3
_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a log: an app (None: all), from one time on and until before another, ns; and its rules.

    trouble: what they leave; is_troubled: whether that is more than noise.
    """

    app: int | None
    since_ns: int
    until_ns: int
    lines: list[Line]
    trouble: float
    is_troubled: bool

    def view(self, attempts: Attempts) -> View:
        """Return what of the attempts it holds."""
        return _view(attempts, self.app, self.since_ns, self.until_ns)


def divide(attempts: Attempts) -> list[Part]:
    """Find the rules, and as few parts as have each its own, in the order of app and time."""
    whole = _find(attempts, None, attempts.first_ns, attempts.last_ns + 1)
    thin = attempts.of(draw_refused(attempts, np.arange(len(attempts.refused)), _MOST_REFUSALS))
    parts = _split(attempts, thin, whole, _DEPTH)
    return sorted(parts, key=lambda part: (part.app is not None and part.app, part.since_ns))


def _split(attempts: Attempts, thin: Attempts, part: Part, depth: int) -> list[Part]:
    """Divide a part whose rules leave much, by app or in time, if that leaves much less."""
    if not depth or not part.is_troubled:
        return [part]
    ways = [way for way in (_by_app(attempts, part), _in_time(attempts, thin, part)) if len(way) > 1]
    best = min(ways, key=_trouble, default=[part])
    if _trouble(best) > _RELIEF * part.trouble:
        return [part]
    return [it for each in best for it in _split(attempts, thin, each, depth - 1)]


def _trouble(parts: Sequence[Part]) -> float:
    return sum(part.trouble for part in parts)


def _by_app(attempts: Attempts, part: Part) -> list[Part]:
    apps = [] if part.app is not None else np.unique(attempts.refused.app).tolist()
    return [_find(attempts, app, part.since_ns, part.until_ns) for app in apps]


def _in_time(attempts: Attempts, thin: Attempts, part: Part) -> list[Part]:
    """Cut a part where the rules of both sides leave least: roughly so of thinner attempts, then exactly."""
    refused_ns = np.unique(thin.refused.start_ns[part.view(thin).refusals])
    cuts = np.unique(np.linspace(0, len(refused_ns), _CUTS + 1).astype(np.int64)[1:-1])
    ways = [_halves(thin, part, int(refused_ns[cut])) for cut in cuts if cut]
    best = min(ways, key=_trouble, default=[])
    if not best or _trouble(best) > _RELIEF * _find(thin, part.app, part.since_ns, part.until_ns).trouble:
        return []
    for _ in range(_ROUNDS):
        at_ns = _cut_ns(part.view(attempts), *(half.lines for half in best))
        if not part.since_ns < at_ns < part.until_ns:
            return []
        best = _halves(attempts, part, at_ns)
    return best


def _cut_ns(view: View, earlier: Sequence[Line], later: Sequence[Line]) -> int:
    """Return the time from which on the later rules hold: when what breaks the one or the other costs least.

    That is the first call after it that only the later ones explain.
    """
    attempts = view.attempts
    costs = [_costs(view, lines) for lines in (earlier, later)]
    times = np.concatenate([attempts.accepted.start_ns[view.bounds], attempts.refused.start_ns[view.refusals]])
    more = costs[0] - costs[1]
    telling = np.flatnonzero(more)
    telling = telling[np.argsort(times[telling], kind="stable")]
    if not len(telling):
        return 0
    upto = np.concatenate([[0.0], more[telling].cumsum()])
    place = int(upto.argmin())
    return int(times[telling[place]]) if place < len(telling) else 0


def _costs(view: View, lines: Sequence[Line]) -> Floats:
    """Return what each accepted send of a view costs that breaks rules, and each refusal that they don't explain."""
    attempts = view.attempts
    broken, rest = np.zeros(len(attempts.accepted)), np.ones(len(view.refusals), np.bool_)
    for line in lines:
        axis = lay(view, line.axis.measure)
        broken[axis.which[axis.accepted < line.at]] += BREACH_COST
        rest &= axis.refused >= line.at
    return np.concatenate([broken[view.bounds], attempts.refused.weight[view.refusals] * rest])


def _halves(attempts: Attempts, part: Part, at_ns: int) -> list[Part]:
    spans = ((part.since_ns, at_ns), (at_ns, part.until_ns))
    return [_find(attempts, part.app, *span) for span in spans]


def _find(attempts: Attempts, app: int | None, since_ns: int, until_ns: int) -> Part:
    """Find the rules of a part by its refusals, but those that a send may explain whose answer was lost."""
    view = _view(attempts, app, since_ns, until_ns)
    view = View(attempts, view.bounds, view.refusals[~attempts.refused.is_after_loss[view.refusals]])
    lines = find(view)
    return Part(app, since_ns, until_ns, lines, trouble(view, lines), is_troubled(view, lines))


def _view(attempts: Attempts, app: int | None, since_ns: int, until_ns: int) -> View:
    bounds, refused = (_is_in(it, app, since_ns, until_ns) for it in (attempts.accepted, attempts.refused))
    return View(attempts, bounds, np.flatnonzero(refused))


def _is_in(sends: Accepted | Refused, app: int | None, since_ns: int, until_ns: int) -> Bools:
    is_in: Bools = (sends.start_ns >= since_ns) & (sends.start_ns < until_ns)
    return is_in if app is None else is_in & (sends.app == app)
