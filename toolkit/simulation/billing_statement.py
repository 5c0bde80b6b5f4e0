"""Statement: what the provider bills, a line for each message; and the lines that are planted wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from toolkit.simulation import apps, call_outcomes, msg_ids
from toolkit.simulation.arrow_tables import texts
from toolkit.simulation.day_columns import Rows
from toolkit.simulation.message_prices import CURRENCY
from toolkit.simulation.plan import IncidentKind, Plan, dice

HEADER = "msg_id,sent_at,segments,price,amount,currency\n"
_MS_NS = 1_000_000
_DEARER_BY = Decimal("0.010")


class Difference(StrEnum):
    """What a line of a statement can have wrong."""

    MISSING = "statement_missing"  # a message that was sent has no line
    UNKNOWN = "statement_unknown"  # a line is of a message that was never sent
    SEGMENTS = "statement_segments"  # one more than it was
    PRICE = "statement_price"  # dearer than the price list says
    DUPLICATE = "statement_duplicate"  # billed twice


@dataclass(frozen=True, slots=True)
class Line:
    """What a line says of a message, or should."""

    segments: int
    price: Decimal

    @property
    def amount(self) -> Decimal:
        """What the message costs."""
        return self.segments * self.price

    def __str__(self) -> str:
        return f"{self.segments},{self.price},{self.amount},{CURRENCY}\n"


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted difference. ``due`` is what the records and the prices say, ``stated`` what the statement does."""

    difference: Difference
    msg_id: str
    sent_ns: int
    app: int | None
    due: Line | None
    stated: Line | None


def name_of(day: date) -> str:
    """Return the name of the file that a day's lines are in."""
    return f"statement-{day:%Y-%m}.csv"


def planted_on(plan: Plan) -> dict[int, list[Difference]]:
    """Return which differences are planted on which days: each once in every calendar month."""
    months: dict[str, list[int]] = {}
    for number in range(plan.days):
        months.setdefault(name_of(plan.day(number)), []).append(number)
    rng, planted = dice(plan, "differences"), dict[int, list[Difference]]()
    if IncidentKind.WRONG_STATEMENT in plan.incidents:
        for days in months.values():
            for difference in Difference:
                planted.setdefault(days[int(rng.integers(len(days)))], []).append(difference)
    return planted


def write_lines(
    plan: Plan,
    number: int,
    sends: Rows,
    carriers: NDArray[np.int8],
    price: list[list[Decimal]],
    differences: list[Difference],
) -> tuple[memoryview, list[Planted]]:
    """Return a day's lines, in the order of time, and what is planted in them.

    sends: SEND rows in the order of time. carriers: of each prefix. price: for each template, for each carrier.
    """
    sent = sends[sends["outcome"] == call_outcomes.SUCCESS]
    lines = [
        Line(it.segments, price[place][of]) for place, it in enumerate(apps.TEMPLATES) for of in range(len(price[0]))
    ]
    which = sent["template"].astype(np.int64) * len(price[0]) + carriers[sent["prefix"]]
    bill = _Bill(sent["msg_high"], sent["msg_low"], sent["started_ns"], which, lines)
    rng = dice(plan, "statement", number)
    places = rng.permutation(len(sent))[: len(differences)].tolist()
    planted = [
        bill.plant(rng, it, place, int(sent["app"][place])) for it, place in zip(differences, places, strict=False)
    ]
    return bill.write(), planted


@dataclass(slots=True)
class _Bill:
    """A day's lines while differences are planted: ``lines`` are those that occur, ``which`` is each row's."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    sent_ns: NDArray[np.int64]
    which: NDArray[np.int64]
    lines: list[Line]
    times: NDArray[np.int64] = field(init=False)  # how often each row is written

    def __post_init__(self) -> None:
        self.times = np.ones(len(self.which), np.int64)

    def plant(self, rng: np.random.Generator, difference: Difference, place: int, app: int) -> Planted:
        """Plant a difference at a row."""
        due, msg_id, sent_ns = self.lines[self.which[place]], self._msg_id(place), int(self.sent_ns[place])
        if difference is Difference.UNKNOWN:
            return self._add(rng, sent_ns, due)
        stated: Line | None = due
        if difference is Difference.MISSING:
            self.times[place], stated = 0, None
        elif difference is Difference.DUPLICATE:
            self.times[place] = 2
        else:
            stated = _wrong(difference, due)
            self.which[place] = len(self.lines)
            self.lines.append(stated)
        return Planted(difference, msg_id, sent_ns, app, due, stated)

    def _add(self, rng: np.random.Generator, sent_ns: int, line: Line) -> Planted:
        """Add a message that nobody sent, at the time of one that somebody did."""
        high, low = msg_ids.draw(rng, 1)
        self.high, self.low = np.append(self.high, high), np.append(self.low, low)
        self.sent_ns, self.times = np.append(self.sent_ns, sent_ns), np.append(self.times, 1)
        self.which = np.append(self.which, len(self.lines))
        self.lines.append(line)
        return Planted(Difference.UNKNOWN, self._msg_id(-1), sent_ns, None, None, line)

    def _msg_id(self, place: int) -> str:
        at = slice(place, place + 1 or None)
        return msg_ids.spell(self.high[at], self.low[at]).tobytes().decode("ascii")

    def write(self) -> memoryview:
        """Return the lines as text, in the order of time."""
        order = np.argsort(self.sent_ns, kind="stable")
        order = np.repeat(order, self.times[order])
        ids = texts(msg_ids.spell(self.high[order], self.low[order]))
        sent_at = pa.array(self.sent_ns[order] // _MS_NS, pa.timestamp("ms", "UTC")).cast(pa.large_string())
        sent_at = pc.binary_replace_slice(sent_at, 10, 11, "T")
        ends = pa.array([str(line) for line in self.lines], pa.large_string()).take(pa.array(self.which[order]))
        rows = pc.binary_join_element_wise(ids, sent_at, ends, pa.scalar(",", pa.large_string()))
        return memoryview(rows.buffers()[2] or b"")


def _wrong(difference: Difference, due: Line) -> Line:
    if difference is Difference.SEGMENTS:
        return Line(due.segments + 1, due.price)
    return Line(due.segments, due.price + _DEARER_BY)
