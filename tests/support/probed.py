"""Simulated APIs with rate limits of all kinds, what a probe has to find in each, and the probe's run against one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from support.limited import Clock, FirstSend, LeakyBucket, Rule, Sliding, TokenBucket

from toolkit.probe.findings import Findings, FoundRule, conclude
from toolkit.probe.hypotheses import APP
from toolkit.probe.limiter_models import Kind, Scope
from toolkit.probe.planner import Attempt, Outcome, Planner

START_S = 1_800_000_000.0
MOBILES = 6
KINDS: dict[type[Rule], Kind] = {
    Sliding: Kind.SLIDING,
    Clock: Kind.CLOCK,
    FirstSend: Kind.FIRST_SEND,
    TokenBucket: Kind.BUCKET,
    LeakyBucket: Kind.BUCKET,  # the two accept the same sends
}
ROUND_S = (2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)


@dataclass(frozen=True)
class Limiter:
    """Rules that a simulated API keeps, the shortest window first; the last one may be the app's."""

    rules: tuple[Rule, ...]
    has_app_rule: bool = False

    def scope(self, number: int) -> Scope:
        return Scope.APP if self.has_app_rule and number == len(self.rules) - 1 else Scope.MOBILE

    @property
    def limit(self) -> int:
        """The sends that it takes to reach each of the rules once."""
        return sum(it.count for it in self.rules)

    def __str__(self) -> str:
        return ", ".join(
            f"{type(it).__name__} {it.count}/{it.window_s:g}s {self.scope(n)}" for n, it in enumerate(self.rules)
        )


@dataclass(frozen=True)
class Run:
    """A finished probe of a simulated API.

    ``is_right`` and ``reached`` have a value for each of its rules. A rule was reached if there was a time at which it
    alone refused sends, and a later one at which it accepted one.
    """

    limiter: Limiter
    findings: Findings
    is_right: tuple[bool, ...]
    reached: tuple[bool, ...]
    sends: int


def draw(seed: int) -> Limiter:
    """Draw one to three rules; each further one has a longer window, and is reached before the others allow as much."""
    random = Random(seed)
    rules: list[Rule] = []
    for _ in range(random.choice([1, 2, 2, 3])):
        if not rules:
            window_s = float(random.choice(ROUND_S[:9])) if random.random() < 0.75 else round(random.uniform(2, 300), 1)
            count = random.choice([1, 1, 2, 3, 5, 8])
        else:
            longer = [it for it in ROUND_S if it >= 4 * rules[-1].window_s]
            if not longer:
                break
            before, window_s = rules[-1], float(random.choice(longer[:5]))
            most = min(30, int(before.count * window_s / before.window_s * 0.7), before.count * 4 + 4)
            count = random.randint(before.count + 1, max(before.count + 2, most))
        kinds = [it for it in KINDS if it is not Clock or window_s in ROUND_S]
        rules.append(random.choice(kinds)(count, window_s))
    has_app_rule = len(rules) > 1 and random.random() < 0.25
    if has_app_rule:
        last = rules[-1]
        rules[-1] = type(last)(max(last.count, 2 * rules[-2].count), last.window_s)
    return Limiter(tuple(rules), has_app_rule)


def probe(
    limiter: Limiter,
    seed: int,
    max_messages: int | None = None,
    duration_s: float | None = None,
    response_s: float = 0.04,
) -> Run:
    """Probe a simulated API at a random time of day. ``response_s`` is the median of its response times."""
    random = Random(f"probe {seed}")
    now = began = START_S + random.uniform(0, 7 * 86_400)
    longest_s = max(it.window_s for it in limiter.rules)
    planner = Planner(
        MOBILES,
        max_messages or max(3 * limiter.limit, 5),
        began + (duration_s or 3.3 * longest_s + 60),
        seeks_app=limiter.has_app_rule,
    )
    accepted: dict[int, list[float]] = {APP: []}
    refused_alone: list[set[tuple[int, int]]] = [set() for _ in limiter.rules]
    while due := planner.next_send(now):
        now = max(now, due.at_s)
        took_s = response_s * random.lognormvariate(0.0, 0.5)
        decided = now + took_s * random.random()
        keys = [APP if limiter.scope(n) is Scope.APP else due.mobile for n in range(len(limiter.rules))]
        allow = [rule.allows(accepted.get(key, ()), decided) for rule, key in zip(limiter.rules, keys, strict=True)]
        is_ok = all(allow)
        if allow.count(False) == 1:
            number = allow.index(False)
            refused_alone[number].add((keys[number], len(accepted.get(keys[number], ()))))
        if is_ok:
            for key in (APP, due.mobile):
                accepted.setdefault(key, []).append(decided)
        outcome = Outcome.ACCEPTED if is_ok else Outcome.REFUSED
        planner.observe(Attempt(due.mobile, now, now + took_s, outcome))
        now += took_s
    findings = conclude(planner, now - began)
    right = tuple(
        any(_is(found, rule, limiter.scope(n)) for found in findings.rules) for n, rule in enumerate(limiter.rules)
    )
    reached = tuple(any(place < len(accepted[key]) for key, place in places) for places in refused_alone)
    return Run(limiter, findings, right, reached, len(planner.attempts))


def _is(found: FoundRule, rule: Rule, scope: Scope) -> bool:
    kind = Kind.SLIDING if rule.count == 1 and not isinstance(rule, Clock) else KINDS[type(rule)]
    if (found.scope, found.kind, found.count) != (scope, kind, rule.count) or found.window_high_s is None:
        return False
    is_close = found.window_low_s - 0.2 <= rule.window_s <= found.window_high_s + 0.2
    return found.window_s == rule.window_s or (is_close and found.window_high_s < 1.1 * found.window_low_s + 0.5)


def wrong_rules(run: Run) -> Sequence[FoundRule]:
    """Return the rules that were found although the API has none such."""
    return [
        found
        for found in run.findings.rules
        if found.window_s
        and not any(_is(found, rule, run.limiter.scope(n)) for n, rule in enumerate(run.limiter.rules))
    ]


def is_shadowed(run: Run, number: int) -> bool:
    """Return whether the API would answer all senders alike if a rule were one of those that were found in its place.

    A short rule behind a long one can be such: of 3 sends in 900 s, no 4 come within 120 s, so 2 sends in any 60 s and
    2 sends within 60 s of the first are the same. Random senders try to tell the two apart, each with as many messages
    and as much time as the probe may use.
    """
    limiter, scope = run.limiter, run.limiter.scope(number)
    rule, others = limiter.rules[number], [it for n, it in enumerate(limiter.rules) if n != number]
    if scope is Scope.APP or limiter.has_app_rule:
        return False  # senders with several mobiles are not tried
    kinds: dict[Kind, type[Rule]] = {kind: rule_type for rule_type, kind in KINDS.items()}
    for found in wrong_rules(run):
        if found.scope is not scope or not found.window_s or found.kind is Kind.CLOCK:
            continue
        other = kinds[found.kind](found.count, found.window_s)
        if not any(_tells(rule, other, others, it) for it in range(1000)):
            return True
    return False


def _tells(rule: Rule, other: Rule, known: Sequence[Rule], seed: int) -> bool:
    """Return whether a random sender gets another outcome if a rule is replaced, by more than 1 % of its window."""
    random = Random(f"sender {seed}")
    early, late = replace(other, window_s=other.window_s * 0.99), replace(other, window_s=other.window_s * 1.01)
    windows_s = sorted({it.window_s for it in (rule, *known)})
    now = began = START_S + random.uniform(0, 7 * 86_400)
    until = began + 3.3 * windows_s[-1] + 60
    accepted: list[float] = []
    while now < until and len(accepted) < 3 * sum(it.count for it in (rule, *known)):
        if all(it.allows(accepted, now) for it in known):
            is_ok = rule.allows(accepted, now)
            if is_ok != early.allows(accepted, now) == late.allows(accepted, now):
                return True
            if is_ok:
                accepted.append(now)
        window_s = random.choice(windows_s)
        if random.random() < 0.2:  # to just before or after the end of a window
            now += max(window_s - now % window_s + random.uniform(-0.1, 0.1) * windows_s[0], 0.1)
        else:
            now += random.choice([0.05, windows_s[0] / 10, window_s * random.random(), window_s / 20])
    return False
