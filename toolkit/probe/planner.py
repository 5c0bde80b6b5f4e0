"""Choose the mobile and the time of the next send, to learn most about the rate limits. No I/O.

Problem. An API refuses sends that come too often. An accepted send costs money, a refused one costs nothing, and time
only goes forward. Find the rules (scope, kind, count and window of each) with few accepted sends.

Method. The planner keeps limits, each with the candidates that could be it (``hypotheses``), and plays four moves:

1. *Push*: while all known limits certainly accept, send at once. An accepted send leads towards rules with a larger
   count; a refusal is explained by none of the known limits, so it reveals a new one.
2. *Distinguish classes*: if the candidate classes of a limit disagree about a send to one of the mobiles now, send it.
   The measure is the mutual information between the outcome and the class. A mobile without earlier sends separates a
   limit of the mobile from one of the app; a mobile with other times, windows by the clock from sliding ones.
3. *Poll*: while a limit is full, send again at times between which an even share of the candidates gets ready. These
   sends are refused, except the last one, so they bracket the window for the price of one message.
4. *Pause*: if the classes agree about every outcome of a sender that pushes, a pause can make them differ. The planner
   simulates several plans with the best candidate of each class: a rest, one send, a pause, and then pushing. During a
   rest the other limits recover. It takes the plan that makes the classes differ most, and the shortest of equal plans.
   For example, a limit accepts 3 sends in 60 s. After 3 sends at second 0, both a sliding and a fixed window accept 3
   sends at second 60. After one send at second 0 and two at second 30, a sliding window accepts one send at second 60,
   and a fixed window accepts 3.

Refusals count against a limit only if no other limit can have caused them. If that leaves a limit without candidates,
the refusals since the last accepted send are taken to be those of another limit. When a limit is settled, the others
are found anew, from the refusals that it does not explain: some were attributed to them before it was known.

The API decides on a send between its request and its response. The planner takes the middle, which is wrong by half of
the response time at most. The tolerance is three quarters of the longest response time of an accepted send so far: the
half, and a reserve for the resolution of clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from toolkit import number_format
from toolkit.api.errors import CallError
from toolkit.probe.hypotheses import APP, NEGLIGIBLE, Limit, Refusal, bounds_s, new_limit
from toolkit.probe.limiter_models import Floats, Ints, Rules, State

_QUANTUM = 0.04  # of the candidates that get ready between two polls; smaller polls more often
_GROWTH, _MIN_GROWTH = 0.05, 0.002  # of the time since the accepted send: longest and shortest pause between polls
_INFORMATIVE_BITS = 0.2  # of an outcome about the class, for which a message is spent
_MIN_TOLERANCE_S = 0.004
_PAUSES = (0.0, 0.3, 0.5, 0.7)  # of the window
_PREDICTED_SENDS, _PREDICTED_CLASSES, _REMEMBERED = 60, 4, 60  # at most, of a delay that is played through


class Outcome(StrEnum):
    """The outcome of a send, as evidence about rate limits."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # out of frequency
    UNKNOWN = "unknown"  # no response, or a response that does not show whether the send was too early


@dataclass(frozen=True, slots=True)
class Attempt:
    """A send and its outcome. ``retry_after_s`` is that of the response; None without the header."""

    mobile: int
    began_s: float
    ended_s: float
    outcome: Outcome
    retry_after_s: float | None = None

    @property
    def time_s(self) -> float:
        """The middle between the send's begin and its end: about when the API decided."""
        return (self.began_s + self.ended_s) / 2


@dataclass(frozen=True, slots=True)
class NextSend:
    """A send that is due at a time; ``reason`` is shown as progress."""

    mobile: int
    at_s: float
    reason: str


@dataclass(slots=True)
class Planner:
    """Plans the sends of a probe.

    Args:
        mobiles: Number of mobiles that may be used.
        max_messages: Maximum number of accepted sends and sends without a response.
        until_s: Time of the last send.
        min_gap_s: Minimum time between two sends.
        seeks_app: Whether the second half of the messages may go to other mobiles, to reach limits of the app.
        retired: Mobiles that are not used any more.
        blocked: Mobiles that were refused at their first send, which no known limit explains, each with the number of
            sends of the app that were accepted before.
        refusals: The last refusal of each mobile after each number of accepted sends of the app.
        unexplained: Number of refusals that no rule explains.
        stopped: Why the probe ended, in words.
        problem: The error that cut the probe off.
    """

    mobiles: int
    max_messages: int
    until_s: float
    min_gap_s: float = 0.0
    seeks_app: bool = True
    limits: list[Limit] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    histories: dict[int, list[float]] = field(default_factory=lambda: {APP: []})
    messages: int = 0
    unknown: int = 0
    tolerance_s: float = _MIN_TOLERANCE_S
    retired: set[int] = field(default_factory=set)
    blocked: dict[int, int] = field(default_factory=dict)
    refusals: dict[tuple[int, int], Refusal] = field(default_factory=dict)
    unexplained: int = 0
    stopped: str = ""
    problem: CallError | None = None
    _refused_s: dict[int, float] = field(default_factory=dict)  # the last refusal since an accepted send
    _retry_at_s: dict[int, float] = field(default_factory=dict)  # the end of the wait that Retry-After names

    # Evidence

    def observe(self, attempt: Attempt) -> None:
        """Update the limits by the outcome of a send."""
        self.attempts.append(attempt)
        if attempt.outcome is Outcome.UNKNOWN:
            self.messages += 1
            self.unknown += 1
            self.retired.add(attempt.mobile)
            return
        half_s = (attempt.ended_s - attempt.began_s) / 2
        if attempt.outcome is Outcome.ACCEPTED:
            self.messages += 1
            self.tolerance_s = max(self.tolerance_s, 1.5 * half_s)
            self._accept(attempt, self.tolerance_s + half_s)
        else:
            self._refuse(attempt, self.tolerance_s + half_s)
        self._examine_again()

    def _accept(self, attempt: Attempt, tolerance_s: float) -> None:
        mobile, time_s = attempt.mobile, attempt.time_s
        ready = [limit.ready_s(mobile, self.histories) for limit in self.limits]
        for key in (mobile, APP):
            self.histories.setdefault(key, []).append(time_s)
        for limit, ready_s in zip(self.limits, ready, strict=True):
            is_ready = ready_s <= time_s + tolerance_s
            if not is_ready.all():
                limit.keep(is_ready, self.histories, tolerance_s)
            limit.note_accepted()
        self._refused_s.pop(mobile, None)
        self._retry_at_s.pop(mobile, None)

    def _refuse(self, attempt: Attempt, tolerance_s: float) -> None:
        mobile, time_s = attempt.mobile, attempt.time_s
        refusal = Refusal(mobile, len(self.histories.get(mobile, ())), len(self.histories[APP]), time_s)
        self._refused_s[mobile] = time_s
        if attempt.retry_after_s is not None:
            self._retry_at_s[mobile] = attempt.began_s + attempt.retry_after_s
        ready = [limit.ready_s(mobile, self.histories) for limit in self.limits]
        refusing = [
            float(limit.probabilities()[ready_s > time_s - tolerance_s].sum())
            for limit, ready_s in zip(self.limits, ready, strict=True)
        ]
        suspects = [number for number, share in enumerate(refusing) if share >= NEGLIGIBLE]
        if not suspects and any(refusing):
            suspects = [max(range(len(refusing)), key=refusing.__getitem__)]
        if not suspects and not refusal.of_mobile and not self._is_blocked_by_app(mobile):
            return
        self.refusals[mobile, refusal.of_app] = refusal
        if not suspects:
            self._add_limit(refusal, tolerance_s)
        elif len(suspects) == 1:
            limit = self.limits[suspects[0]]
            limit.note_refusal(refusal)
            refuses = ready[suspects[0]] > time_s - tolerance_s
            if not refuses.all():
                limit.keep(refuses, self.histories, tolerance_s)
            if limit.is_doubtful():
                self._add_limit(refusal, tolerance_s)

    def _is_blocked_by_app(self, mobile: int) -> bool:
        """Return whether a limit of the app may have refused the first send to a mobile.

        One such mobile proves nothing: it may have had sends before the probe. Two are taken as a limit of the app, if
        the app had sent before.
        """
        self.blocked[mobile] = len(self.histories[APP])
        if mobile in self.doubtful_mobiles():
            self.retired.add(mobile)
            return False
        self.retired -= self.blocked.keys() - self.doubtful_mobiles()
        return True

    def doubtful_mobiles(self) -> set[int]:
        """Return the blocked mobiles whose refusal may be due to sends before the probe."""
        after_sends = {it for it, sent in self.blocked.items() if sent}
        return self.blocked.keys() - after_sends if len(after_sends) > 1 else set(self.blocked)

    def _add_limit(self, refusal: Refusal, tolerance_s: float) -> None:
        for limit in self.limits:  # the new limit may have caused all refusals since the last accepted send
            limit.forget_refusals()
        limit = new_limit([refusal], self.histories, tolerance_s)
        if limit.is_contradicted or not len(limit.candidates):
            self.unexplained += 1
        else:
            self.limits.append(limit)

    def _examine_again(self) -> None:
        """Find the candidates of limits anew if a limit that got settled explains a part of their refusals."""
        for settled in self.limits:
            if settled in self.limits and not settled.is_known and settled.is_settled(self.tolerance_s):
                settled.is_known = True
                self.limits = [it if it is settled else self._examined(it) for it in self.limits]

    def _examined(self, limit: Limit) -> Limit:
        """Return a limit found from the refusals that no settled limit explains; the same one if it cannot be found."""
        others = [it for it in self.limits if it is not limit]
        evidence = []
        for it in self.refusals.values():
            was_evidence = limit.refused_s.get(it.mobile, {}).get(it.of_mobile) == it.time_s
            doubts = [other for other in others if other.is_known or not was_evidence]
            if not any(other.may_refuse(it, self.histories, 2 * self.tolerance_s) for other in doubts):
                evidence.append(it)
        if not evidence:
            return limit
        found = new_limit(evidence, self.histories, 2 * self.tolerance_s)
        if found.is_contradicted or not len(found.candidates) or found.refused_s == limit.refused_s:
            return limit
        return found

    # Plan

    def next_send(self, now_s: float) -> NextSend | None:
        """Return the next send, at ``now_s`` or later; None at the end, whose reason is in ``stopped``."""
        usable = [it for it in range(self.mobiles) if it not in self.retired]
        if self.messages >= self.max_messages:
            self.stopped = f"the cap of {number_format.plural(self.max_messages, 'message')} was reached"
        elif not usable:
            self.stopped = "no mobile is left: the first send to each was refused, or a send got no usable response"
        else:
            found = self._choose(usable, now_s)
            if found.at_s <= self.until_s:
                return found
            self.stopped = "the maximum duration was reached"
        return None

    def _choose(self, usable: Sequence[int], now_s: float) -> NextSend:
        soon_s = now_s + max(self.min_gap_s, 2 * self.tolerance_s if self._refused_s else 0.0)
        main = self._main(usable, soon_s)
        considered = [it for it in usable if it in self.histories or it == main]
        considered += [it for it in usable if it not in considered][:1]
        best_bits, best = max(
            (0.0 if it == main or it in self._refused_s else self._class_bits(it, soon_s), -place)
            for place, it in enumerate(considered)
        )
        if best_bits >= _INFORMATIVE_BITS:
            return NextSend(considered[-best], soon_s, "distinguishing kinds of limits")
        if self._explores_app(usable):
            rested = self._rested(usable, soon_s)
            if rested is not None:
                return NextSend(rested, soon_s, "looking for a limit of the app")
        is_pushing = main not in self._refused_s and self.attempts and self.attempts[-1].mobile == main
        return self._poll(main, now_s + self.min_gap_s if is_pushing else soon_s)

    def _main(self, usable: Sequence[int], soon_s: float) -> int:
        """Return the mobile for sends that examine the first unsettled limit.

        It is the first mobile that no settled limit blocks for longer than that limit's window, else the one that is
        blocked for the shortest time.
        """
        unresolved = self._unresolved()
        if not unresolved:
            return usable[0]
        window_s = float(_best(unresolved[0]).window_s[0])
        known = [it for it in self.limits if it not in unresolved]
        blocked_s = {
            mobile: max((float(it.ready_s(mobile, self.histories).max()) for it in known), default=-np.inf)
            for mobile in usable
        }
        free = [it for it in usable if blocked_s[it] <= soon_s + window_s]
        return free[0] if free else min(usable, key=blocked_s.__getitem__)

    def _explores_app(self, usable: Sequence[int]) -> bool:
        return self.seeks_app and len(usable) > 2 and self.messages * 2 >= self.max_messages and not self._unresolved()

    def _rested(self, usable: Sequence[int], time_s: float) -> int | None:
        """Return the mobile with the fewest sends to which a send is almost certainly accepted; None without one."""
        for mobile in sorted(usable, key=lambda it: len(self.histories.get(it, ()))):
            if self._share_ready(mobile, time_s) > 1 - NEGLIGIBLE:
                return mobile
        return None

    def _unresolved(self) -> list[Limit]:
        return [it for it in self.limits if not it.is_settled(self.tolerance_s)]

    def _share_ready(self, mobile: int, time_s: float) -> float:
        """Return the probability that a send to a mobile is accepted at a time."""
        share = 1.0
        for limit in self.limits:
            ready = limit.ready_s(mobile, self.histories)
            share *= float(limit.probabilities()[ready <= time_s - self.tolerance_s].sum())
        return share

    def _class_bits(self, mobile: int, time_s: float) -> float:
        """Return the mutual information, in bits, between the outcome of a send and the classes of the limits."""
        most, others, unresolved = 0.0, 1.0, self._unresolved()
        for limit in unresolved:
            weights = limit.probabilities()
            refuses = limit.ready_s(mobile, self.histories) > time_s - self.tolerance_s
            _, of_class = np.unique(limit.candidates.class_codes, return_inverse=True)
            total = np.bincount(of_class, weights)
            refused = np.bincount(of_class, weights * refuses)
            ratio = np.divide(refused, total, out=np.zeros_like(total), where=total > 0)
            most = max(most, float(_entropy(np.array([refused.sum()]))[0] - (total * _entropy(ratio)).sum()))
        for limit in self.limits:
            if most and limit not in unresolved:
                ready = limit.ready_s(mobile, self.histories)
                others *= float(limit.probabilities()[ready <= time_s - self.tolerance_s].sum())
        return most * others

    def _poll(self, mobile: int, soon_s: float) -> NextSend:
        """Return the next send to a mobile: now if it is certainly accepted, else when enough candidates got ready."""
        refused_s = self._refused_s.get(mobile)
        base = 0.0 if refused_s is None else self._share_ready(mobile, refused_s)
        now = self._share_ready(mobile, soon_s)
        wanted = base + _QUANTUM * (1 - base)
        if now >= wanted and refused_s is None:
            return NextSend(mobile, soon_s + self._best_delay_s(mobile, soon_s), "looking for a larger limit")
        if now >= wanted:
            return NextSend(mobile, soon_s, "waiting for a window to end")
        history = self.histories.get(mobile) or self.histories[APP]
        last_s = history[-1] if history else soon_s
        latest_s = soon_s + (soon_s - last_s) * _GROWTH
        soon_s += (soon_s - last_s) * _MIN_GROWTH
        times = np.unique(np.concatenate([limit.ready_s(mobile, self.histories) for limit in self.limits]))
        times = times[times > soon_s - self.tolerance_s] + 2 * self.tolerance_s
        low, high = 0, len(times) - 1  # the first time at which enough candidates are ready
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._share_ready(mobile, times[middle]) >= wanted else (middle + 1, high)
        at_s = float(times[low]) if len(times) else soon_s
        # A candidate of much weight is bracketed from both sides.
        before_s = at_s - 5 * self.tolerance_s
        if before_s > soon_s and self._share_ready(mobile, before_s) < wanted:
            ahead = refused_s is None or refused_s < at_s - 9 * self.tolerance_s
            at_s = before_s if ahead else at_s
        at_s = min(at_s, latest_s) if base < 1 and refused_s is not None else at_s
        retry_at_s = self._retry_at_s.get(mobile)
        if retry_at_s is not None and soon_s < retry_at_s + self.tolerance_s < at_s:
            at_s = retry_at_s + self.tolerance_s  # Retry-After is a hint when to send, not evidence
        at_s = max(at_s, soon_s)
        if refused_s is None:
            at_s += self._best_delay_s(mobile, at_s)
        return NextSend(mobile, at_s, "waiting for a window to end")

    def _best_delay_s(self, mobile: int, soon_s: float) -> float:
        """Return the pause before the next send after which the classes of a limit differ most.

        It is that of the first limit whose classes can differ: the plan for another one would end its plan.
        """
        delays_s = (self._delay_for_s(limit, mobile, soon_s) for limit in self._unresolved())
        return next((it for it in delays_s if it is not None), 0.0)

    def _delay_for_s(self, limit: Limit, mobile: int, soon_s: float) -> float | None:
        """Return the pause before the next send, or None if the classes of a limit differ by no plan.

        The plans have a second pause, after that send.
        """
        classes = [it for it in limit.classes().items() if it[1] >= NEGLIGIBLE][:_PREDICTED_CLASSES]
        if len(classes) == 1:
            return None
        rules = Rules.join([_heaviest(limit.members(it)) for it, _ in classes])
        known = [_best(it) for it in self.limits if it is not limit]
        pauses_s = np.array(_PAUSES) * rules.window_s[0]
        since_s = soon_s - self.histories.get(mobile, [soon_s])[-1]  # a pause that has begun goes on
        rests_s = np.concatenate([pauses_s, pauses_s[pauses_s > since_s] - since_s, [it.window_s[0] for it in known]])
        plans = np.array([(rest_s, pause_s) for rest_s in rests_s for pause_s in pauses_s])
        plans = plans[plans.sum(axis=1) <= max((self.until_s - soon_s) / 2, 0.0)]  # leave time for the sends after it
        most_count = max(int(it.count.max()) for it in [rules, *known])
        sends = min(most_count + 5, self.max_messages - self.messages, _PREDICTED_SENDS)
        rests_s, pauses_s = np.repeat(plans, len(rules), axis=0).T
        times = self._predict(rules, known, mobile, soon_s + rests_s, pauses_s, sends).reshape(sends, -1, len(rules))
        shares = np.array([share for _, share in classes])
        low_s, high_s = bounds_s(limit.members(limit.best))
        seen_s = 6 * self.tolerance_s + min(2 * (high_s - low_s), low_s / 10)  # polls can't show less
        differ = (abs(times[:, :, :, None] - times[:, :, None, :]) > seen_s).any(axis=0)
        scores = np.einsum("i,j,pij->p", shares, shares, differ)
        if not scores.max():
            return None
        best = plans[scores >= scores.max() - NEGLIGIBLE]
        if not best.any(axis=1).all():  # pushing is as good
            return 0.0
        # Of the shortest plans, take the one that begins with its pause, or the pause would be put off for ever.
        return float(best[np.lexsort((-best[:, 0], best.sum(axis=1)))[0], 0])

    def _predict(
        self, rules: Rules, known: Sequence[Rules], mobile: int, starts_s: Floats, pauses_s: Floats, sends: int
    ) -> Floats:
        """Simulate a sender that sends as soon as it is accepted, and return the times of its sends.

        Each column is a simulation. Simulation n begins at ``starts_s[n]``, pauses for ``pauses_s[n]`` after the first
        send, and obeys rule ``n % len(rules)`` and all ``known`` rules. Each row is a send.
        """
        columns = len(starts_s)
        every = [rules.select(np.arange(columns) % len(rules))]
        every += [it.select(np.zeros(columns, np.int64)) for it in known]
        states = list[tuple[Ints, State]]()
        for rule in every:
            for scope, key in enumerate((mobile, APP)):
                chosen = np.flatnonzero(rule.scope == scope)
                if len(chosen):
                    states.append((chosen, State(rule.select(chosen))))
                    for past_s in self.histories.get(key, ())[-_REMEMBERED:]:
                        states[-1][1].accept(np.full(len(chosen), past_s))
        times, time_s = list[Floats](), starts_s
        for send in range(sends):
            for chosen, state in states:
                time_s[chosen] = np.maximum(time_s[chosen], state.ready_s())
            for chosen, state in states:
                state.accept(time_s[chosen])
            times.append(time_s)
            time_s = time_s + self.min_gap_s + self.tolerance_s + (pauses_s if send == 0 else 0.0)
        return np.array(times)


def _entropy(share: Floats) -> Floats:
    share = np.clip(share, 1e-12, 1 - 1e-12)
    found: Floats = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    return found


def _heaviest(rules: Rules) -> Rules:
    return rules.select(np.array([int(rules.weight.argmax())]))


def _best(limit: Limit) -> Rules:
    return _heaviest(limit.members(limit.best))
