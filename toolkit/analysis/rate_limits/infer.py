"""Windows: the frequency rules that a log implies, without sending anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from toolkit.analysis.calls_table import IntoCalls, lazy
from toolkit.analysis.rate_limits.candidates import Shape, View
from toolkit.analysis.rate_limits.log_split import Part, divide
from toolkit.analysis.rate_limits.rule_cover import Line, left
from toolkit.analysis.rate_limits.rule_search import known_from_ns
from toolkit.analysis.rate_limits.send_attempts import Attempts, Bools, collect_attempts
from toolkit.analysis.rate_limits.window_fit import UNDECIDED, Window, alone, settle, shape
from toolkit.analysis.timestamps import NS_PER_S, parse_width_ns, to_utc

MOST_SENDS = 5_000_000
SKEW_MS = 50.0
_COLUMNS: dict[str, Any] = {
    "app_key": "category",
    "since": "int64",
    "until": "int64",
    "count": "Int64",
    "window_s": "float64",
    "window_low_s": "float64",
    "window_high_s": "float64",
    "shape": pd.CategoricalDtype([*(it.value for it in Shape), UNDECIDED]),
    "refusals": "int64",
    "alone": "int64",
    "bounded_by": "int64",
    "broken_by": "int64",
    "chance": "float64",
    "note": pd.StringDtype("pyarrow"),
}
_NO_RULE: dict[str, Any] = dict.fromkeys(("window_s", "window_low_s", "window_high_s", "chance"), nan) | {
    "count": None,
    "shape": None,
    "bounded_by": 0,
    "broken_by": 0,
}


def limits(calls: IntoCalls, most: int = MOST_SENDS, skew_ms: float = SKEW_MS) -> pd.DataFrame:
    """Infer the rules of how often a mobile of an app may be sent a code, from sends accepted and out of frequency.

    They are the fewest that explain what was refused and that next to no accepted send breaks. An accepted send bounds
    a rule's window from above, a refused one that no other rule explains from below. Where apps have rules that
    contradict one another, or rules were changed, each app or period has rows of its own. Verifies out of frequency
    are another rule, of failed tries, and don't count.

    ``most``: how many sends are fetched, which take about 250 bytes each; if there are more, those to a sample of
    mobiles, four fifths of them to such as were refused one. ``skew_ms``: how far the clocks of the callers' hosts may
    be apart.

    One row per rule, and after those of an app or period one for what none of them explains; none where no send was
    refused; columns: app_key (category, null for all together), since, until (UTC, datetime64[ns, UTC]), count (sends
    allowed in a window, Int64, null for what none explains), window_s (the roundest that fits, s, float64, null where
    none does), window_low_s, window_high_s (between which it lies, s, float64, null where nothing bounds it), shape (of
    the windows: "sliding", "clock": from each multiple of their length on, "first send": from one that no window holds
    on, or "undecided" where the log doesn't tell; category), refusals (that it explains, int64), alone (those of them
    that no other rule explains, int64), bounded_by (accepted sends that could have broken it, int64), broken_by (those
    that did, int64), chance (of a rule to be found here if what it alone explains were refused by chance, 0..1,
    float64), note (string).
    """
    attempts = collect_attempts(lazy(calls, "mobile_key"), most, skew_ms)
    parts = divide(attempts) if len(attempts.refused) else []
    rows = pd.DataFrame([row for part in parts for row in _rows(attempts, part)], columns=list(_COLUMNS))
    rows = rows.astype(_COLUMNS)
    return rows.assign(since=to_utc(rows["since"]), until=to_utc(rows["until"]))


def most_accepted(
    calls: IntoCalls,
    windows: Sequence[str | pd.Timedelta] = ("1min", "10min", "1h", "1D"),
    most: int = MOST_SENDS,
    skew_ms: float = SKEW_MS,
) -> pd.DataFrame:
    """Tell how many sends to a mobile of an app were ever accepted within each of these times: what no rule forbids.

    ``most``, ``skew_ms``: as of ``limits``.

    One row per window, as given; columns: window_s (s, float64), most_accepted (surely within it, int64), app_key
    (whose, of the first ones, category), at (when the last of these started, UTC, datetime64[ns, UTC]); null where
    nothing was accepted. Raise InputError for a width that isn't one.
    """
    widths_s = [parse_width_ns(it) / NS_PER_S for it in windows]
    attempts = collect_attempts(lazy(calls, "mobile_key"), most, skew_ms)
    rows = [_most(attempts, it) for it in widths_s]
    found = pd.DataFrame(rows, columns=["most_accepted", "app_key", "at"]).astype(
        {"app_key": "category", "at": "Int64"}
    )
    found.insert(0, "window_s", pd.Series(widths_s, dtype="float64"))
    return found.astype({"most_accepted": "int64"}).assign(at=to_utc(found["at"]))


def _most(attempts: Attempts, window_s: float) -> tuple[int, str | None, int | None]:
    """Find the largest count by halving: the more sends, the older is the first of them."""
    accepted = attempts.accepted
    if not len(accepted):
        return 0, None, None
    low, high, last = 0, int(accepted.rank.max()) + 1, accepted.start_ns.argmin()
    while high - low > 1:
        count = (low + high) // 2
        which = np.flatnonzero(accepted.rank >= count)
        within = which[attempts.ages_s(count, which) < window_s]
        low, high = (count, high) if len(within) else (low, count)
        last = within[accepted.start_ns[within].argmin()] if len(within) else last
    return low + 1, attempts.apps[accepted.app[last]], int(accepted.start_ns[last])


def _rows(attempts: Attempts, part: Part) -> Iterator[dict[str, Any]]:
    """Yield the rules of a part, the shortest window first, and what none explains."""
    view = part.view(attempts)
    app = None if part.app is None else attempts.apps[part.app]
    whose = {"app_key": app, "since": part.since_ns, "until": part.until_ns}
    rules = settle(view, part.lines)
    lines = [line for line, _ in rules]
    for line, window in rules:
        yield whose | _row(view, line, window, alone(lines, line))
    yield whose | _NO_RULE | _rest(view, lines)


def _row(view: View, line: Line, window: Window, alone: Bools) -> dict[str, Any]:
    return {
        "count": line.count,
        "window_s": window.window_s,
        "window_low_s": window.low_s,
        "window_high_s": window.high_s,
        "shape": shape(view, line, window, alone),
        "refusals": int(line.explains.sum()),
        "alone": int(alone.sum()),
        "bounded_by": line.axis.bounded,
        "broken_by": line.broken,
        "chance": line.chance,
        "note": window.note,
    }


def _rest(view: View, lines: Sequence[Line]) -> dict[str, Any]:
    """Return what no rule explains, and what may have been the reason."""
    refused, rest = view.attempts.refused, left(lines, len(view.refusals))
    early = rest & (refused.start_ns[view.refusals] < known_from_ns(view.attempts, lines))
    lost = rest & refused.is_after_loss[view.refusals] & ~early
    reasons = {
        "at the begin of the log, where earlier sends are unknown": int(early.sum()),
        "less than a day after a send whose answer was lost": int(lost.sum()),
    }
    said = [f"{count} {reason}" for reason, count in reasons.items() if count]
    ratio = view.attempts.ratio
    said += [f"of a sample of {ratio:.1%} of the mobiles that were refused a send"] if ratio < 1 else []
    return {"refusals": int(rest.sum()), "alone": int(rest.sum()), "note": "; ".join(said)}
