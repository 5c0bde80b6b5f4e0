"""Plot prefixes suspected of SMS pumping and mobiles whose codes are guessed."""

from __future__ import annotations

import altair as alt
import pandas as pd

from toolkit import number_format
from toolkit.analysis.charts import row_layout
from toolkit.analysis.charts.base import (
    WIDTH,
    Row,
    colour_channel,
    empty_chart,
    inline,
    named_scale,
    tick_count,
    to_rows,
    used_only,
    with_theme,
)
from toolkit.outcome_colours import KIND_COLOURS
from toolkit.records.call_record import short_key

_SCORES = {"conversion_score": "conversion", "burst_score": "burst", "runs_score": "runs"}
_SCORE_COLOURS = {"conversion": "#12305c", "burst": "#3d7fc4", "runs": "#b9d3ec"}
_FAILED, _REFUSED, _GOT_IN = "failed", "refused for frequency", "succeeded afterwards"
_VERIFY_COLOURS = {_FAILED: "#1d5ea8", _REFUSED: KIND_COLOURS["RATE"]}


def suspects(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``suspects``: the score of each prefix, stacked by its three parts.

    Args:
        frame: The result of ``suspects``.
        width: The width of the chart, px.
    """
    if not len(frame):
        return empty_chart("No accepted sends", width)
    found = to_rows(frame.head(row_layout.MAX_ROWS))
    for row in found:
        sends = number_format.plural(row["sends"], "send")
        row["label"] = f"{row['prefix']}: {sends}" + (", flagged" if row["flagged"] else "")
    rows = row_layout.place_rows(found)
    layout = row_layout.lay_out(row_layout.labels_of(rows, len(frame) - len(rows)), width)
    parts = [
        {"place": row["place"], "part": part, "score": row[name], "order": order, "flagged": row["flagged"]}
        for row in rows
        for order, (name, part) in enumerate(_SCORES.items())
    ]
    bars = alt.Chart(inline(parts), width=layout.width, height=layout.height).encode(
        x=alt.X("score:Q", title="score (of 100)", scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(tickCount=5)),
        y=layout.y,
    )
    colour = colour_channel("part:N", _SCORE_COLOURS, width)
    return with_theme(bars.mark_bar(height=14).encode(color=colour, order="order:Q"))


def guessers(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``guessers``: the failed and refused verifies of each mobile.

    A diamond marks a mobile with a successful verify afterwards.

    Args:
        frame: The result of ``guessers``.
        width: The width of the chart, px.
    """
    if not len(frame):
        return empty_chart("No mobiles with many failed verifies", width)
    found = [row | {"label": _mobile_label(row), "end": row["failed"] + row["refused"]} for row in to_rows(frame)]
    rows = row_layout.place_rows(found)
    layout = row_layout.lay_out(row_layout.labels_of(rows, len(found) - len(rows)), width)
    verifies = [
        {"place": row["place"], "outcome": outcome, "verifies": row[column], "order": order}
        for row in rows
        for order, (outcome, column) in enumerate({_FAILED: "failed", _REFUSED: "refused"}.items())
    ]
    colours = used_only(_VERIFY_COLOURS, [row for row in verifies if row["verifies"]], "outcome")
    axis = alt.Axis(format=",d", tickCount=tick_count(layout.width), tickMinStep=1)
    bars = alt.Chart(inline(verifies), width=layout.width, height=layout.height).encode(
        x=alt.X("verifies:Q", title="verifies", axis=axis), y=layout.y
    )
    stacked = bars.mark_bar(height=14).encode(color=colour_channel("outcome:N", colours, width), order="order:Q")
    marked = [{"place": row["place"], "verifies": row["end"], "mark": _GOT_IN} for row in rows if row["got_in"]]
    if not marked:
        return with_theme(stacked)
    shape = alt.Shape("mark:N", title=None, scale=named_scale({_GOT_IN: "diamond"}))
    marks = alt.Chart(inline(marked)).mark_point(filled=True, size=130, color="#8f1424", opacity=1)
    return with_theme(alt.layer(stacked, marks.encode(x="verifies:Q", y=layout.y, shape=shape)))


def _mobile_label(row: Row) -> str:
    """Return the label of a mobile: the first digits of its key in hexadecimal, and its prefix."""
    prefix = f" ({row['prefix']} …)" if row["prefix"] else ""
    return f"key {short_key(row['mobile_key'])}{prefix}: {row['failed']:,} failed" + (
        ", flagged" if row["flagged"] else ""
    )
