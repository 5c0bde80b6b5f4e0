"""Label the incidents of a simulation in ``incidents.json``, so that tests can check that an analysis finds them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.simulation import apps, call_outcomes, deliveries, incidents, simulated_prices
from toolkit.simulation.billing_statement import Charge, InjectedError
from toolkit.simulation.call_arrays import NO_SESSION, Rows
from toolkit.simulation.incidents import Incident
from toolkit.simulation.plan import MINUTE_NS, NS_PER_S, IncidentKind, SimulationPlan
from toolkit.simulation.prefixes import MARKET_SHARES, Prefixes
from toolkit.simulation.traffic import DayTraffic

Label: TypeAlias = dict[str, Any]
"""A label as a JSON object. A key that doesn't narrow the incident down is null."""

_NARROWING_KEYS = ("endpoint", "app_key", "temp_id", "prefix", "carrier", "source", "msg_id", "return_codes")
_EMPTY: Label = dict.fromkeys(("kind", "started", "ended", *_NARROWING_KEYS, "calls", "changed"))


class AffectedCalls:
    """Counts the calls that each incident affected, day by day.

    Attributes:
        counts: The calls by incident.
        mobile_keys: The mobile keys of an attack's victims, by incident.
    """

    def __init__(self, schedule: Sequence[Incident], prefixes: Prefixes) -> None:
        self.counts: Counter[Incident] = Counter()
        self.mobile_keys: defaultdict[Incident, set[int]] = defaultdict(set)
        self._schedule = schedule
        self._prefixes = prefixes

    def add(self, day: DayTraffic) -> None:
        """Count the calls of a day."""
        for incident in self._schedule:
            if incident.kind in incidents.CARRIER_INCIDENTS:
                self.counts[incident] += int(self._late_or_lost(incident, day.sends).sum())
            elif (during := incident.contains(day.calls["started_ns"])).any():
                self.counts[incident] += int(self._affected(incident, day, during).sum())

    def _late_or_lost(self, incident: Incident, sends: Rows) -> NDArray[np.bool_]:
        """Return for each send whether its message was late or lost in an incident of its carrier."""
        carrier, _ = incidents.CARRIER_INCIDENTS[incident.kind]
        hit: NDArray[np.bool_] = sends["carrier_code"] == deliveries.LOST
        if incident.kind is IncidentKind.CARRIER_QUEUE:
            hit = deliveries.ARRIVES[sends["carrier_code"]] & (sends["delay_ns"] >= MINUTE_NS)
        hit &= (sends["outcome"] == call_outcomes.SUCCESS) & (self._prefixes.carriers[sends["prefix"]] == carrier)
        return hit & incident.contains(sends["started_ns"])

    def _affected(self, incident: Incident, day: DayTraffic, during: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return for each call whether the incident affected it."""
        calls, outcomes, is_send = day.calls, day.calls["outcome"], ~day.calls["is_verify"]
        affected = during
        match incident.kind:
            case IncidentKind.OUTAGE:
                affected = during & (outcomes >= call_outcomes.SERVER_ERROR)
            case IncidentKind.KEY_ROTATED_BADLY:
                affected = during & (outcomes == call_outcomes.AUTH_FAILED)
            case IncidentKind.BALANCE_EMPTY:
                affected = during & (outcomes == call_outcomes.NO_MONEY)
            case IncidentKind.PUMPING:
                affected = during & (calls["app"] == incidents.PUMPED_APP) & (calls["prefix"] == self._prefixes.rare)
            case IncidentKind.BRUTE_FORCE:
                affected = during & self._is_of_attack(incident, day) & calls["is_verify"]
            case IncidentKind.BOMBING:
                self._is_of_attack(incident, day)
                affected = during & is_send & np.isin(calls["mobile_key"], list(self.mobile_keys[incident]))
            case IncidentKind.CLOCK_SKEW:
                true_ns = calls["started_ns"] - incidents.SKEW_S * NS_PER_S
                affected = (calls["host"] == incidents.SKEWED_HOST) & incident.contains(true_ns)
            case IncidentKind.CAMPAIGN | IncidentKind.FLASH_SALE:
                temp_id = apps.TEMPLATES[incidents.BURSTS[incident.kind].template].temp_id
                affected = during & is_send & (calls["temp_id"] == temp_id)
            case IncidentKind.LIMIT_LOWERED | IncidentKind.PRICE_CHANGE:
                affected = during & is_send
        return affected

    def _is_of_attack(self, incident: Incident, day: DayTraffic) -> NDArray[np.bool_]:
        """Return for each call whether it belongs to a message of an attacker; collect the victims' mobile keys."""
        calls, sends = day.calls, day.sends
        is_attack = (sends["session"] == NO_SESSION) & incident.contains(sends["started_ns"])
        accepted = sends[is_attack & (sends["outcome"] == call_outcomes.SUCCESS)]
        is_of_attack = np.isin(calls["msg_key"], accepted["msg_key"])
        self.mobile_keys[incident].update(calls["mobile_key"][is_of_attack & ~calls["is_verify"]].tolist())
        return is_of_attack


def label_incidents(
    plan: SimulationPlan, schedule: Sequence[Incident], affected: AffectedCalls, prefixes: Prefixes, until_ns: int
) -> list[Label]:
    """Return the labels of the incidents that started before a time."""
    return [
        _EMPTY
        | {
            "kind": incident.kind.value,
            "started": iso(incident.started_ns),
            "ended": iso(min(incident.ended_ns, until_ns)),
            "calls": affected.counts[incident],
        }
        | _details(incident, plan, affected, prefixes)
        for incident in schedule
        if incident.started_ns < until_ns
    ]


def _details(incident: Incident, plan: SimulationPlan, affected: AffectedCalls, prefixes: Prefixes) -> Label:
    """Return the keys that narrow an incident down, and its numbers under ``changed``."""
    match incident.kind:
        case IncidentKind.OUTAGE:
            return _codes(ReturnCode.SERVER_ERROR) | {"changed": dict(incidents.OUTAGE_RATIOS)}
        case IncidentKind.SLOW_DATABASE:
            return {"changed": {"latency_times": incidents.SLOW_FACTOR}}
        case IncidentKind.PUMPING:
            return _template(incidents.PUMPED_TEMPLATE) | {
                "prefix": str(prefixes.numbers[prefixes.rare]),
                "endpoint": Endpoint.SEND,
                "changed": {"messages": incidents.pumped_messages(plan)},
            }
        case IncidentKind.BRUTE_FORCE:
            keys = sorted(affected.mobile_keys[incident])
            return (
                _template(incidents.GUESSED_TEMPLATE)
                | _codes(ReturnCode.INVALID_CODE, ReturnCode.EXPIRED_CODE)
                | {
                    "endpoint": Endpoint.VERIFY,
                    "changed": {
                        "guesses_a_message": incidents.GUESSES_PER_MESSAGE,
                        "mobiles": len(keys),
                        "mobile_keys": keys,
                    },
                }
            )
        case IncidentKind.LIMIT_LOWERED:
            changed = {}
            if lowered := incidents.lowered_limit(plan):
                rule, count = plan.rules[lowered[0]], lowered[1]
                changed = {"rule": str(rule), "becomes": f"{count}/{rule.window_s}s"}
            return _codes(ReturnCode.OUT_OF_FREQ) | {"endpoint": Endpoint.SEND, "changed": changed}
        case IncidentKind.KEY_ROTATED_BADLY:
            app_key = apps.APPS[incidents.ROTATED_APP].app_key
            return _codes(ReturnCode.AUTH_FAILED) | {"app_key": app_key, "changed": {"auth_failed_ratio": 1.0}}
        case IncidentKind.BOMBING:
            keys = sorted(affected.mobile_keys[incident])
            return {"endpoint": Endpoint.SEND, "changed": {"mobiles": 1, "mobile_keys": keys}}
        case IncidentKind.BALANCE_EMPTY:
            app_key = apps.APPS[incidents.EMPTY_APP].app_key
            narrowed = _codes(ReturnCode.NO_MONEY) | {"endpoint": Endpoint.SEND, "app_key": app_key}
            return narrowed | {"changed": {"no_money_ratio": 1.0}}
        case IncidentKind.CLOCK_SKEW:
            return {"source": apps.HOSTS[incidents.SKEWED_HOST], "changed": {"skew_s": incidents.SKEW_S}}
        case IncidentKind.CAMPAIGN | IncidentKind.FLASH_SALE:
            burst = incidents.BURSTS[incident.kind]
            return _template(burst.template) | {"endpoint": Endpoint.SEND, "changed": {"peak_load": burst.peak}}
        case IncidentKind.PUBLIC_HOLIDAY:
            return {"changed": {"load_ratio": incident.load_ratio}}
        case IncidentKind.CARRIER_QUEUE | IncidentKind.CARRIER_LOSS:
            carrier, ratio = incidents.CARRIER_INCIDENTS[incident.kind]
            name = "late_ratio" if incident.kind is IncidentKind.CARRIER_QUEUE else "lost_ratio"
            return {"endpoint": Endpoint.SEND, "carrier": list(MARKET_SHARES)[carrier], "changed": {name: ratio}}
        case _:
            return {"endpoint": Endpoint.SEND, "changed": _price_change(plan, incident)}


def _codes(*codes: ReturnCode) -> Label:
    return {"return_codes": [int(code) for code in codes]}


def _template(index: int) -> Label:
    template = apps.TEMPLATES[index]
    return {"app_key": apps.APPS[template.app].app_key, "temp_id": template.temp_id}


def _price_change(plan: SimulationPlan, incident: Incident) -> Label:
    rows = simulated_prices.prices(plan, (incident,))
    changed = [row for row in rows if row.template_type == simulated_prices.CHANGED_TYPE]
    return {
        "template_type": simulated_prices.CHANGED_TYPE,
        "currency": simulated_prices.CURRENCY,
        "per_segment": {
            name: [str(row.per_segment) for row in changed if row.carrier == name] for name in MARKET_SHARES
        },
    }


def label_statement_errors(errors: Iterable[InjectedError]) -> list[Label]:
    """Return the labels of the errors in statements."""
    return [
        _EMPTY
        | {
            "kind": it.error.value,
            "started": iso(it.sent_ns),
            "ended": iso(it.sent_ns),
            "endpoint": Endpoint.SEND,
            "app_key": None if it.app is None else apps.APPS[it.app].app_key,
            "msg_id": it.msg_id,
            "changed": {
                "statement": it.statement,
                "due": _charge(it.due),
                "stated": _charge(it.stated),
            },
        }
        for it in errors
    ]


def _charge(charge: Charge | None) -> Label | None:
    if charge is None:
        return None
    return {"segments": charge.segments, "price": str(charge.price), "amount": str(charge.amount)}


def iso(time_ns: int) -> str:
    """Return a time as ISO 8601 in UTC, to the millisecond.

    >>> iso(1_793_966_430_000_000_000)
    '2026-11-06T12:00:30.000Z'
    """
    time = datetime.fromtimestamp(time_ns // 1_000_000 / 1000, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
