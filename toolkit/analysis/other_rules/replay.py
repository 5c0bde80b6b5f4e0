"""Play recorded sends through other rate limits, by the window model of the service.

Problem: a rule of ``count`` sends in a window accepts a send if fewer than ``count`` sends to the same mobile of the
same app were accepted in the window before it. An accepted send at time t leaves the window at exactly t + window, in
whole milliseconds (``toolkit.service.core.policy.wait_ms``). So a decision depends on earlier decisions, and the sends
of a mobile must be decided one after another. A log has up to 100 million calls.

Method: sends are sorted by mobile and time. Three observations leave little to decide:

1. A send is certainly allowed by a rule if its ``count``-th previous recorded send is a window or longer ago, because
   the accepted sends are some of the recorded ones. This is one comparison of an array with itself.
2. Sends of a mobile that are far apart don't influence one another. They are split into runs, and only runs in which
   the first observation leaves a doubt are decided send by send.
3. All runs are decided side by side: the first send of each run, then the second one of each run that has one, and so
   on. The times of a run's accepted sends are kept in an array of its own length.

Example with the rule 1/60s, for two runs:

    run   sends at           round 0   round 1               round 2
    a     10 s, 30 s, 75 s   accept    refuse (20 s < 60 s)  accept (65 s >= 60 s)
    b     12 s, 80 s         accept    accept (68 s >= 60 s)

People would have behaved differently from the moment on when they got another answer than the recorded one. Nobody
knows how, so the same sends are played three times, and the smallest and the largest result are bounds:

- ``as_recorded``: all recorded sends are made at their times, and no others.
- ``fewest``: a person whose answer differs makes no more sends for ``patience_ms``. After a new refusal the person
  gives up; after a new acceptance the person has the code.
- ``most``: in addition to the recorded sends, each newly refused person sends again as soon as the rules allow it,
  however long that takes. Refused sends before that time are answered by the same message. A code that comes within
  ``patience_ms`` is still used.

More sends never lead to fewer messages: by induction, the k-th accepted send of a mobile is never later if sends are
added. So ``fewest`` and ``most`` bound the number of messages for all sets of sends between theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.api.rate_rules import Rule

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_NEVER_MS = (1 << 62) - 1


@dataclass(frozen=True, slots=True)
class SortedSends:
    """The sends to each mobile, in the order of time; the sends of a mobile follow one another.

    ``is_first``: whether it is the first send of a mobile. ``was_sent``: whether it was accepted in the log.
    ``is_verified``: whether it ended in a successful verify there.
    """

    is_first: Bools
    time_ms: Ints
    was_sent: Bools
    is_verified: Bools

    def __len__(self) -> int:
        return len(self.time_ms)


@dataclass(frozen=True, slots=True)
class Played:
    """The outcome of each send: whether its message was sent, and whether a verified user was lost by its refusal."""

    sent: Bools
    lost: Bools


@dataclass(frozen=True, slots=True)
class Replay:
    """The outcomes of the same sends under three assumptions about the people; see the module's text."""

    as_recorded: Played
    fewest: Played
    most: Played

    def all(self) -> tuple[Played, Played, Played]:
        """Return the three outcomes."""
        return self.as_recorded, self.fewest, self.most


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs of sends: the position of each one's first send, and its number of sends."""

    first: Ints
    size: Ints

    def rows(self) -> Ints:
        """Return the positions of all sends of the runs."""
        ends = self.size.cumsum()
        return np.arange(ends[-1] if len(ends) else 0) + np.repeat(self.first - (ends - self.size), self.size)

    def select(self, chosen: Bools) -> _Runs:
        return _Runs(self.first[chosen], self.size[chosen])

    def packed(self) -> _Runs:
        """Return the same runs for an array of their sends alone."""
        return _Runs(self.size.cumsum() - self.size, self.size)


def replay(rules: Sequence[Rule], sends: SortedSends, patience_ms: int) -> Replay:
    """Play sends through rules.

    Args:
        rules: The rate limits; without any, every send is allowed.
        sends: The sends that the log's rules accepted or refused.
        patience_ms: The longest time that a person waits for a code, and the time without sends after another response.
    """
    longest_ms = max((rule.window_ms for rule in rules), default=0)
    runs = _split(sends, max(2 * longest_ms, patience_ms))
    sent, lost = np.ones(len(sends), np.bool_), np.zeros(len(sends), np.bool_)
    doubtful = runs.select(_any(_may_exceed(rules, sends), runs))
    rows = doubtful.rows()
    sent[rows], lost[rows] = _play(rules, _take(sends, rows), doubtful.packed(), 0)
    differing = runs.select(_any(sent != sends.was_sent, runs))
    rows = differing.rows()
    chosen, packed = _take(sends, rows), differing.packed()
    as_recorded = Played(sent, lost)
    outcomes = [_play(rules, chosen, packed, patience_ms), _play_with_retries(rules, chosen, packed, patience_ms)]
    fewest, most = (Played(_replaced(sent, rows, it[0]), _replaced(lost, rows, it[1])) for it in outcomes)
    return Replay(as_recorded, fewest, most)


def _take(sends: SortedSends, rows: Ints) -> SortedSends:
    return SortedSends(sends.is_first[rows], sends.time_ms[rows], sends.was_sent[rows], sends.is_verified[rows])


def _replaced(values: Bools, rows: Ints, others: Bools) -> Bools:
    changed = values.copy()
    changed[rows] = others
    return changed


def _split(sends: SortedSends, apart_ms: int) -> _Runs:
    """Split the sends of each mobile where two are at least ``apart_ms`` apart."""
    starts = sends.is_first.copy()
    starts[1:] |= np.diff(sends.time_ms) >= apart_ms
    first = np.flatnonzero(starts)
    return _Runs(first, np.diff(np.append(first, len(sends))))


def _any(marks: Bools, runs: _Runs) -> Bools:
    """Return for each run whether one of its sends is marked; the runs cover all sends."""
    return np.logical_or.reduceat(marks, runs.first) if len(runs.first) else np.zeros(0, np.bool_)


def _may_exceed(rules: Sequence[Rule], sends: SortedSends) -> Bools:
    """Return whether each send would exceed a rule if all sends before it had been accepted."""
    found = np.zeros(len(sends), np.bool_)
    mobile = np.cumsum(sends.is_first, dtype=np.int32)
    for rule in rules:
        if rule.count < len(sends):
            is_near = sends.time_ms[rule.count :] - sends.time_ms[: -rule.count] < rule.window_ms
            found[rule.count :] |= is_near & (mobile[rule.count :] == mobile[: -rule.count])
    return found


def _free_at_ms(rules: Sequence[Rule], sent_ms: Ints, first: Ints, count: Ints) -> Ints:
    """Return for each run the time from which on the rules allow one more send; see ``policy.wait_ms``.

    Args:
        rules: The rate limits.
        sent_ms: The times of accepted sends: those of a run from its first position on.
        first: The first position of each run.
        count: The number of accepted sends of each run.
    """
    free_ms = np.full(len(first), -_NEVER_MS)
    for rule in rules:
        is_full = count >= rule.count
        oldest_ms = sent_ms[np.where(is_full, first + count - rule.count, 0)]
        free_ms = np.where(is_full, np.maximum(free_ms, oldest_ms + rule.window_ms), free_ms)
    return free_ms


def _play(rules: Sequence[Rule], sends: SortedSends, runs: _Runs, patience_ms: int) -> tuple[Bools, Bools]:
    """Decide the recorded sends of runs; a person makes no send for a time after another response.

    With a ``patience_ms`` of 0, all sends are made. Returns which messages are sent, and which refusals lose a user.
    """
    sent, made = np.zeros(len(sends), np.bool_), np.ones(len(sends), np.bool_)
    has_code = np.zeros(len(sends), np.bool_)
    order = np.argsort(-runs.size, kind="stable")  # so that the runs that are not over are always the first ones
    first, size = runs.first[order], runs.size[order]
    active_at = np.searchsorted(-size, -np.arange(size[0] if len(size) else 0), side="left")
    count, sent_ms = np.zeros(len(first), np.int64), np.zeros(len(sends), np.int64)
    silent_until_ms, is_satisfied = np.full(len(first), -_NEVER_MS), np.zeros(len(first), np.bool_)
    for rank, active in enumerate(active_at.tolist()):
        row, done = first[:active] + rank, count[:active]
        now_ms, silent_ms, satisfied = sends.time_ms[row], silent_until_ms[:active], is_satisfied[:active]
        is_made = now_ms >= silent_ms
        allowed = is_made & (_free_at_ms(rules, sent_ms, first[:active], done) <= now_ms)
        sent_ms[(first[:active] + done)[allowed]] = now_ms[allowed]
        done += allowed
        sent[row], made[row], has_code[row] = allowed, is_made, satisfied
        differs = is_made & (allowed != sends.was_sent[row])
        silent_ms[differs] = now_ms[differs] + patience_ms
        satisfied[differs] = allowed[differs]
    return sent, sends.is_verified & ~sent & ~(~made & has_code)


def _play_with_retries(rules: Sequence[Rule], sends: SortedSends, runs: _Runs, patience_ms: int) -> tuple[Bools, Bools]:
    """Decide the sends of runs; a send that was accepted in the log and is now refused is made again.

    Each round takes the next event of each run: its next recorded send, or its retry. A retry is made when the rules
    allow one more send, so nothing is accepted between a refusal and its retry, and a run has one retry at a time.
    Returns which messages are sent, and which refusals lose a user.
    """
    sent, lost = np.zeros(len(sends), np.bool_), np.zeros(len(sends), np.bool_)
    sent_ms = np.zeros(len(sends), np.int64)
    count, position = np.zeros_like(runs.first), np.zeros_like(runs.first)
    retry_ms, retry_row = np.full(len(runs.first), _NEVER_MS), np.zeros_like(runs.first)
    live = np.flatnonzero(runs.size > 0)
    while len(live):
        first, at = runs.first[live], position[live]
        is_over = at >= runs.size[live]
        row = first + np.where(is_over, 0, at)
        next_ms = np.where(is_over, _NEVER_MS, sends.time_ms[row])
        free_ms = _free_at_ms(rules, sent_ms, first, count[live])
        retries = retry_ms[live] <= next_ms
        now_ms = np.where(retries, retry_ms[live], next_ms)
        allowed = retries | (free_ms <= now_ms)
        row = np.where(retries, retry_row[live], row)
        sent[row[allowed]] = True
        sent_ms[(first + count[live])[allowed]] = now_ms[allowed]
        count[live] += allowed
        refused = ~allowed & sends.was_sent[row]
        lost[row[refused]] = (sends.is_verified[row] & (free_ms - now_ms > patience_ms))[refused]
        begins = refused & (retry_ms[live] == _NEVER_MS)
        retry_row[live[begins]] = row[begins]
        retry_ms[live] = np.where(begins, free_ms, np.where(retries, _NEVER_MS, retry_ms[live]))
        position[live] += ~retries
        live = live[(position[live] < runs.size[live]) | (retry_ms[live] < _NEVER_MS)]
    return sent, lost
