"""Search for the highest load at which a service meets all limits: choose the next trial from those so far. No I/O.

Problem
-------
"What rate can I promise?" asks for two rates close to each other: one that the service held and one that it missed. A
trial is a load test at a constant load. Trials cost messages and time, and their results are random near the capacity.

Method
------
The search follows the ideas of RFC 9971 (Multiple Loss Ratio Search): several limits are searched at once, short trials
come first, long trials decide. The trials so far determine the next one, in these steps:

    1. bracket    double the load with short trials until one misses, or halve it until one holds
    2. narrow     short trials between the highest load that held and the lowest that missed
    3. place      put an interval of the wanted width around the load at which the limit would be reached exactly
    4. confirm    repeat long trials at both borders until each is certain by ``SURE`` standard errors

    load    50  100 200 400 800      bracket: 400 holds, 800 misses
            560, 470                 narrow: 470 holds, 560 misses
            503, 527                 place and confirm: "holds 503/s, misses 527/s"

The load of step 3 is estimated from the trials near it, see ``limit_crossing``. A border is certain by its own trials
or by this estimate. A border that stays uncertain lies so near to the capacity that chance decides. Then the interval
is placed anew, and made wider if that does not help.

A trial in which the service could not be judged proves nothing, see ``Doubt``. It bounds the search from above. A
search that meets such a bound before the service misses a limit gives no figure.

MLRsearch on PyPI (1.2.1, the library of the RFC's authors) is not used. The only result of its trials is a ratio of
lost packets, taken as certain. It has no inconclusive trials, no limits on percentiles and no budget of messages. It
also calls the measurement itself. The growth by doubling is also that of valkey-lab's saturation search.

Constants
---------
SURE            standard errors of a border. Less needs fewer trials, and is wrong more often.
_MIN_REPEATS    long trials at a border. Fewer can't show that the results vary from trial to trial.
_MAX_REPEATS    long trials at one load. More would seldom make an uncertain border certain.
_AROUND         the estimate uses trials at loads up to this factor away; only the long ones, if there are _ENOUGH.
_WIDENINGS      factors by which the interval may become wider than wanted.
_TOLERANCE      of the width: a border may be this far from its ideal load, at a load that was tried already.
_DOUBTS         trials after which a doubt is accepted; _MAX_DOUBTS below a load at which the service was judged.
_NEAR           a bound by a doubt must be above the missed load by this factor: near its own limit, a generator adds to
                the service's times before it is found out. _PROVEN: so must a load at which the service was judged.
                If the generator was in doubt once at the interval or above, that load must be above it by _NEAR too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from toolkit import number_format
from toolkit.load_test.plan.limit_crossing import Crossing, find_crossing
from toolkit.load_test.plan.trial_evidence import Evidence, margin, share_of_limit

SURE = 2.0
_MIN_REPEATS, _MAX_REPEATS = 3, 6
_DOUBTS, _MAX_DOUBTS = 2, 5
_NEAR, _PROVEN = 1.15, 1.05
_GROWTH = 2.0
_MAX_SHRINKS = 1000
_AROUND = 1.2
_ENOUGH = 4
_WIDENINGS = (1.0, 1.5, 2.0, 3.0)
_TOLERANCE = 0.2


class Doubt(StrEnum):
    """The reason why a trial is inconclusive."""

    GENERATOR = "generator"  # the load generator was the bottleneck
    RATE_LIMIT = "rate limit"  # the service refused sends by a rate limit
    CONNECTIONS = "connections"  # the generator's connections were used up although calls were as fast as before
    CUT = "cut"  # the trial was cut off by the budget, by an interrupt or by a refusal, or had no call to measure


@dataclass(frozen=True, slots=True)
class Trial:
    """One load test at a constant load.

    Args:
        load: Journeys per second, or users.
        duration_s: Length without the warm-up.
        is_long: Whether it is of the length that confirms a border.
        evidence: For each limit, the bad calls of the trial.
        messages: Messages that it sent, with those of its warm-up.
        achieved_per_s: Sends that succeeded per second.
        in_flight: Mean number of calls in flight.
        p50_ms, p99_ms: Percentiles of the time that callers waited for a send; None without sends.
        failed_ratio: Share of the calls that failed, 0..1; None without calls.
        service_p50_ms: Median time of a call without the wait before it.
        rate_limited_ratio: Share of the sends that a rate limit refused, 0..1. They are in no other figure.
        doubt, doubt_text: Why it is inconclusive, as a kind and in words; None and "" if it is conclusive.
        name: Name of the folder of its run.
    """

    load: float
    duration_s: float
    is_long: bool
    evidence: tuple[Evidence, ...]
    messages: int = 0
    achieved_per_s: float = 0.0
    in_flight: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    failed_ratio: float | None = None
    service_p50_ms: float | None = None
    rate_limited_ratio: float = 0.0
    doubt: Doubt | None = None
    doubt_text: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The plan of a search.

    Args:
        start: First load, in journeys per second or users.
        duration_s: Length of a long trial, without its warm-up.
        short_s: Length of a short trial without its warm-up.
        width_ratio: Wanted width of the interval, as a part of its lower border.
        is_whole: Whether loads are whole numbers, as users are.
        max_trials: Maximum number of trials of a search.
    """

    start: float
    duration_s: float
    short_s: float
    width_ratio: float = 0.05
    is_whole: bool = False
    max_trials: int = 60


@dataclass(frozen=True, slots=True)
class NextTrial:
    """The trial that the search needs next."""

    load: float
    is_long: bool
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement on all trials at one load.

    Args:
        load: Journeys per second, or users.
        trials: Number of trials that were judged: the long ones, or the short ones if there are no others.
        is_long: Whether they are long ones.
        margin: Distance from the limit that is nearest, in standard errors; negative if it is missed.
        binding: Index of that limit.
        share: Number of bad calls under that limit, divided by the number that it allows.
        certainty: The margin, or that of the estimated capacity if it is more certain of the same side.
    """

    load: float
    trials: int
    is_long: bool
    margin: float
    binding: int
    share: float
    certainty: float = 0.0

    @property
    def is_sure(self) -> bool:
        """Whether the load is confirmed, by repeated long trials."""
        return self.is_long and self.trials >= _MIN_REPEATS and abs(self.certainty) >= SURE


@dataclass(frozen=True, slots=True)
class Interval:
    """The loads between which the capacity is: the highest that held and the lowest that missed a limit."""

    held: Verdict
    missed: Verdict

    @property
    def width_ratio(self) -> float:
        """The width as a part of the lower border."""
        return self.missed.load / self.held.load - 1


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The end of a search.

    Args:
        interval: The interval, with both borders confirmed; None if the search could not confirm one.
        is_settled: Whether the interval is at most as wide as wanted.
        doubt: The doubt that bounded the search, if that is why there is no interval.
        unsettled: What could not be settled and why, in sentences; "" if all was.
    """

    interval: Interval | None
    is_settled: bool
    doubt: Doubt | None = None
    unsettled: str = ""


def by_load(trials: Iterable[Trial]) -> dict[float, list[Trial]]:
    """Group trials by their load, the lowest first.

    >>> list(by_load([Trial(80, 60, True, ()), Trial(40, 60, True, ()), Trial(80, 60, True, ())]))
    [40, 80]
    """
    groups: dict[float, list[Trial]] = {}
    for trial in sorted(trials, key=lambda it: it.load):
        groups.setdefault(trial.load, []).append(trial)
    return groups


def judge_load(trials: Iterable[Trial], dispersions: Sequence[float] | None = None) -> Verdict:
    """Judge the trials at one load together, by the limit that is nearest to being missed.

    Args:
        trials: All trials at the load.
        dispersions: The dispersion for each limit, see ``trial_evidence.margin``; None: 1 for each.
    """
    found = list(trials)
    judged = [it for it in found if it.is_long] or found
    by_limit = list(zip(*(it.evidence for it in judged), strict=True))
    factors = dispersions or [1.0] * len(by_limit)
    margins = [margin(evidence, factor) for evidence, factor in zip(by_limit, factors, strict=True)]
    shares = [share_of_limit(evidence) for evidence in by_limit]
    binding = min(range(len(margins)), key=lambda it: (margins[it], -shares[it]))
    found_margin = margins[binding]
    return Verdict(judged[0].load, len(judged), judged[0].is_long, found_margin, binding, shares[binding], found_margin)


def judge_all(trials: Sequence[Trial]) -> list[Verdict]:
    """Judge each load that has a trial without a doubt, in the order of the loads.

    Once there are trials on both sides of the capacity, they show how much the bad calls vary near the limits.
    """
    groups = by_load(it for it in trials if it.doubt is None).values()
    verdicts = [judge_load(found) for found in groups]
    crossings = _crossings(trials, verdicts)
    crossing = _lowest(crossings)
    if crossing is None:
        return verdicts
    dispersions = [it.dispersion if it else 1.0 for it in crossings]
    return [_with_estimate(judge_load(found, dispersions), crossing) for found in groups]


def estimate(trials: Sequence[Trial], verdicts: Sequence[Verdict]) -> Crossing | None:
    """Estimate the capacity from the trials near it: the lowest load at which one of the limits is reached.

    The result is None until there are trials on both sides of the capacity.
    """
    return _lowest(_crossings(trials, verdicts))


def _lowest(crossings: Iterable[Crossing | None]) -> Crossing | None:
    return min((it for it in crossings if it), key=lambda it: it.load, default=None)


def _crossings(trials: Sequence[Trial], verdicts: Sequence[Verdict]) -> list[Crossing | None]:
    """Return for each limit the load at which it is reached; none before there are trials on both sides."""
    held = [it.load for it in verdicts if it.margin >= 0]
    missed = [it.load for it in verdicts if it.margin < 0]
    if not held or not missed:
        return []
    low, high = min(held[-1], missed[0]) / _AROUND, max(held[-1], missed[0]) * _AROUND
    near = [it for it in trials if it.doubt is None and low <= it.load <= high]
    long = [it for it in near if it.is_long]
    if len(long) >= _ENOUGH and len({it.load for it in long}) > 1:
        near = long
    return [find_crossing([(it.load, it.evidence[limit]) for it in near]) for limit in range(len(near[0].evidence))]


def _with_estimate(verdict: Verdict, crossing: Crossing) -> Verdict:
    estimated = crossing.margin(verdict.load)
    if estimated * verdict.margin <= 0 or abs(estimated) <= abs(verdict.margin):
        return verdict
    return replace(verdict, certainty=estimated)


def find_interval(verdicts: Sequence[Verdict]) -> Interval | None:
    """Return the narrowest interval with two confirmed borders; None without one."""
    sure = [it for it in verdicts if it.is_sure]
    missed = next((it for it in sure if it.margin < 0), None)
    if missed is None:
        return None
    below = [it for it in sure if it.load < missed.load]
    return Interval(below[-1], missed) if below else None


def decide(plan: SearchPlan, trials: Sequence[Trial]) -> NextTrial | Conclusion:
    """Return the next trial of a search, or its end, which depend only on the trials so far.

    >>> plan = SearchPlan(start=50, duration_s=10, short_s=2)
    >>> decide(plan, [])
    NextTrial(load=50.0, is_long=False, why='first load')
    """
    if not trials:
        return NextTrial(_round(plan, plan.start), False, "first load")
    last = trials[-1]
    if last.doubt is Doubt.CUT:
        return conclude(plan, trials, f"The last trial can't be judged: {last.doubt_text}.")
    bound = _bound(trials)
    if last.doubt is not None and (bound is None or last.load < bound.load):
        return NextTrial(last.load, last.is_long, f"repeat: {last.doubt_text}")
    verdicts = judge_all(trials)
    interval = find_interval(verdicts)
    if interval and _is_narrow(plan, interval.held.load, interval.missed.load):
        return conclude(plan, trials)
    if len(trials) >= plan.max_trials:
        return conclude(plan, trials, f"The search ended after {len(trials)} trials, whose results vary too much.")
    held = max((it for it in verdicts if it.margin >= 0), key=lambda it: it.load, default=None)
    missed = min((it for it in verdicts if it.margin < 0), key=lambda it: it.load, default=None)
    if missed is None:
        return _grow(plan, trials, held, bound)
    if not missed.is_long and missed.trials < _MIN_REPEATS and missed.margin > -SURE:
        return NextTrial(missed.load, False, "repeat: few calls missed")
    if held and held.load > missed.load and not _is_close(plan, missed.load, held.load):
        weaker = min((held, missed), key=lambda it: abs(it.margin))
        if weaker.trials >= _MAX_REPEATS:
            texts = format_load(plan, held.load), format_load(plan, missed.load)
            return conclude(plan, trials, f"The results contradict each other: {texts[0]} held, {texts[1]} missed.")
        return NextTrial(weaker.load, True, "repeat: a higher load held than one that missed")
    if held is None:
        return _shrink(plan, trials, missed)
    if bound and bound.load <= missed.load:
        return conclude(plan, trials)
    crossing = estimate(trials, verdicts)
    if held.load < missed.load and not _is_close(plan, held.load, missed.load):
        load = _round(plan, _between(plan, held, missed, crossing))
        if held.load < load < missed.load:
            return NextTrial(load, False, "narrow: between a load that held and one that missed")
    return _place(plan, trials, verdicts, held, missed, crossing)


def _grow(
    plan: SearchPlan, trials: Sequence[Trial], held: Verdict | None, bound: Trial | None
) -> NextTrial | Conclusion:
    """Return a trial at a higher load, below the one at which the service could not be judged."""
    if bound is None:
        highest = max(it.load for it in trials)
        return NextTrial(_round(plan, highest * _GROWTH), False, "bracket: no load missed yet")
    if held is None:
        lower = _round(plan, bound.load / _GROWTH)
        if lower < bound.load and lower >= plan.start / _MAX_SHRINKS:
            return NextTrial(lower, False, f"lower: {bound.doubt_text}")
        return conclude(plan, trials)
    load = _round(plan, min(held.load * _GROWTH, math.sqrt(held.load * bound.load)))
    if not held.load < load < bound.load or bound.load / held.load < _NEAR:
        return conclude(plan, trials)
    return NextTrial(load, False, f"below {format_load(plan, bound.load)}: {bound.doubt_text}")


def _shrink(plan: SearchPlan, trials: Sequence[Trial], missed: Verdict) -> NextTrial | Conclusion:
    """Return a trial at a lower load, or the end if the lowest one is missed for certain."""
    load = _round(plan, missed.load / _GROWTH)
    if load < missed.load and load >= plan.start / _MAX_SHRINKS:
        return NextTrial(load, False, "bracket: no load held yet")
    if missed.is_sure or (missed.is_long and missed.trials >= _MAX_REPEATS):
        return conclude(plan, trials, f"Even {format_load(plan, missed.load)} missed.")
    return NextTrial(missed.load, True, "confirm that the lowest load misses")


def _between(plan: SearchPlan, held: Verdict, missed: Verdict, crossing: Crossing | None) -> float:
    """Return a load well between two borders that are far apart: the crossing if it is known well, else the middle."""
    width = math.log(missed.load / held.load)
    part = 0.5
    if crossing is not None and crossing.error_ratio < width / 4:
        part = min(max(math.log(crossing.load / held.load) / width, 0.2), 0.8)
    return held.load * math.exp(part * width)


def _place(
    plan: SearchPlan,
    trials: Sequence[Trial],
    verdicts: Sequence[Verdict],
    held: Verdict,
    missed: Verdict,
    crossing: Crossing | None,
) -> NextTrial | Conclusion:
    """Return a long trial at a border of an interval around the crossing.

    If repeats leave a border uncertain, the interval becomes wider.
    """
    centre = crossing.load if crossing else math.sqrt(held.load * missed.load)
    low, high = sorted((held.load, missed.load))
    centre = min(max(centre, low), high)
    tested = {it.load: it for it in verdicts if it.is_long}
    for widening in _WIDENINGS:
        width = math.log1p(plan.width_ratio * widening)
        lower = _find_border(plan, tested, centre * math.exp(-width / 2), width)
        upper = min(_find_border(plan, tested, lower * math.exp(width), width), lower * math.exp(width))
        upper = upper if upper in tested else _round_down(plan, lower * math.exp(width))
        if plan.is_whole:
            upper = max(upper, lower + 1)
        for load, which in ((lower, "lower"), (upper, "upper")):
            if load not in tested:
                return NextTrial(load, True, f"place the {which} border")
        weak = [tested[it] for it in (lower, upper) if not tested[it].is_sure and tested[it].trials < _MAX_REPEATS]
        if weak:
            border = min(weak, key=lambda it: (it.trials, abs(it.certainty)))
            return NextTrial(border.load, True, f"confirm the {'lower' if border.load == lower else 'upper'} border")
    return conclude(plan, trials, "The results vary too much for a narrower interval: give a longer --duration.")


def _find_border(plan: SearchPlan, tested: Iterable[float], wanted: float, width: float) -> float:
    """Return the tested load nearest to a wanted border, or a new one if none is near."""
    near = [it for it in tested if abs(math.log(it / wanted)) <= _TOLERANCE * width]
    return min(near, key=lambda it: abs(math.log(it / wanted)), default=_round(plan, wanted))


def _bound(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial at the lowest load at which the service could not be judged; None without one.

    A generator may have been disturbed by another program, so its doubt must be repeated, more often if it has kept up
    with a higher load.
    """
    proven = max((it.load for it in trials if it.doubt is None), default=0.0)
    for load, found in by_load(it for it in trials if it.doubt is not Doubt.CUT).items():
        doubtful = [it for it in found if it.doubt is not None]
        if not doubtful:
            continue
        needed = _MAX_DOUBTS if load <= proven else _DOUBTS
        if doubtful[-1].doubt is Doubt.RATE_LIMIT:
            needed = 1
        if len(doubtful) >= needed and len(doubtful) > len(found) - len(doubtful):
            return doubtful[-1]
    return None


def conclude(plan: SearchPlan, trials: Sequence[Trial], why: str = "") -> Conclusion:
    """Return the conclusion of a search that ends now.

    Args:
        plan: The plan of the search.
        trials: All trials.
        why: Why it ends, in a sentence, if it does not end by itself.
    """
    verdicts, bound = judge_all(trials), _bound(trials)
    interval = find_interval(verdicts)
    proven = max((it.load for it in trials if it.doubt is None), default=0.0)
    if bound is None and interval is not None and proven < interval.missed.load * _NEAR:
        nearby = (it for it in trials if it.doubt is Doubt.GENERATOR and it.load >= interval.held.load)
        bound = min(nearby, key=lambda it: it.load, default=None)
    if bound is not None and (
        interval is None or bound.load < interval.missed.load * _NEAR or proven < interval.missed.load * _PROVEN
    ):
        text = f"No figure: at {format_load(plan, bound.load)} the service could not be judged: {bound.doubt_text}."
        return Conclusion(None, False, bound.doubt, " ".join(filter(None, [text, why])))
    if interval is None:
        missing = [] if any(it.is_sure and it.margin > 0 for it in verdicts) else ["no load is confirmed to hold"]
        if not any(it.is_sure and it.margin < 0 for it in verdicts):
            missing.append("no load is confirmed to miss")
        text = f"No figure: {' and '.join(missing) or 'the confirmed loads contradict each other'}."
        return Conclusion(None, False, None, " ".join(filter(None, [text, why])))
    if _is_narrow(plan, interval.held.load, interval.missed.load):
        return Conclusion(interval, True)
    widths = number_format.share(interval.width_ratio), number_format.share(plan.width_ratio)
    text = f"The interval is {widths[0]} wide, not {widths[1]}."
    return Conclusion(interval, False, None, " ".join(filter(None, [text, why])))


def _is_narrow(plan: SearchPlan, held: float, missed: float) -> bool:
    return missed / held <= 1 + plan.width_ratio + 1e-9 or (plan.is_whole and missed - held <= 1)


def _is_close(plan: SearchPlan, held: float, missed: float) -> bool:
    """Return whether two loads are close enough for long trials."""
    return missed / held <= (1 + plan.width_ratio) ** 2 or (plan.is_whole and missed - held <= 1)


def _round(plan: SearchPlan, load: float) -> float:
    """Return a load that people can read: a whole number of users, or a rate of four significant digits."""
    if plan.is_whole:
        return float(max(1, round(load)))
    return float(f"{load:.4g}")


def _round_down(plan: SearchPlan, load: float) -> float:
    """Return ``_round``'s load, but never one above ``load``."""
    rounded = _round(plan, load)
    return rounded if rounded <= load or plan.is_whole else _round(plan, load * 0.9995)


def format_load(plan: SearchPlan, load: float) -> str:
    """Return a load with its unit.

    >>> format_load(SearchPlan(50, 60, 10), 3050.0), format_load(SearchPlan(5, 60, 10, is_whole=True), 40.0)
    ('3,050/s', '40 users')
    """
    return number_format.plural(round(load), "user") if plan.is_whole else f"{load:,g}/s"
