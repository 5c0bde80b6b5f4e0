"""Plot the cost of messages, its forecast, and the reconciliation of a statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import altair as alt
import pandas as pd

from toolkit import number_format
from toolkit.analysis.charts import labels, row_layout
from toolkit.analysis.charts.base import (
    HEIGHT,
    INK,
    PALE,
    WIDTH,
    Layers,
    Row,
    colour_channel,
    empty_chart,
    inline,
    named_scale,
    partial_opacity,
    subtitle,
    tick_count,
    time_axis,
    to_rows,
    with_theme,
)
from toolkit.analysis.timestamps import zone_name
from toolkit.browser_charts.panels import PARTIAL, PARTIAL_BELOW

_DAY_MS = 86_400_000
_ALL, _UNVERIFIED, _OTHER = "all messages", "unverified messages", "other"
_GROUPS = {"temp_id": "template", "carrier": "carrier", "app_key": "app"}  # the first one in a frame is plotted
# From light to dark, so that their order can be seen in grey too.
_GROUP_COLOURS = ("#dfe39a", "#a3d08c", "#58b08b", "#2f8797", "#1f5f90", "#1b3a68")
_UNVERIFIED_BAR = (0.36, 0.64)  # the position of the inner bar within a day
_RECORDED, _FORECAST = "recorded", "forecast (95 % interval)"
_LINE_COLOUR, _BAND_COLOUR = "#1d5ea8", "#bcd3ec"
_MORE, _LESS = "more than recorded", "less than recorded"
_DIFFERENCE_COLOURS = {_MORE: "#8f1424", _LESS: "#8fb4dc"}


def cost(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``cost``: the cost by day, stacked by template, carrier or app.

    Without days, there is one bar for each template, carrier or app. A dark inner bar shows the cost of unverified
    messages. The first and the last day are pale if the calls cover only a part of them.

    Args:
        frame: The result of ``cost``.
        width: The width of the chart, px.
    """
    rows = [row | {"group": _group_label(row)} for row in to_rows(frame) if row["money"] is not None]
    if not rows:
        return empty_chart("No messages with a price", width)
    unpriced = int(frame["unpriced"].sum())
    title = f"cost ({rows[0]['currency'] or 'no currency'})"
    chart = _cost_by_day(rows, title, width, zone_name(frame)) if "day" in frame else _cost_by_group(rows, title, width)
    notes = [f"without {number_format.plural(unpriced, 'segment')} that have no price"] if unpriced else []
    notes += [PARTIAL] if any(row.get("covered_ratio", 1) < PARTIAL_BELOW for row in rows) else []
    if notes:
        chart = chart.properties(title=subtitle("; ".join(notes), width))
    return with_theme(chart)


def forecast(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot the result of ``forecast_by_day``: the cost to date and the forecast with its 95 % interval.

    Without prices, the number of messages is plotted.

    Args:
        frame: The result of ``forecast_by_day``.
        width: The width of the chart, px.
    """
    has_money = frame["money_to_date"].notna().any()
    name = "money_to_date" if has_money else "messages_to_date"
    rows = [_to_date_row(row, name) for row in to_rows(frame) if row[name] is not None]
    if not rows:
        return empty_chart("No messages and no forecast", width)
    unit = rows[0]["currency"] if has_money else ""
    title = f"cost to date ({unit})" if has_money else "messages to date"
    dashes = {_RECORDED: [1, 0]} | ({_FORECAST: [5, 4]} if any(row["part"] == _FORECAST for row in rows) else {})
    base = alt.Chart(inline(_connected(rows)), width=width, height=HEIGHT).encode(
        x=time_axis("end:T", rows[0]["end"] - _DAY_MS, rows[-1]["end"], width, zone_name(frame)),
        y=alt.Y("at:Q", title=title, axis=alt.Axis(format=",~f", tickCount=5), scale=alt.Scale(zero=True)),
    )
    last = alt.Chart(inline(rows[-1:]))
    total = rows[-1]["tooltip"]
    dash = alt.StrokeDash("part:N", title=None, scale=named_scale(dashes))
    return with_theme(
        alt.layer(
            base.mark_area(color=_BAND_COLOUR, aria=False).encode(y="low:Q", y2="high:Q"),
            base.mark_line(color=_LINE_COLOUR, strokeWidth=2.5).encode(strokeDash=dash),
            alt.Chart(inline(rows[:-1]))  # only for tooltips
            .mark_point(filled=True, size=90, opacity=0)
            .encode(x="end:T", y="at:Q", description="tooltip:N"),
            last.mark_point(color=_LINE_COLOUR, filled=True, size=60, opacity=1).encode(
                x="end:T", y="at:Q", description="tooltip:N"
            ),
        ).properties(title=subtitle(total, width))
    )


def reconcile(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Plot ``reconcile(...).summary``: the steps from the recorded to the billed amount, by kind of discrepancy.

    Args:
        frame: The summary of the reconciliation.
        width: The width of the chart, px.
    """
    rows = list(_waterfall_rows(to_rows(frame)))
    if not rows:
        return empty_chart("No statement", width)
    layout = row_layout.lay_out(row_layout.labels_of(rows), width)
    title = f"difference to the records ({rows[0]['currency'] or 'no currency'})"
    axis = alt.Axis(format="+,~f", tickCount=tick_count(layout.width))
    bars = alt.Chart(inline(rows), width=layout.width, height=layout.height).encode(
        x=alt.X("start:Q", title=title, axis=axis), y=layout.y
    )
    colour = colour_channel("direction:N", _DIFFERENCE_COLOURS, width)
    return with_theme(
        alt.layer(
            bars.mark_tick(color=INK, thickness=1, height=20).encode(x=alt.datum(0)),
            bars.mark_bar(height=14, minBandSize=1).encode(x2="end:Q", color=colour),
            bars.mark_tick(color=INK, thickness=2, height=18).encode(x="end:Q"),
        )
    )


def _cost_by_day(rows: list[Row], title: str, width: int, zone: str) -> Layers:
    stacked, colours = _stack(rows)
    unverified: Counter[float] = Counter()
    for row in rows:
        unverified[row["day"]] += row["wasted_money"] or 0
    start, end = (position * _DAY_MS for position in _UNVERIFIED_BAR)
    covered = {row["day"]: row.get("covered_ratio", 1) for row in rows}
    inner_rows = [
        {"start": day + start, "end": day + end, "group": _UNVERIFIED, "money": money, "covered_ratio": covered[day]}
        for day, money in unverified.items()
    ]
    first, last = min(row["day"] for row in rows), max(row["day"] for row in rows) + _DAY_MS
    bars = alt.Chart(inline(stacked), width=width, height=HEIGHT).encode(
        x=time_axis("start:T", first, last, width, zone),
        y=alt.Y("money:Q", title=f"{title} per day", axis=alt.Axis(format=",~f", tickCount=5)),
        color=colour_channel("group:N", {**colours, _UNVERIFIED: INK}, width),
        opacity=partial_opacity(),
    )
    whole = bars.mark_bar(orient="vertical", stroke="white", strokeWidth=0.7).encode(x2="end:T", order="place:Q")
    inner = alt.Chart(inline(inner_rows)).mark_bar(orient="vertical", stroke="white", strokeWidth=0.7)
    inner = inner.encode(x="start:T", x2="end:T", y="money:Q", color="group:N", opacity=partial_opacity())
    return alt.layer(whole, inner)


def _cost_by_group(rows: list[Row], title: str, width: int) -> Layers:
    sums: dict[str, Counter[str]] = {}
    for row in rows:
        sums.setdefault(row["group"], Counter()).update(money=row["money"], unverified=row["wasted_money"] or 0)
    order = sorted((name for name in sums if sums[name]["money"]), key=lambda name: -sums[name]["money"]) or list(sums)
    currency = rows[0]["currency"] or ""
    found = [
        {"label": f"{name}: {labels.money(sums[name]['money'], currency)}", "part": _ALL} | sums[name] for name in order
    ]
    placed = row_layout.place_rows(found)
    layout = row_layout.lay_out(row_layout.labels_of(placed, len(found) - len(placed)), width)
    colours = {_ALL: _GROUP_COLOURS[2], _UNVERIFIED: INK}
    bars = alt.Chart(inline(placed), width=layout.width, height=layout.height).encode(
        y=layout.y, color=colour_channel("part:N", colours, width)
    )
    axis = alt.Axis(format=",~f", tickCount=tick_count(layout.width))
    inner = bars.transform_calculate(part=f"'{_UNVERIFIED}'").mark_bar(height=5).encode(x="unverified:Q")
    return alt.layer(bars.mark_bar(height=15).encode(x=alt.X("money:Q", title=title, axis=axis)), inner)


def _group_label(row: Row) -> str:
    column = next((it for it in _GROUPS if it in row), None)
    if column is None:
        return _ALL
    if row[column] is None:
        return f"unknown {_GROUPS[column]}"
    return f"template {row[column]}" if column == "temp_id" else str(row[column])


def _stack(rows: list[Row]) -> tuple[list[Row], dict[str, str]]:
    """Return the costs of each day and group, and the colours of the groups; groups with a low cost are "other"."""
    totals: Counter[str] = Counter()
    for row in rows:
        totals[row["group"]] += row["money"]
    names = [name for name, money in totals.most_common(len(_GROUP_COLOURS)) if money] or [rows[0]["group"]]
    covered = {row["day"]: row.get("covered_ratio", 1) for row in rows}
    sums: Counter[tuple[float, str]] = Counter()
    for row in rows:
        sums[row["day"], row["group"] if row["group"] in names else _OTHER] += row["money"]
    other = {_OTHER: PALE} if any(group == _OTHER and money for (_, group), money in sums.items()) else {}
    colours = dict(zip(names, _GROUP_COLOURS, strict=False)) | other
    places = {name: place for place, name in enumerate(colours)}
    stacked = [
        {"start": day, "end": day + _DAY_MS, "group": group, "money": money, "place": places[group]}
        | {"covered_ratio": covered[day]}
        for (day, group), money in sums.items()
        if group in places
    ]
    return stacked, colours


def _to_date_row(row: Row, name: str) -> Row:
    currency = row["currency"] or "no currency"
    unit = currency if name == "money_to_date" else ""
    values = {"at": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
    at, low, high = (
        None if it is None else number_format.amount_text(it, unit) if unit else f"{it:,.0f}" for it in values.values()
    )
    interval = f" ({low} to {high})" if row["ahead"] else ""
    return values | {
        "end": row["day"] + _DAY_MS,
        "part": _FORECAST if row["ahead"] else _RECORDED,
        "currency": currency,
        "tooltip": f"by the end of {pd.Timestamp(row['day'], unit='ms'):%Y-%m-%d}: {f'{at} {unit}'.strip()}{interval}",
    }


def _connected(rows: list[Row]) -> list[Row]:
    """Return rows with two more points: 0 at the start, and the last recorded point as the start of the forecast."""
    first = rows[0] | {"end": rows[0]["end"] - _DAY_MS, "at": 0, "low": 0, "high": 0}
    recorded = [row for row in rows if row["part"] == _RECORDED]
    turn = [(recorded[-1] if recorded else first) | {"part": _FORECAST}] if len(recorded) < len(rows) else []
    return [first, *rows, *turn]


def _waterfall_rows(rows: list[Row]) -> Iterator[Row]:
    """Yield the bar of each part; the first one is the records, the last one the statement."""
    at, recorded = 0.0, rows[0]["money"] if rows else None
    for place, row in enumerate(rows):
        is_discrepancy = 0 < place < len(rows) - 1
        money = row["money"] or 0
        start, end = (at, at + money) if is_discrepancy else (0.0, money - (recorded or 0))
        at = end if is_discrepancy else at
        amount = labels.money(row["money"], row["currency"] or "", "+" if is_discrepancy else "")
        yield {
            "label": f"{row['part']}: {number_format.plural(row['messages'], 'message')}, {amount}",
            "place": place,
            "start": start,
            "end": end,
            "direction": _MORE if end > start else _LESS,
            "currency": row["currency"],
        }
