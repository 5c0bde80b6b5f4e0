"""Infer the rate limits of a service from a log of accepted and refused sends.

Problem. An API refuses sends that come too often, but doesn't document its rules. A rule accepts ``count`` sends to
a mobile per window of some length. The log holds sends that were accepted or refused; find the rules behind them.

Method. The steps are those of the modules of this package:

    clock_offsets    correct the times of hosts whose clocks are wrong
         |
    send_attempts    sort the sends of each mobile; bound the age of earlier ones by clock skew and latency
         |
    candidates       families of candidate rules; a score for each send in each family (fixed_windows counts)
         |
    rule_cover       the fewest rules that explain the refusals (weighted set cover), without those due to chance
         |
    rule_search      search on a sample of mobiles, then prove the rules on all; repeat with mobiles left unexplained
         |
    log_split        infer again by app, or before and after a time, if rules differ or changed
         |
    window_fit       bounds of each window, the roundest length between them, and its shape

Worked example. Ten sends to one mobile, in seconds, under a limit of one send in 60 s (refused sends in brackets):

    0   [20]   [58]   61   [90]   200   [225]   262   [300]   322

1. Attempts. 20 and 58 have no accepted send between them, so together they count as one row of refusals: 4 rows in all.
2. Candidates. In the family "sliding, count 1" the score is the age of the last accepted send:

       refused   20, 58, 29, 25, 38
       accepted  61, 139, 62, 60 (the first send has no score)

   A threshold of 60 s separates them. In the family "sliding, count 2" the scores of 20 and 58 are infinite, because
   only one accepted send came before. So no finite window of this family explains these two.
3. Cover. The candidates are the accepted scores. A threshold of 60 explains 5 refusals with no breach, so its gain is
   5 - 1 (cost of a rule) = 4. A threshold of 61 explains the same with one breach: 5 - 1 - 20 = -16. The best rule of
   count 2 gains 1. The first one is added; no refusal is left, so the cover is complete.
4. Chance. 4 rows were refused and 5 sends accepted. A coin with a bias of 4 / 9 refuses the 4 lowest scores with
   a probability of (4 / 9) ** 4, which is multiplied by the 3 families tried: 0.12. That is above 0.01, so ten sends
   prove no rule, and ``limits`` returns none. The same sends to two mobiles give 4 * (8 / 18) ** 8 = 0.006, and the
   rule is found.
5. Window fit. The highest refused score is 58 s and the lowest accepted one 60 s. 60 s is the only round length between
   them, so the result is 1 send in 60 s. The sends to two mobiles also show the shape: windows by the clock explain
   fewer than all refusals.

Each constant has a comment with its trade-off, next to the code that uses it. The two most important ones:
``BREACH_COST`` = 20 (rule_cover) decides how leaky a rule may be, and ``_MAX_CHANCE`` = 0.01 how large a log must be to
show a rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from toolkit.analysis.calls_table import IntoCalls, lazy
from toolkit.analysis.rate_limits.candidates import AttemptSlice, WindowShape
from toolkit.analysis.rate_limits.clock_offsets import ClockOffset, correct_times, find_offsets
from toolkit.analysis.rate_limits.log_split import RuleScope, split_log
from toolkit.analysis.rate_limits.rule_cover import InferredRule, is_unexplained
from toolkit.analysis.rate_limits.rule_search import known_history_start_ns
from toolkit.analysis.rate_limits.send_attempts import SendAttempts, at_speed, collect_attempts
from toolkit.analysis.rate_limits.window_fit import UNDECIDED, explained_alone, fit_windows, window_shape
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import NS_PER_S, parse_width_ns, to_utc

MOST_SENDS = 5_000_000
SKEW_MS = 50.0
_COLUMNS: dict[str, Any] = {
    "app_key": "category",
    "since": "int64",
    "until": "int64",
    "max_sends": "Int64",
    "window_s": "float64",
    "window_low_s": "float64",
    "window_high_s": "float64",
    "window_shape": pd.CategoricalDtype([*(shape.value for shape in WindowShape), UNDECIDED]),
    "refusals": "int64",
    "refused": "int64",
    "alone": "int64",
    "bounded_by": "int64",
    "broken_by": "int64",
    "chance": "float64",
    "note": pd.StringDtype("pyarrow"),
}
_NO_RULE: dict[str, Any] = dict.fromkeys(("window_s", "window_low_s", "window_high_s", "chance"), nan) | {
    "max_sends": None,
    "window_shape": None,
    "bounded_by": 0,
    "broken_by": 0,
}


@returns_result
def limits(
    calls: IntoCalls,
    most: int = MOST_SENDS,
    skew_ms: float = SKEW_MS,
    offsets: Sequence[ClockOffset] | None = None,
    speed: float = 1.0,
) -> pd.DataFrame:
    """Infer the rate limits per mobile from accepted sends and from sends refused as out of frequency.

    The result is the smallest set of rules that explains the refusals and that next to no accepted send breaks. If apps
    have contradicting rules, or if rules changed, each app or period has separate rows. Refused verifies don't count:
    they follow another rule, on failed attempts. Nothing is sent. The times of hosts that ``clock_offsets`` finds are
    corrected first.

    Args:
        calls: the result of ``read``, or a frame with mobile_key.
        most: maximum number of sends to load, which take about 250 bytes each. If there are more, mobiles are sampled;
            four fifths of the sample are sends to mobiles with a refusal.
        skew_ms: maximum difference between the clocks of the clients' hosts, in ms, after ``offsets`` corrected them.
        offsets: the result of ``find_offsets``, if it is known already.
        speed: how many times faster the service's clock ran than the records' clock, as in a run with ``--speed``.
            Windows are those of the service's clock; since and until are those of the records.

    Returns one row per rule, and after the rules of an app or period one row for the unexplained refusals; no rows if
    no send was refused. Columns:
        app_key (category): null if the rule holds for all apps.
        since, until (datetime64[ns, UTC]): the period of the rule.
        max_sends (Int64): sends accepted per window; null in the row of unexplained refusals.
        window_s (float64, s): the roundest window length within its bounds; null if no round length fits.
        window_low_s, window_high_s (float64, s): bounds of the window length; null if the log has no bound.
        window_shape (category): "sliding"; "clock" if windows begin at each multiple of their length; "first send" if
            a window begins with a send outside any window; "undecided" if the log fits several shapes.
        refusals (int64): refusals that the rule explains.
        refused (int64): all refusals of the app and period, to which ``refusals`` relates.
        alone (int64): refusals that only this rule explains.
        bounded_by (int64): accepted sends that could have broken the rule.
        broken_by (int64): accepted sends that broke it.
        chance (float64, 0..1): probability of finding such a rule if sends had been refused at random.
        note (string): other windows that fit, or possible reasons for unexplained refusals.

    Raises InputError if the frame has no mobile_key.

    Example: ``limits(read("runs/*"))`` gives max_sends 1, window_s 60.0 and window_shape "sliding" for a limit of
    one send a minute. The method is described at the head of this module.
    """
    table = lazy(calls, "return_code", "mobile_key")
    offsets = find_offsets(table) if offsets is None else offsets
    by_service, origin_ns = at_speed(correct_times(table, offsets), speed)
    attempts = collect_attempts(by_service, most, skew_ms * speed)
    scopes = split_log(attempts) if len(attempts.refused) else []
    rows = pd.DataFrame([row for scope in scopes for row in _rows(attempts, scope, offsets)], columns=list(_COLUMNS))
    rows = rows.astype(_COLUMNS)
    if speed != 1:
        ends = {it: origin_ns + ((rows[it] - origin_ns) / speed).round().astype("Int64") for it in ("since", "until")}
        rows = rows.assign(**ends)
    return rows.assign(since=to_utc(rows["since"]), until=to_utc(rows["until"]))


@returns_result
def most_accepted(
    calls: IntoCalls,
    windows: Sequence[str | pd.Timedelta] = ("1min", "10min", "1h", "1D"),
    most: int = MOST_SENDS,
    skew_ms: float = SKEW_MS,
    offsets: Sequence[ClockOffset] | None = None,
    speed: float = 1.0,
) -> pd.DataFrame:
    """Find the highest number of sends to one mobile of an app that were accepted within each of some windows.

    No rate limit can be lower. ``windows`` are durations such as "1min"; ``most``, ``skew_ms``,
    ``offsets`` and ``speed`` are as in ``limits``.

    Returns one row per window, in the given order. Columns:
        window_s (float64, s): length of the window.
        most_accepted (int64): sends that were certainly accepted within it.
        app_key (category): app of the first such sends; null if nothing was accepted.
        reached_at (datetime64[ns, UTC]): start of the last of these sends; null if nothing was accepted.

    Raises InputError for an invalid window and if the frame has no mobile_key.

    Example: ``most_accepted(read("runs/*"), ["1min"])`` has most_accepted 1 if one send a minute is the limit.
    """
    widths_s = [parse_width_ns(window) / NS_PER_S for window in windows]
    table = lazy(calls, "return_code", "mobile_key")
    offsets = find_offsets(table) if offsets is None else offsets
    by_service, origin_ns = at_speed(correct_times(table, offsets), speed)
    attempts = collect_attempts(by_service, most, skew_ms * speed)
    rows = [_most_accepted(attempts, width_s) for width_s in widths_s]
    found = pd.DataFrame(rows, columns=["most_accepted", "app_key", "reached_at"]).astype(
        {"app_key": "category", "reached_at": "Int64"}
    )
    if speed != 1:
        found["reached_at"] = origin_ns + ((found["reached_at"] - origin_ns) / speed).round().astype("Int64")
    found.insert(0, "window_s", pd.Series(widths_s, dtype="float64"))
    return found.astype({"most_accepted": "int64"}).assign(reached_at=to_utc(found["reached_at"]))


def _most_accepted(attempts: SendAttempts, window_s: float) -> tuple[int, str | None, int | None]:
    """Find the largest count by bisection, because the age of the count-th last send grows with the count."""
    accepted = attempts.accepted
    if not len(accepted):
        return 0, None, None
    low, high, last = 0, int(accepted.rank.max()) + 1, accepted.start_ns.argmin()
    while high - low > 1:
        count = (low + high) // 2
        which = np.flatnonzero(accepted.rank >= count)
        within = which[attempts.max_ages_s(count, which) < window_s]
        low, high = (count, high) if len(within) else (low, count)
        last = within[accepted.start_ns[within].argmin()] if len(within) else last
    return low + 1, attempts.apps[accepted.app[last]], int(accepted.start_ns[last])


def _rows(attempts: SendAttempts, scope: RuleScope, offsets: Sequence[ClockOffset]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a scope: its rules, the shortest window first, then the unexplained refusals."""
    sends = scope.select(attempts)
    app_key = None if scope.app is None else attempts.apps[scope.app]
    shared = {"app_key": app_key, "since": scope.since_ns, "until": scope.until_ns, "refused": len(sends.refusals)}
    fitted = fit_windows(sends, scope.rules)
    rules = [rule for rule, _ in fitted]
    for rule, estimate in fitted:
        alone = explained_alone(rules, rule)
        yield shared | {
            "max_sends": rule.count,
            "window_s": estimate.window_s,
            "window_low_s": estimate.low_s,
            "window_high_s": estimate.high_s,
            "window_shape": window_shape(sends, rule, estimate, alone),
            "refusals": int(rule.explains.sum()),
            "alone": int(alone.sum()),
            "bounded_by": rule.scores.bounding,
            "broken_by": rule.breaches,
            "chance": rule.chance,
            "note": estimate.note,
        }
    yield shared | _NO_RULE | _unexplained_row(sends, rules, offsets)


def _unexplained_row(
    sends: AttemptSlice, rules: Sequence[InferredRule], offsets: Sequence[ClockOffset]
) -> dict[str, Any]:
    """Return the number of unexplained refusals, with possible reasons."""
    refused, unexplained = sends.attempts.refused, is_unexplained(rules, len(sends.refusals))
    is_early = unexplained & (refused.start_ns[sends.refusals] < known_history_start_ns(sends.attempts, rules))
    is_after_loss = unexplained & refused.is_after_loss[sends.refusals] & ~is_early
    reasons = {
        "at the start of the log, before which sends are unknown": int(is_early.sum()),
        "less than a day after a send whose response was lost": int(is_after_loss.sum()),
    }
    notes = [f"{count} {reason}" for reason, count in reasons.items() if count]
    notes += [f"the times of {it.source} were corrected: its clock was {it}" for it in offsets]
    sample_ratio = sends.attempts.sample_ratio
    if sample_ratio < 1:
        notes.append(f"of a sample of {sample_ratio:.1%} of the mobiles that were refused a send")
    refusals = int(unexplained.sum())
    return {"refusals": refusals, "alone": refusals, "note": "; ".join(notes)}
