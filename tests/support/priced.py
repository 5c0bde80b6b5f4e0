"""Sends and verifies with prices, drawn by hypothesis, and what they cost said again as plainly as can be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from toolkit.analysis.carriers import carriers
from toolkit.api.return_codes import find, kind_of
from toolkit.api.wire import Endpoint
from toolkit.price_list import PricedTemplate, PriceList, PriceRow, Unit
from toolkit.records.call_record import CallRecord, hash64

MIDNIGHT_NS = 1_793_923_200_000_000_000  # 2026-11-06 00:00:00 UTC
SECOND_NS = 1_000_000_000
TODAY = date(2026, 11, 6)
YESTERDAY = date(2026, 11, 5)
PREFIXES = {1: "1380013", 2: "1300050", 3: "1600000", 4: None}
CARRIERS = {1: "China Mobile", 2: "China Unicom", 3: None, 4: None}

Group = tuple[Any, ...]


def send(started_ns: int, mobile: int | None, code: int | None, **changes: Any) -> CallRecord:
    row = None if code is None else find(code)
    fields = {
        "started_ns": started_ns,
        "run": "r1",
        "source": "a",
        "endpoint": Endpoint.SEND,
        "http_status": row and row.http_status,
        "return_code": code,
        "kind": None if code is None else kind_of(code),
        "latency_ns": 1,
        "mobile_key": mobile,
        "prefix": None if mobile is None else PREFIXES[mobile],
        "temp_id": 1,
        "app_key": "a",
        "error": "timeout" if code is None else None,
    } | changes
    if code == 50000 and "msg_id" not in changes:
        fields["msg_id"] = f"m{started_ns}"
    return CallRecord(**fields, msg_key=hash64(fields.get("msg_id")))


def verify(of: CallRecord, code: int) -> CallRecord:
    changes = {"endpoint": Endpoint.VERIFY, "msg_id": of.msg_id, "temp_id": None}
    return send(of.started_ns + 90_000 * SECOND_NS, None, code, **changes)


_times = st.builds(
    lambda offset_s, late_ns: MIDNIGHT_NS + offset_s * SECOND_NS + late_ns,
    st.sampled_from([-86_400, -301, -300, -1, 0, 1, 299, 300, 301, 600, 86_399]),
    st.integers(-2, 2),
)
_sends = st.builds(
    lambda started_ns, mobile, code, **fields: send(started_ns, mobile, code, **fields),
    _times,
    st.sampled_from([1, 1, 2, 3, 4, None]),
    st.sampled_from([50000, 50000, 50000, 50009, 50014, 50019, 59031, None]),
    temp_id=st.sampled_from([1, 2, 3, None]),
    app_key=st.sampled_from(["a", "b", None]),
    segments=st.sampled_from([None, 1, 2]),
    error=st.none(),
)
_failures = st.builds(
    lambda started_ns, error: send(started_ns, 1, None, error=error), _times, st.sampled_from(["timeout", "connect"])
)


@st.composite
def calls(draw: st.DrawFn) -> list[CallRecord]:
    sends = draw(st.lists(st.one_of(_sends, _failures), max_size=16, unique_by=lambda it: it.started_ns))
    accepted = [it for it in sends if it.return_code == 50000]
    of = st.sampled_from(accepted) if accepted else st.nothing()
    verifies = draw(st.lists(st.builds(verify, of, st.sampled_from([50000, 50010])), max_size=8))
    return draw(st.permutations([*sends, *verifies]))


_rows = st.lists(
    st.builds(
        PriceRow,
        st.sampled_from([YESTERDAY, TODAY]),
        st.decimals("0", "0.1", places=6),
        st.just("CNY"),
        st.sampled_from([None, "code", "notice"]),
        st.sampled_from([None, "China Mobile", "China Unicom"]),
    ),
    max_size=5,
    unique_by=lambda it: (it.since, it.template_type, it.carrier),
)
prices = st.builds(
    lambda rows, unit: PriceList(tuple(rows), (PricedTemplate(1, "code"), PricedTemplate(2, "notice", 2)), unit),
    _rows,
    st.sampled_from(Unit),
)


def day(call: CallRecord) -> date:
    return datetime.fromtimestamp(call.started_ns // SECOND_NS, UTC).date()


def amount(call: CallRecord, of: PriceList) -> tuple[int, Decimal | None]:
    """Return a message's segments and its price, None where none is known."""
    template = next((it for it in of.templates if it.temp_id == call.temp_id), None)
    segments = call.segments or (template.segments if template else 1)
    found = of.find(day(call), template.type if template else None, _carrier(call))
    return segments, None if found is None else found if of.unit is Unit.SEND else found * segments


def _carrier(call: CallRecord) -> str | None:
    found = carriers([call.prefix])["carrier"].tolist()
    return found[0] if found and isinstance(found[0], str) else None


def costs(records: Iterable[CallRecord], of: PriceList, by: Sequence[str]) -> dict[Group, dict[str, Any]]:
    """Return what ``cost`` has to say, by group."""
    records = list(records)
    groups: dict[Group, list[CallRecord]] = defaultdict(list)
    for call in records:
        if call.endpoint is Endpoint.SEND:
            parts = {"day": day(call), "app_key": call.app_key, "temp_id": call.temp_id, "carrier": _carrier(call)}
            groups[tuple(parts[name] for name in by)].append(call)
    rights = {it.msg_id for it in records if it.endpoint is Endpoint.VERIFY and it.return_code == 50000}
    sums = {group: _sum(sends, records, rights, of) for group, sends in groups.items()}
    return {group: {name: _as_float(it) for name, it in found.items()} for group, found in sums.items()}


def _as_float(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _sum(sends: list[CallRecord], records: list[CallRecord], rights: set[str | None], of: PriceList) -> dict[str, Any]:
    accepted = [it for it in sends if it.return_code == 50000]
    verified = [it for it in accepted if it.msg_id in rights]
    wasted = [it for it in accepted if it.msg_id not in rights]
    resent = [it for it in accepted if _is_resent(it, records)]
    refused = [it for it in sends if it.return_code in (50009, 50014) or it.error == "connect"]
    money, users = _add(accepted, of), {it.mobile_key for it in verified if it.mobile_key is not None}
    is_keyless = bool(accepted) and all(it.mobile_key is None for it in accepted)
    return {
        "sends": len(sends),
        "accepted": len(accepted),
        "segments": sum(amount(it, of)[0] for it in accepted),
        "billed": sum(amount(it, of)[0] for it in accepted if amount(it, of)[1] is not None),
        "unpriced": sum(amount(it, of)[0] for it in accepted if amount(it, of)[1] is None),
        "money": money,
        "verified": len(verified),
        "conversion_ratio": len(verified) / len(accepted) if accepted else None,
        "wasted": len(wasted),
        "wasted_money": _add(wasted, of),
        "resent": None if is_keyless else len(resent),
        "resent_money": None if is_keyless else _add(resent, of),
        "refused": len(refused),
        "possibly_charged": len(sends) - len(accepted) - len(refused),
        "unknown": sum(it.return_code == 59031 for it in sends),
        "verified_users": None if is_keyless else len(users),
        "money_per_verified_user": None if money is None or not users else money / len(users),
    }


def _add(messages: list[CallRecord], of: PriceList) -> Decimal | None:
    amounts = [found for it in messages if (found := amount(it, of)[1]) is not None]
    return sum(amounts, Decimal(0)) if amounts or not messages else None


def _is_resent(call: CallRecord, records: list[CallRecord]) -> bool:
    who = (call.app_key, call.mobile_key)
    return call.mobile_key is not None and any(
        it.endpoint is Endpoint.SEND
        and it.return_code == 50000
        and (it.app_key, it.mobile_key) == who
        and 0 < call.started_ns - it.started_ns <= 300 * SECOND_NS
        for it in records
    )
