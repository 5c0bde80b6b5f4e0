"""Money: what messages cost, will cost, and were billed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import altair as alt
import pandas as pd

from toolkit import number_format
from toolkit.analysis.charts import labels, row_labels
from toolkit.analysis.charts.base import (
    HEIGHT,
    INK,
    PALE,
    WIDTH,
    Layers,
    Row,
    clock,
    colour,
    data,
    empty,
    few,
    finish,
    note,
    plain,
)

_DAY_MS = 86_400_000
_WASTED = "of it, without a right code"
_OTHER, _ALL = "other", "all messages"
_GROUPS = ("temp_id", "carrier", "app_key")
_WORDS = {"temp_id": "template", "carrier": "carrier", "app_key": "app"}
# From light to dark, so that their order can be seen in grey too.
_GROUP_COLOURS = ("#dfe39a", "#a3d08c", "#58b08b", "#2f8797", "#1f5f90", "#1b3a68")
_LINE, _BAND = "#1d5ea8", "#bcd3ec"
_MORE, _LESS = "more than recorded", "less than recorded"


def cost(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``cost``: money by day, stacked by template, else carrier, else app; without days a bar for each of these.

    What went to messages without a right code is the dark bar inside.
    """
    rows = [row | {"group": _group(row)} for row in plain(frame) if row["money"] is not None]
    if not rows:
        return empty("No messages that have a price", width)
    unpriced = int(frame["unpriced"].sum())
    words = f"{number_format.plural(unpriced, 'segment')} without a price left out" if unpriced else ""
    title = f"money ({rows[0]['currency'] or 'no currency'})"
    chart = _by_day(rows, title, width) if "day" in frame else _by_group(rows, title, width)
    return finish(chart.properties(title=note(words, width)) if words else chart)


def forecast(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``forecast_by_day``: money to date, and what is forecast with its 95 % interval; messages without prices."""
    name = "money_to_date" if frame["money_to_date"].notna().any() else "messages_to_date"
    rows = [_to_date(row, name) for row in plain(frame) if row[name] is not None]
    if not rows:
        return empty("No messages, and no forecast", width)
    unit = rows[0]["currency"] if name == "money_to_date" else "count"
    title = f"{name.removesuffix('_to_date')} to date ({unit})"
    looks = {_SPENT: [1, 0]} | ({_FORECAST: [5, 4]} if any(row["part"] == _FORECAST for row in rows) else {})
    lines_of = alt.Chart(data(_joined(rows)), width=width, height=HEIGHT).encode(
        x=clock("end:T", rows[0]["end"] - _DAY_MS, rows[-1]["end"], width),
        y=alt.Y("at:Q", title=title, axis=alt.Axis(format=",~f", tickCount=5), scale=alt.Scale(zero=True)),
    )
    last = alt.Chart(data(rows[-1:]))
    dash = alt.StrokeDash("part:N", title=None, scale=alt.Scale(domain=list(looks), range=list(looks.values())))
    return finish(
        alt.layer(
            lines_of.mark_area(color=_BAND).encode(y="low:Q", y2="high:Q"),
            lines_of.mark_line(color=_LINE, strokeWidth=2.5).encode(strokeDash=dash),
            last.mark_point(color=_LINE, filled=True, size=60, opacity=1).encode(x="end:T", y="at:Q"),
        ).properties(title=note(_sum_up(rows[-1], unit), width))
    )


def reconcile(frame: pd.DataFrame, width: int = WIDTH) -> alt.TopLevelMixin:
    """Draw ``reconcile(...).summary``: step by step from what the records say to what the statement does."""
    rows = list(_steps(plain(frame)))
    if not rows:
        return empty("No statement", width)
    layout = row_labels.lay(row_labels.name(rows), width)
    looks = {_MORE: "#8f1424", _LESS: "#8fb4dc"}
    title = f"beyond what the records say ({rows[0]['currency'] or 'no currency'})"
    bars = alt.Chart(data(rows), width=layout.width, height=layout.height).encode(
        x=alt.X("start:Q", title=title, axis=alt.Axis(format="+,~f", tickCount=few(layout.width))), y=layout.y
    )
    return finish(
        alt.layer(
            bars.mark_tick(color=INK, thickness=1, height=20).encode(x=alt.datum(0)),
            bars.mark_bar(height=14, minBandSize=1).encode(x2="end:Q", color=colour("direction:N", looks, width)),
            bars.mark_tick(color=INK, thickness=2, height=18).encode(x="end:Q"),
        )
    )


def _by_day(rows: list[Row], title: str, width: int) -> Layers:
    stacked, colours = _stack(rows)
    start, end = min(row["day"] for row in rows), max(row["day"] for row in rows) + _DAY_MS
    bars = alt.Chart(data(stacked), width=width, height=HEIGHT).encode(
        x=clock("start:T", start, end, width),
        y=alt.Y("money:Q", title=f"{title} per day", axis=alt.Axis(format=",~f", tickCount=5)),
        color=colour("group:N", {**colours, _WASTED: INK}, width),
    )
    whole = bars.mark_bar(orient="vertical", stroke="white", strokeWidth=0.7).encode(x2="end:T", order="place:Q")
    inner = alt.Chart(data(_wasted_by_day(rows))).mark_bar(orient="vertical", stroke="white", strokeWidth=0.7)
    return alt.layer(whole, inner.encode(x="start:T", x2="end:T", y="money:Q", color="group:N"))


def _by_group(rows: list[Row], title: str, width: int) -> Layers:
    sums: dict[str, Counter[str]] = {}
    for row in rows:
        sums.setdefault(row["group"], Counter()).update(money=row["money"], wasted=row["wasted_money"] or 0)
    order = sorted((name for name in sums if sums[name]["money"]), key=lambda name: -sums[name]["money"]) or list(sums)
    currency = rows[0]["currency"] or ""
    found = [
        {"label": f"{name}: {labels.money(sums[name]['money'], currency)}", "part": _ALL} | sums[name] for name in order
    ]
    placed = row_labels.place(found)
    layout = row_labels.lay(row_labels.name(placed, len(found) - len(placed)), width)
    looks = {_ALL: _GROUP_COLOURS[2], _WASTED: INK}
    bars = alt.Chart(data(placed), width=layout.width, height=layout.height).encode(
        y=layout.y, color=colour("part:N", looks, width)
    )
    axis = alt.Axis(format=",~f", tickCount=few(layout.width))
    inner = bars.transform_calculate(part=f"'{_WASTED}'").mark_bar(height=5).encode(x="wasted:Q")
    return alt.layer(bars.mark_bar(height=15).encode(x=alt.X("money:Q", title=title, axis=axis)), inner)


def _group(row: Row) -> str:
    name = next((it for it in _GROUPS if it in row), None)
    if name is None:
        return _ALL
    word = _WORDS[name]
    return f"unknown {word}" if row[name] is None else f"{word} {row[name]}" if name == "temp_id" else str(row[name])


def _stack(rows: list[Row]) -> tuple[list[Row], dict[str, str]]:
    """Sum up the groups of each day; the dearest groups have colours of their own."""
    whole: Counter[str] = Counter()
    for row in rows:
        whole[row["group"]] += row["money"]
    names = [name for name, money in whole.most_common(len(_GROUP_COLOURS)) if money] or [rows[0]["group"]]
    sums: Counter[tuple[float, str]] = Counter()
    for row in rows:
        sums[row["day"], row["group"] if row["group"] in names else _OTHER] += row["money"]
    others = {_OTHER: PALE} if any(group == _OTHER and money for (_, group), money in sums.items()) else {}
    colours = dict(zip(names, _GROUP_COLOURS, strict=False)) | others
    places = {name: place for place, name in enumerate(colours)}
    stacked = [
        {"start": day, "end": day + _DAY_MS, "group": group, "money": money, "place": places[group]}
        for (day, group), money in sums.items()
        if group in places
    ]
    return stacked, colours


def _wasted_by_day(rows: list[Row]) -> list[Row]:
    sums: Counter[float] = Counter()
    for row in rows:
        sums[row["day"]] += row["wasted_money"] or 0
    ends = (0.36 * _DAY_MS, 0.64 * _DAY_MS)
    return [{"start": day + ends[0], "end": day + ends[1], "group": _WASTED, "money": it} for day, it in sums.items()]


_SPENT, _FORECAST = "to date", "forecast, with its 95 % interval"


def _to_date(row: Row, name: str) -> Row:
    return {
        "end": row["day"] + _DAY_MS,
        "part": _FORECAST if row["ahead"] else _SPENT,
        "at": row[name],
        "low": row[f"{name}_low"],
        "high": row[f"{name}_high"],
        "currency": row["currency"] or "no currency",
    }


def _joined(rows: list[Row]) -> list[Row]:
    """Begin the line at nothing, and what is forecast where the other one ends."""
    first = rows[0] | {"end": rows[0]["end"] - _DAY_MS, "at": 0, "low": 0, "high": 0}
    spent = [row for row in rows if row["part"] == _SPENT]
    turn = [(spent[-1] if spent else first) | {"part": _FORECAST}] if len(spent) < len(rows) else []
    return [first, *rows, *turn]


def _sum_up(row: Row, unit: str) -> str:
    at, low, high = (f"{row[name]:,.0f}" for name in ("at", "low", "high"))
    day = pd.Timestamp(row["end"] - _DAY_MS, unit="ms")
    between = f" ({low} to {high})" if row["part"] == _FORECAST else ""
    return f"by the end of {day:%Y-%m-%d}: {'' if unit == 'count' else unit} {at}{between}".replace("  ", " ")


def _steps(rows: list[Row]) -> Iterator[Row]:
    """Yield each part's bar; the first and the last one are the records and the statement."""
    at, recorded = 0.0, rows[0]["money"] if rows else None
    for place, row in enumerate(rows):
        is_kind = 0 < place < len(rows) - 1
        money = row["money"] or 0
        start, end = (at, at + money) if is_kind else (0.0, money - (recorded or 0))
        at = end if is_kind else at
        worded = labels.money(row["money"], row["currency"] or "", "+" if is_kind else "")
        yield {
            "label": f"{row['part']}: {number_format.plural(row['messages'], 'message')}, {worded}",
            "place": place,
            "start": start,
            "end": end,
            "direction": _MORE if end > start else _LESS,
            "currency": row["currency"],
        }
