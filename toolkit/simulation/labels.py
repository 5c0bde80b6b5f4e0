"""Labels: what incidents.json says of each incident, so that a test can ask whether an analysis finds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.simulation import apps, call_outcomes, incidents, message_prices
from toolkit.simulation.billing_statement import Line, Planted, name_of
from toolkit.simulation.incidents import Incident
from toolkit.simulation.plan import IncidentKind, Plan
from toolkit.simulation.prefixes import MARKET, Prefixes
from toolkit.simulation.traffic import Day

Label: TypeAlias = dict[str, Any]
"""An incident as JSON. What an incident isn't limited to is null."""

_NAMES = ("endpoint", "app_key", "temp_id", "prefix", "msg_id", "return_codes", "calls", "changed")
_NOTHING: Label = dict.fromkeys(("kind", "started", "ended", *_NAMES))


class Tally:
    """Counts, day by day, what the incidents touched."""

    def __init__(self, happening: Sequence[Incident], prefixes: Prefixes) -> None:
        self.calls: Counter[IncidentKind] = Counter()
        self.mobile_keys: set[int] = set()  # of those whose codes were guessed
        self._happening = happening
        self._prefixes = prefixes

    def add(self, day: Day) -> None:
        """Count a day's calls."""
        for it in self._happening:
            within = it.within(day.calls["started_ns"])
            if within.any():
                self.calls[it.kind] += int(self._touched(it.kind, day, within).sum())

    def _touched(self, kind: IncidentKind, day: Day, within: NDArray[np.bool_]) -> NDArray[np.bool_]:
        calls, ends = day.calls, day.calls["outcome"]
        if kind is IncidentKind.OUTAGE:
            within &= ends >= call_outcomes.SERVER_ERROR
        if kind is IncidentKind.KEY_ROTATED_BADLY:
            within &= ends == call_outcomes.AUTH_FAILED
        if kind is IncidentKind.PUMPING:
            within &= (calls["app"] == incidents.PUMPED_APP) & (calls["prefix"] == self._prefixes.rare)
        if kind is IncidentKind.BRUTE_FORCE:
            return self._guesses(day, within)
        if kind in (IncidentKind.LIMIT_LOWERED, IncidentKind.PRICE_CHANGE):
            within &= ~calls["verifies"]
        return within

    def _guesses(self, day: Day, within: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell which calls are guesses; remember whose codes they are of."""
        guessed = day.sends[day.sends["guessed"] & (day.sends["outcome"] == call_outcomes.SUCCESS)]
        of_messages = within & np.isin(day.calls["msg_key"], guessed["msg_key"])
        self.mobile_keys.update(day.calls["mobile_key"][of_messages & ~day.calls["verifies"]].tolist())
        guesses: NDArray[np.bool_] = of_messages & day.calls["verifies"]
        return guesses


def label(plan: Plan, happening: Sequence[Incident], tally: Tally, prefixes: Prefixes, until_ns: int) -> list[Label]:
    """Return the labels of what has happened until an instant."""
    return [
        _NOTHING
        | {
            "kind": it.kind.value,
            "started": iso(it.started_ns),
            "ended": iso(min(it.ended_ns, until_ns)),
            "calls": tally.calls[it.kind],
        }
        | _describe(it, plan, tally, prefixes)
        for it in happening
        if it.started_ns < until_ns
    ]


def _describe(it: Incident, plan: Plan, tally: Tally, prefixes: Prefixes) -> Label:
    match it.kind:
        case IncidentKind.OUTAGE:
            return _codes(ReturnCode.SERVER_ERROR) | {"changed": dict(incidents.OUTAGE_RATIOS)}
        case IncidentKind.SLOW_DATABASE:
            return {"changed": {"latency_times": incidents.SLOW_FACTOR}}
        case IncidentKind.PUMPING:
            where = _template(incidents.PUMPED_TEMPLATE) | {"prefix": str(prefixes.numbers[prefixes.rare])}
            return where | {"endpoint": Endpoint.SEND, "changed": {"messages": incidents.pumped_messages(plan)}}
        case IncidentKind.BRUTE_FORCE:
            return _template(incidents.GUESSED_TEMPLATE) | _describe_guesses(tally)
        case IncidentKind.LIMIT_LOWERED:
            return _codes(ReturnCode.OUT_OF_FREQ) | {"endpoint": Endpoint.SEND, "changed": _describe_limit(plan)}
        case IncidentKind.KEY_ROTATED_BADLY:
            app_key = apps.APPS[incidents.ROTATED_APP].app_key
            return _codes(ReturnCode.AUTH_FAILED) | {"app_key": app_key, "changed": {"auth_failed_ratio": 1.0}}
        case _:
            return {"endpoint": Endpoint.SEND, "changed": _describe_prices(plan, it)}


def _codes(*codes: ReturnCode) -> Label:
    return {"return_codes": [int(code) for code in codes]}


def _template(place: int) -> Label:
    template = apps.TEMPLATES[place]
    return {"app_key": apps.APPS[template.app].app_key, "temp_id": template.temp_id}


def _describe_guesses(tally: Tally) -> Label:
    keys = sorted(tally.mobile_keys)
    changed = {"guesses_a_message": incidents.GUESSES_A_MESSAGE, "mobiles": len(keys), "mobile_keys": keys}
    return _codes(ReturnCode.INVALID_CODE, ReturnCode.EXPIRED_CODE) | {"endpoint": Endpoint.VERIFY, "changed": changed}


def _describe_limit(plan: Plan) -> Label:
    lowered = incidents.lowered(plan)
    if lowered is None:
        return {}
    place, count = lowered
    return {"rule": str(plan.rules[place]), "becomes": f"{count}/{plan.rules[place].window_s}s"}


def _describe_prices(plan: Plan, it: Incident) -> Label:
    rows = [row for row in message_prices.prices(plan, (it,)) if row.template_type == message_prices.DEARER_TYPE]
    per_segment = {name: [str(row.per_segment) for row in rows if row.carrier == name] for name in MARKET}
    return {
        "template_type": message_prices.DEARER_TYPE,
        "currency": message_prices.CURRENCY,
        "per_segment": per_segment,
    }


def label_differences(planted: Iterable[Planted]) -> list[Label]:
    """Return the labels of what is planted in statements."""
    return [
        _NOTHING
        | {
            "kind": it.difference.value,
            "started": iso(it.sent_ns),
            "ended": iso(it.sent_ns),
            "endpoint": Endpoint.SEND,
            "app_key": None if it.app is None else apps.APPS[it.app].app_key,
            "msg_id": it.msg_id,
            "changed": {
                "statement": name_of(datetime.fromtimestamp(it.sent_ns // 10**9, UTC)),
                "due": _line(it.due),
                "stated": _line(it.stated),
            },
        }
        for it in planted
    ]


def _line(line: Line | None) -> Label | None:
    if line is None:
        return None
    return {"segments": line.segments, "price": str(line.price), "amount": str(line.amount)}


def iso(time_ns: int) -> str:
    """Return a time as ISO 8601 in UTC, to the millisecond."""
    time = datetime.fromtimestamp(time_ns // 1_000_000 / 1000, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
