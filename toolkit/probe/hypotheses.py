"""Infer rate limits from accepted and refused sends: list candidate rules, remove those that misfit, weigh the rest.

A *limit* is a rule that the API must have, because it refused a send that no other known limit explains. Its candidates
are a grid of rules of all kinds, scopes, counts and windows. Evidence removes candidates:

- an accepted send removes the candidates that would have refused it;
- a refused send removes the candidates that would have accepted it, unless another limit may have refused it.

A class is all candidates with one scope, kind and count. When few candidates of a class are left, a finer grid around
them replaces them, and all evidence is applied to the new grid. This narrows the window of each class step by step.

The weight of a candidate is its prior probability. Half of the weight lies on round windows, the other half is spread
evenly over the logarithm of the window. The probability of a class is the share of its remaining candidates in the
weight of all remaining candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log

import numpy as np

from toolkit.api.rate_rules import ROUND_WINDOWS_S
from toolkit.probe.limiter_models import KINDS, SCOPES, Bools, Floats, Kind, Rules, Scope

APP = -1  # the key of the history of all sends of the app; mobiles have keys from 0
CHINA_OFFSET_S = 57_600  # a day in China begins at 16:00 UTC

NEGLIGIBLE = 0.02  # probability of a class or an outcome

_MIN_WINDOW_S = 0.5
_MAX_WINDOW_S = 35 * 86_400.0
_STEP = log(1.12)  # of the first grid; smaller needs more time, larger misses windows that are not round
_PHASES = 16  # of the first grid, for windows by the clock
_FINE, _FINE_PHASES = 24, 10  # points of a finer grid
_DOUBTFUL = 0.002  # of the weight; lower takes an odd window for likelier than another limit
_REFINEMENTS, _REACH = 4, 2.0  # finer grids in turn; steps of a grid by which a misfit may be due to its coarseness
_FEW = 8  # candidates of a class, below which its grid is refined
_MAX_COUNTS = 14  # of windows in the first grid: more accepted sends have few gaps in which a window can begin
_TIER_WEIGHTS = (0.3, 0.15, 0.05)  # of all round windows of a tier
_ALIGNED = 0.7  # of the weight of windows by the clock: those that begin at a multiple of their length
_ODD_CLOCK = 0.02  # weight of windows by the clock that are not round: with a free begin, they fit nearly anything
_KIND_WEIGHTS = {Kind.SLIDING: 0.3, Kind.CLOCK: 0.25, Kind.FIRST_SEND: 0.2, Kind.BUCKET: 0.25}
_LOG_DENSITY = 0.5 / log(_MAX_WINDOW_S / _MIN_WINDOW_S)  # weight of windows that are not round

Histories = Mapping[int, Sequence[float]]
"""Times of the accepted sends, by key: a mobile's number, or APP."""

Refused = dict[int, dict[int, float]]
"""Time of the last refusal, by key and by the number of accepted sends before."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused send, after a number of accepted sends to the mobile and of the app."""

    mobile: int
    of_mobile: int
    of_app: int
    time_s: float


@dataclass(frozen=True, slots=True)
class RuleClass:
    """All candidates with the same scope, kind and count."""

    scope: Scope
    kind: Kind
    count: int


@dataclass(slots=True, eq=False)
class Limit:
    """A rule that refused a send, with the candidates that could be it.

    ``refused_s``: for each key and each number of accepted sends before, the last time of a refusal by this limit.
    """

    candidates: Rules
    refused_s: Refused = field(default_factory=dict)
    is_contradicted: bool = False
    at_accepted: tuple[Rules, Refused] | None = None  # candidates and evidence after the last accepted send
    is_known: bool = False  # settled, and the other limits were examined again since
    _ready: dict[tuple[int, int], Floats] = field(default_factory=dict)
    _classes: dict[RuleClass, float] | None = None

    def ready_s(self, mobile: int, histories: Histories) -> Floats:
        """Return for each candidate when it accepts a send to a mobile."""
        keys = (mobile, APP)
        ready = np.full(len(self.candidates), -np.inf)
        for scope, key in enumerate(keys):
            history = histories.get(key, ())
            place = (key, len(history))
            if place not in self._ready:
                self._ready[place] = self.candidates.ready_series(history)[-1]
            ready = np.where(self.candidates.scope == scope, self._ready[place], ready)
        return ready

    def probabilities(self) -> Floats:
        """Return the probability of each candidate; they add up to 1."""
        total = self.candidates.weight.sum()
        return self.candidates.weight / total if total else self.candidates.weight

    def classes(self) -> dict[RuleClass, float]:
        """Return the probability of each class, the most probable first."""
        if self._classes is None:
            codes, of_class = np.unique(self.candidates.class_codes, return_inverse=True)
            shares = np.bincount(of_class, self.probabilities(), len(codes))
            firsts = self.candidates.select(np.unique(of_class, return_index=True)[1])
            self._classes = {
                RuleClass(SCOPES[firsts.scope[it]], KINDS[firsts.kind[it]], int(firsts.count[it])): float(shares[it])
                for it in np.argsort(-shares, kind="stable")
            }
        return self._classes

    @property
    def best(self) -> RuleClass:
        """The most probable class."""
        return next(iter(self.classes()))

    def is_settled(self, tolerance_s: float) -> bool:
        """Return whether the class is nearly certain, and its window known within a tenth."""
        low_s, high_s = bounds_s(self.members(self.best))
        return self.classes()[self.best] > 1 - NEGLIGIBLE and high_s < 1.1 * low_s + 10 * tolerance_s

    def has_reopened(self, histories: Histories) -> bool:
        """Return whether a send was accepted after refusals by this limit, so that its window has an upper bound."""
        return any(
            place < len(histories.get(key, ()))
            for key, places in self.refused_s.items()
            if (key == APP) == (self.best.scope is Scope.APP)
            for place in places
        )

    def members(self, which: RuleClass) -> Rules:
        """Return the candidates of a class."""
        rules = self.candidates
        return rules.select(
            (rules.scope == SCOPES.index(which.scope))
            & (rules.kind == KINDS.index(which.kind))
            & (rules.count == which.count)
        )

    def note_refusal(self, refusal: Refusal) -> None:
        """Store a refusal as evidence for this limit."""
        for key, sends in ((refusal.mobile, refusal.of_mobile), (APP, refusal.of_app)):
            self.refused_s.setdefault(key, {})[sends] = refusal.time_s

    def may_refuse(self, refusal: Refusal, histories: Histories, tolerance_s: float) -> bool:
        """Return whether any candidate of the most probable class refuses a send."""
        key, sends = (APP, refusal.of_app) if self.best.scope is Scope.APP else (refusal.mobile, refusal.of_mobile)
        ready = self.members(self.best).ready_series(histories.get(key, ())[:sends])[-1]
        return bool((ready > refusal.time_s - tolerance_s).any())

    def is_doubtful(self) -> bool:
        """Return whether the refusals since the last accepted send left next to nothing of the candidates' weight.

        Another limit is then the better explanation of these refusals.
        """
        if self.at_accepted is None:  # the limit was found by these refusals
            return self.is_contradicted
        return self.is_contradicted or self.candidates.weight.sum() < _DOUBTFUL * self.at_accepted[0].weight.sum()

    def note_accepted(self) -> None:
        """Save the candidates and the evidence after an accepted send; ``forget_refusals`` restores them."""
        self.at_accepted = self.candidates, {key: dict(places) for key, places in self.refused_s.items()}

    def forget_refusals(self) -> None:
        """Restore the candidates and the evidence that ``note_accepted`` saved."""
        if self.at_accepted is None:
            return  # the refusals since are the ones by which the limit was found
        self.candidates, self.refused_s = self.at_accepted
        self.note_accepted()
        self.is_contradicted = False
        self._ready.clear()
        self._classes = None

    def keep(self, is_kept: Bools, histories: Histories, tolerance_s: float) -> None:
        """Remove the candidates that are False in ``is_kept``, and refine the grid of each class that has few left.

        If no candidate would be left, all stay, and ``is_contradicted`` becomes True.
        """
        rules = self.candidates
        parts = []
        codes = rules.class_codes
        for code in np.unique(codes):
            of_class = codes == code
            left = rules.select(of_class & is_kept)
            if len(left) == int(of_class.sum()):
                parts.append(left)
                continue
            left = self._refined(left, rules.select(of_class), histories, tolerance_s)
            if len(left):
                parts.append(left)
        self._ready.clear()
        self._classes = None
        self.is_contradicted = not parts
        if parts:
            self.candidates = Rules.join(parts)

    def _refined(self, left: Rules, before: Rules, histories: Histories, tolerance_s: float) -> Rules:
        """Refine the grid of a class around the candidates that are left.

        If none is left, the grid may be too coarse: refine it around the candidates that misfit least.
        """
        for _ in range(_REFINEMENTS):
            parent = left
            if not len(left):
                misfit_s = self.misfit_s(before, histories, tolerance_s)
                parent = before.select(misfit_s <= before.window_s * before.step * _REACH + before.start_step_s)
                parent = before.select(np.argsort(misfit_s)[: min(len(parent), _FEW)])
            if len(left) >= _FEW or not len(parent) or not _is_coarse(parent, tolerance_s):
                break
            before = _refine(parent)
            left = before.select(self.misfit_s(before, histories, tolerance_s) <= 0)
        return left

    def misfit_s(self, rules: Rules, histories: Histories, tolerance_s: float) -> Floats:
        """Return by how much each rule misses an outcome: 0 if it accepts all accepted sends and refuses the refusals.

        Only those refusals count that are kept as evidence of this limit.
        """
        misfit = np.zeros(len(rules))
        for key in histories.keys() | self.refused_s.keys():
            history = histories.get(key, ())
            scope = SCOPES.index(Scope.APP if key == APP else Scope.MOBILE)
            chosen = np.flatnonzero(rules.scope == scope)
            if not len(chosen):
                continue
            series = rules.select(chosen).ready_series(history)
            misfits = np.zeros(series.shape)
            misfits[:-1] = series[:-1] - np.array(history).reshape(-1, 1) - tolerance_s
            for place, time_s in self.refused_s.get(key, {}).items():
                if place < len(series):
                    misfits[place] = np.maximum(misfits[place], time_s - tolerance_s - series[place])
            misfit[chosen] = np.maximum(misfit[chosen], misfits.max(axis=0))
        return misfit


def new_limit(refusals: Sequence[Refusal], histories: Histories, tolerance_s: float) -> Limit:
    """Return a limit that explains refusals which no other limit explains.

    Its candidates are all rules of the first grid that refuse these sends and accept all sends that were accepted. The
    evidence is applied in the order of time, a few sends more at a time, so that the grid is refined step by step.

    Args:
        refusals: The refusals; at least one.
        histories: The accepted sends.
        tolerance_s: By how much a time may be off, in s.
    """
    by_mobile = min(refusals, key=lambda it: it.of_mobile)
    sends = min(it.of_app for it in refusals)
    grids = [
        _grid_of(Scope.MOBILE, histories.get(by_mobile.mobile, ())[: by_mobile.of_mobile]),
        _grid_of(Scope.APP, histories[APP][:sends]),
    ]
    limit = Limit(Rules.join(grids))
    for it in refusals:
        limit.note_refusal(it)
    while True:
        until_s = histories[APP][sends - 1]
        past = {key: [it for it in times if it <= until_s] for key, times in histories.items()}
        limit.keep(limit.misfit_s(limit.candidates, past, tolerance_s) <= 0, past, tolerance_s)
        if limit.is_contradicted or sends >= len(histories[APP]):
            return limit
        sends = min(sends + max(1, sends // 4), len(histories[APP]))


def _grid_of(scope: Scope, history: Sequence[float]) -> Rules:
    """Return the first grid of rules that may refuse a send after a history."""
    windows, weights, steps = _windows(_MIN_WINDOW_S, _MAX_WINDOW_S, round(log(_MAX_WINDOW_S / _MIN_WINDOW_S) / _STEP))
    parts = []
    sends = len(history)
    # A window begins after a gap. A bucket can have any count, since it got tokens back between the sends.
    by_gap = sorted(range(1, sends), key=lambda count: history[sends - count - 1] - history[sends - count])
    window_counts = {sends, *by_gap[: _MAX_COUNTS - 1]}
    for count in range(1, sends + 1):
        for kind in KINDS if count in window_counts else (Kind.BUCKET,):
            if count == 1 and kind not in (Kind.SLIDING, Kind.CLOCK):
                continue  # with one send in a window, they accept the same sends as a sliding window
            if kind is Kind.CLOCK:
                parts.append(_clock_grid(scope, count, windows, weights, steps, None))
            else:
                w, p, s = (
                    _with_refills(count, windows, weights, steps) if kind is Kind.BUCKET else (windows, weights, steps)
                )
                parts.append(_rules(scope, kind, count, w, p, s))
    return Rules.join(parts) if parts else _rules(scope, Kind.SLIDING, 1, windows[:0], weights[:0], steps[:0])


def _windows(low_s: float, high_s: float, points: int) -> tuple[Floats, Floats, Floats]:
    """Return windows between two bounds with their prior weights and steps: an even grid, and the round windows."""
    step = log(high_s / low_s) / points
    even = low_s * np.exp(step * (np.arange(points) + 0.5))
    rounds = [
        (it, weight / len(tier)) for tier, weight in zip(ROUND_WINDOWS_S, _TIER_WEIGHTS, strict=True) for it in tier
    ]
    inside = [(it, weight) for it, weight in rounds if low_s <= it <= high_s]
    windows = np.concatenate([even, [it for it, _ in inside]])
    weights = np.concatenate([np.full(points, _LOG_DENSITY * step), [weight for _, weight in inside]])
    return windows, weights, np.full(len(windows), step)


def _with_refills(count: int, windows: Floats, weights: Floats, steps: Floats) -> tuple[Floats, Floats, Floats]:
    """Add the windows of buckets that get a token back at round intervals."""
    low_s, high_s = windows.min() / count, windows.max() / count
    refills = [it for tier in ROUND_WINDOWS_S for it in tier if low_s <= it <= high_s]
    return (
        np.concatenate([windows, np.array(refills) * count]),
        np.concatenate([weights, np.full(len(refills), 0.01)]),
        np.concatenate([steps, np.full(len(refills), steps[0])]),
    )


def _clock_grid(
    scope: Scope, count: int, windows: Floats, weights: Floats, steps: Floats, starts_s: tuple[float, float] | None
) -> Rules:
    """Return windows by the clock: begins at multiples of the length, and begins spread evenly.

    ``starts_s``: bounds of the begin of one window; None for anywhere.
    """
    weights = np.where(np.isin(windows, np.concatenate(ROUND_WINDOWS_S)), weights, weights * _ODD_CLOCK)
    phases = _PHASES if starts_s is None else _FINE_PHASES
    low_s, high_s = starts_s or (0.0, windows)
    length_s = np.broadcast_to(high_s - low_s, windows.shape)
    begins = [low_s + length_s * (it + 0.5) / phases for it in range(phases)]
    shares = [(1 - _ALIGNED) * np.minimum(length_s / windows, 1.0) / phases] * phases
    for offset_s in (np.zeros(len(windows)), CHINA_OFFSET_S % windows):
        begins.append(offset_s + windows * np.ceil((low_s - offset_s) / windows))
        shares.append(np.where(begins[-1] <= high_s, _ALIGNED / 2, 0.0))
    size = len(begins)
    rules = _rules(scope, Kind.CLOCK, count, *(np.tile(it, size) for it in (windows, weights, steps)))
    rules.start_s[:] = np.concatenate(begins)
    rules.weight[:] *= np.concatenate(shares)
    rules.start_step_s[:] = np.tile(length_s / phases, size)
    return rules.select(rules.weight > 0)


def _rules(scope: Scope, kind: Kind, count: int, windows: Floats, weights: Floats, steps: Floats) -> Rules:
    size = len(windows)
    return Rules(
        np.full(size, KINDS.index(kind)),
        np.full(size, SCOPES.index(scope)),
        np.full(size, count),
        np.asarray(windows, np.float64),
        np.zeros(size),
        weights * _KIND_WEIGHTS[kind],
        np.asarray(steps, np.float64),
        np.zeros(size),
    )


def bounds_s(rules: Rules) -> tuple[float, float]:
    """Return bounds of the window of the candidates of one class."""
    step = float(rules.step.max())
    return float(rules.window_s.min()) * exp(-step), float(rules.window_s.max()) * exp(step)


def _start_bounds_s(rules: Rules) -> tuple[float, float]:
    gap_s = float(rules.start_step_s.max())
    return float(rules.start_s.min()) - gap_s, float(rules.start_s.max()) + gap_s


def _is_coarse(rules: Rules, tolerance_s: float) -> bool:
    """Return whether the grid is coarser than the times of the sends are known."""
    return bool((rules.step * rules.window_s).max() > tolerance_s / 2 or rules.start_step_s.max() > tolerance_s / 2)


def _refine(rules: Rules) -> Rules:
    """Return a finer grid around the candidates of one class."""
    scope, kind, count = SCOPES[rules.scope[0]], KINDS[rules.kind[0]], int(rules.count[0])
    windows, weights, steps = _windows(*bounds_s(rules), _FINE)
    if kind is Kind.CLOCK:
        return _clock_grid(scope, count, windows, weights, steps, _start_bounds_s(rules))
    if kind is Kind.BUCKET:
        windows, weights, steps = _with_refills(count, windows, weights, steps)
    return _rules(scope, kind, count, windows, weights, steps)
