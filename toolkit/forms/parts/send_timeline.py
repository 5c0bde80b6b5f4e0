"""Chart the sends to a few mobiles over time: accepted, refused, and the times when a rule's window was full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import narwhals as nw

from toolkit.analysis.calls_table import IntoCalls, collect, lazy
from toolkit.analysis.timestamps import NS_PER_S
from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.browser_charts import Panel, Series, Span
from toolkit.outcome_colours import ColourPair, colours_of

_MAX_MOBILES = 8
_LANE_PX = 36
_RULE_COLOURS = (ColourPair("#7aa7d9", "#4f7fb5"), ColourPair("#c9a24a", "#a3813a"), ColourPair("#b58ad0", "#8a63a5"))
_ACCEPTED, _REFUSED = ColourPair("#1d7253", "#6fd1a9"), colours_of(ReturnCode.SERVER_ERROR)


@dataclass(frozen=True, slots=True)
class Lane:
    """The accepted and refused sends to one mobile, in seconds since the first send to any mobile.

    ``full`` has the time spans, by the text of each rule, in which the rule allowed no further send.
    """

    name: str
    accepted: tuple[float, ...]
    refused: tuple[float, ...]
    full: dict[str, tuple[tuple[float, float], ...]]


def lanes(calls: IntoCalls, rules: Sequence[Rule], speed: float = 1.0, most: int = _MAX_MOBILES) -> list[Lane]:
    """Return the lanes of the mobiles with the most sends. ``speed`` is that of the service's clock."""
    wanted = ("started_ns", "mobile_key", "prefix", "return_code")
    sends = collect(
        lazy(calls, "return_code", "mobile_key").filter(nw.col("endpoint") == Endpoint.SEND.value).select(*wanted)
    )
    if not len(sends):
        return []
    sends = sends.assign(at_s=(sends["started_ns"] - sends["started_ns"].min()) / NS_PER_S).sort_values("at_s")
    busiest = sends["mobile_key"].value_counts().head(most).index
    drawn = []
    for key in busiest:
        own = sends[sends["mobile_key"] == key]
        codes = own["return_code"].astype("Int64")
        accepted = tuple(own.loc[codes == ReturnCode.SUCCESS, "at_s"])
        refused = tuple(own.loc[codes == ReturnCode.OUT_OF_FREQ, "at_s"])
        full = {str(rule): tuple(_full(accepted, rule, speed)) for rule in rules}
        drawn.append(Lane(f"{str(own['prefix'].iloc[0])[:5]}…", accepted, refused, full))
    return drawn


def panels(drawn: Sequence[Lane]) -> list[Panel]:
    """Return the panels of lanes."""
    shown = []
    for lane in drawn:
        series = [
            Series("accepted", _ACCEPTED, points=[(at, 0.7) for at in lane.accepted]),
            Series("refused", _REFUSED, points=[(at, 0.3) for at in lane.refused], mark="cross"),
        ]
        shown.append(Panel("lane", "", series, height=_LANE_PX, label=lane.name, spans=list(_spans(lane))))
    return shown


def _full(accepted: Sequence[float], rule: Rule, speed: float) -> Iterator[tuple[float, float]]:
    """Yield the time spans in which a rule was full: from its last allowed send until its first leaves the window."""
    window_s = rule.window_s / speed
    for first, last in zip(accepted, accepted[rule.count - 1 :], strict=False):
        if last < first + window_s:
            yield last, first + window_s


def _spans(lane: Lane) -> Iterator[Span]:
    part = 0.84 / max(1, len(lane.full))
    for place, (rule, spans) in enumerate(lane.full.items()):
        look = _RULE_COLOURS[place % len(_RULE_COLOURS)]
        for start, end in spans:
            yield Span(f"{rule} is full", look, start, end, 0.08 + place * part, part)
