"""Show the trials of a search for the capacity: times by load, and the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from toolkit import number_format
from toolkit.api.return_codes import ReturnCode
from toolkit.browser_charts import Axis, BrowserChart, Panel, Point, Series
from toolkit.outcome_colours import MUTED, PRIMARY, SECONDARY, colours_of

_LOOKS = {"held": colours_of(ReturnCode.SUCCESS), "missed": colours_of(ReturnCode.SERVER_ERROR)}


def chart(content: Mapping[str, Any]) -> BrowserChart:
    """Return the chart of a search's trials: the time of sends by load.

    Args:
        content: The content of capacity.json.
    """
    lines = [
        Series(name, look, points=list(_points(content, f"{name}_ms")))
        for name, look in (("p99", SECONDARY), ("p50", PRIMARY))
    ]
    highest = max((it["load"] for it in content["trials"]), default=1.0) * 1.05
    panel = Panel("lines", f"time of sends (ms) by {content['unit']}", lines, height=150, log=True)
    description = f"p50 and p99 of {number_format.plural(len(content['trials']), 'trial')} by load"
    return BrowserChart([panel], Axis("number", 0.0, highest), description)


def _points(content: Mapping[str, Any], name: str) -> Iterator[Point]:
    """Yield the mean of each load's conclusive trials."""
    by_load: dict[float, list[float]] = {}
    for trial in content["trials"]:
        if trial["doubt"] is None and trial[name] is not None:
            by_load.setdefault(trial["load"], []).append(trial[name])
    for load in sorted(by_load):
        yield load, fmean(by_load[load])


def rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the table of trials, latest first."""
    return [
        {
            "name": it["name"],
            "load": f"{it['load']:,g}",
            "duration": number_format.duration(it["duration_s"]),
            "p50": _time(it["p50_ms"]),
            "p99": _time(it["p99_ms"]),
            "failed": number_format.share(it["failed_ratio"]),
            "result": it["result"],
            "look": _LOOKS.get(it["result"], MUTED),
            "why": it["doubt_text"],
        }
        for it in reversed(content["trials"])
    ]


def _time(value: float | None) -> str:
    return number_format.MISSING if value is None else number_format.milliseconds(value)


def answer(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values for the template of the answer."""
    found = content["capacity"]
    return {
        "answer": content["answer"],
        "binding": found["binding_limit"] if found else "",
        "reasons": found["reasons"] if found else [],
        "unsettled": content["unsettled"],
    }
