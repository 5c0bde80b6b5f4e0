"""Faults: what failed, how fast that spends a budget, and who means harm."""

from __future__ import annotations

import altair as alt
import pandas as pd

from toolkit import number_format
from toolkit.analysis.charts import labels, row_labels
from toolkit.analysis.charts.base import (
    INK,
    WIDTH,
    Row,
    clock,
    colour,
    data,
    empty,
    few,
    finish,
    legend,
    note,
    plain,
    present,
    scale,
)
from toolkit.outcome_colours import KIND_COLOURS

_BURNS = {"burn_long": "the long window", "burn_short": "the short one", "worst_burn": "the worst long one"}
_BURN_SHAPES = {"the long window": "circle", "the short one": "square", "the worst long one": "cross"}
_BURN_COLOURS = {"the long window": "#1d5ea8", "the short one": "#8fb4dc", "the worst long one": "#8f1424"}
_PARTS = {"conversion_score": "conversion", "burst_score": "burst", "runs_score": "runs"}
_PART_COLOURS = {"conversion": "#12305c", "burst": "#3d7fc4", "runs": "#b9d3ec"}
_FAILED, _REFUSED, _GOT_IN = "wrong or expired", "refused for frequency", "a right one after them"


def errors(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``errors``: from the first to the last of each outcome; a diamond where most were, the larger the more."""
    if not len(frame):
        return empty("No errors", width)
    found = plain(frame.nlargest(row_labels.MOST, "calls").sort_index())
    rows = row_labels.place([_error_row(row) for row in found])
    layout = row_labels.lay(row_labels.name(rows, len(frame) - len(rows)), width)
    looks = present(KIND_COLOURS, rows, "kind")
    start, end = min(row["first_seen"] for row in rows), max(row["last_seen"] for row in rows)
    room = max((end - start) * 0.02, 30_000)
    spans = alt.Chart(data(rows), width=layout.width, height=layout.height).encode(
        x=clock("first_seen:T", start - room, end + room, layout.width),
        y=layout.y,
        color=colour("kind:N", looks, width),
    )
    busiest = spans.mark_point(shape="diamond", filled=True, opacity=1, stroke=INK, strokeWidth=1)
    part = alt.Size("part:Q", scale=alt.Scale(domain=[0, 1], range=[40, 400]), legend=None)
    words = note("diamond: when most of them were, the larger the more of all", layout.width)
    ends = [spans.mark_tick(thickness=2, height=12).encode(x=f"{name}:T") for name in ("first_seen", "last_seen")]
    line = spans.mark_rule(strokeWidth=3).encode(x2="last_seen:T")
    return finish(alt.layer(line, *ends, busiest.encode(x="busiest:T", size=part)).properties(title=words))


def burn_rates(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``burn_rates``: how fast each pair of windows burns the budget, and the threshold that calls somebody."""
    if not frame["worst_at"].notna().any():
        return empty("No calls", width)
    pairs = row_labels.place([row | {"label": _pair(row)} for row in plain(frame)])
    layout = row_labels.lay(row_labels.name(pairs), width)
    burns = [{"place": row["place"], "of": of, "burn": row[name] or 0} for row in pairs for name, of in _BURNS.items()]
    limits = [{"place": row["place"], "burn": row["threshold"]} for row in pairs]
    axis = _burn_axis(max(row["burn"] for row in [*burns, *limits]))
    points = alt.Chart(data(burns), width=layout.width, height=layout.height).encode(x=axis, y=layout.y)
    ticks = alt.Chart(data(limits)).mark_tick(thickness=3, height=18, color=INK).encode(x=axis, y=layout.y)
    shape = alt.Shape("of:N", title=None, scale=scale(_BURN_SHAPES), legend=legend(width, _BURN_SHAPES))
    looks = {"shape": shape, "color": colour("of:N", _BURN_COLOURS, width)}
    return finish(
        alt.layer(ticks, points.mark_point(filled=True, size=90, opacity=1).encode(**looks)).properties(
            title=note("upright: the threshold that both windows have to exceed", layout.width)
        )
    )


def suspects(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``suspects``: the score of each prefix in its three parts, the highest first."""
    if not len(frame):
        return empty("No accepted sends", width)
    rows = row_labels.place([row | {"label": _prefix(row)} for row in plain(frame.head(row_labels.MOST))])
    layout = row_labels.lay(row_labels.name(rows, len(frame) - len(rows)), width)
    parts = [
        {"place": row["place"], "part": part, "score": row[name], "order": order, "flagged": row["flagged"]}
        for row in rows
        for order, (name, part) in enumerate(_PARTS.items())
    ]
    bars = alt.Chart(data(parts), width=layout.width, height=layout.height).encode(
        x=alt.X("score:Q", title="score (of 100)", scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(tickCount=5)),
        y=layout.y,
    )
    stacked = bars.mark_bar(height=14).encode(color=colour("part:N", _PART_COLOURS, width), order="order:Q")
    return finish(stacked)


def guessers(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``guessers``: the failed verifies of each mobile and those refused; a diamond where a right one followed."""
    if not len(frame):
        return empty("No mobile of which many verifies failed", width)
    found = [row | {"label": _mobile(row), "end": row["failed"] + row["refused"]} for row in plain(frame)]
    rows = row_labels.place(found)
    layout = row_labels.lay(row_labels.name(rows, len(found) - len(rows)), width)
    tries = [row for it in rows for row in _tries(it)]
    looks = present({_FAILED: "#1d5ea8", _REFUSED: KIND_COLOURS["RATE"]}, [it for it in tries if it["tries"]], "of")
    bars = alt.Chart(data(tries), width=layout.width, height=layout.height).encode(
        x=alt.X("tries:Q", title="verifies", axis=alt.Axis(format=",d", tickCount=few(layout.width), tickMinStep=1)),
        y=layout.y,
    )
    marked = [{"place": row["place"], "tries": row["end"], "mark": _GOT_IN} for row in rows if row["got_in"]]
    shape = alt.Shape("mark:N", title=None, scale=scale({_GOT_IN: "diamond"}))
    marks = alt.Chart(data(marked)).mark_point(filled=True, size=130, color="#8f1424", opacity=1)
    stacked = bars.mark_bar(height=14).encode(color=colour("of:N", looks, width), order="order:Q")
    if not marked:
        return finish(stacked)
    return finish(alt.layer(stacked, marks.encode(x="tries:Q", y=layout.y, shape=shape)))


def _burn_axis(most: float) -> alt.X:
    """Return a log axis that has a place for 0."""
    axis = alt.Axis(values=[0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], format=",~f", labelOverlap=True)
    symlog = alt.Scale(type="symlog", domain=[0, most * 1.2], nice=False)
    return alt.X("burn:Q", title="burn rate (at 1 a budget lasts its period)", scale=symlog, axis=axis)


def _tries(row: Row) -> list[Row]:
    counts = [(_FAILED, row["failed"]), (_REFUSED, row["refused"])]
    return [{"place": row["place"], "of": of, "tries": it, "order": order} for order, (of, it) in enumerate(counts)]


def _error_row(row: Row) -> Row:
    times = {name: row[name] for name in ("first_seen", "last_seen")}
    times["busiest"] = max(row["busiest"], row["first_seen"])  # a bucket may begin before the first one
    label = f"{row['endpoint']} {labels.outcome(row)}: {number_format.plural(row['calls'], 'call')}"
    part = row["busiest_calls"] / row["calls"] if row["calls"] else 0
    return times | {"label": label, "kind": labels.kind(row), "part": part}


def _pair(row: Row) -> str:
    windows = f"{number_format.duration(row['long_s'])} and {number_format.duration(row['short_s'])}"
    return f"{row['action']}, {windows}" + (", firing" if row["firing"] else "")


def _prefix(row: Row) -> str:
    return f"{row['prefix']}: {number_format.plural(row['sends'], 'send')}" + (", flagged" if row["flagged"] else "")


def _mobile(row: Row) -> str:
    """Name a mobile by the begin of its key, in letters as well, and by its prefix."""
    key = f"{row['mobile_key'] & 0xFFFF_FFFF_FFFF_FFFF:016x}"[:6]
    prefix = f" ({row['prefix']} …)" if row["prefix"] else ""
    return f"key {key}{prefix}: {row['failed']:,} failed" + (", flagged" if row["flagged"] else "")
