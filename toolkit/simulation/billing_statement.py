"""Write the provider's billing statements, and inject errors into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from toolkit.simulation import apps, call_outcomes, msg_ids
from toolkit.simulation.arrow_tables import string_array
from toolkit.simulation.call_arrays import Rows
from toolkit.simulation.deliveries import CODES
from toolkit.simulation.plan import DAY_NS, NS_PER_S, IncidentKind, SimulationPlan, random_stream
from toolkit.simulation.simulated_prices import CURRENCY, Price, per_segment_on

_PLAIN_HEADER = "msg_id,sent_at,segments,price,amount,currency\n"
_VENDOR_HEADER = "流水号,msg_id,手机号,模板ID,提交时间,状态,计费条数,单价,金额,币种\n"
_VENDOR_OFFSET_NS = 8 * 3600 * NS_PER_S  # Beijing time
_VENDOR_CLOCK_NS = 3 * NS_PER_S  # the vendor's clock is fast
_FIRST_SERIAL_NS = 1_577_836_800 * NS_PER_S  # 2020-01-01
_NS_PER_MS = 1_000_000
_PRICE_ERROR = Decimal("0.010")


class StatementError(StrEnum):
    """An error that can be injected into a statement."""

    MISSING = "statement_missing"  # a message that was sent has no line
    UNKNOWN = "statement_unknown"  # a line has a message that was never sent
    SEGMENTS = "statement_segments"  # a line has one segment too many
    PRICE = "statement_price"  # a line has a higher price than the price list
    DUPLICATE = "statement_duplicate"  # a message is billed twice


@dataclass(frozen=True, slots=True)
class Charge:
    """The charge of a message."""

    segments: int
    price: Decimal

    @property
    def amount(self) -> Decimal:
        """The segments times the price."""
        return self.segments * self.price

    def __str__(self) -> str:
        return f"{self.segments},{self.price},{self.amount},{CURRENCY}\n"


@dataclass(frozen=True, slots=True)
class InjectedError:
    """An error in a statement: the charge by the records and the price list, and the charge in the statement.

    ``statement`` is the name of the file.
    """

    error: StatementError
    msg_id: str
    sent_ns: int
    app: int | None
    statement: str
    due: Charge | None
    stated: Charge | None


def statement_name(day: date) -> str:
    """Return the name of the file that contains the lines of a day."""
    return f"statement-{day:%Y-%m}.csv"


def header(plan: SimulationPlan) -> str:
    """Return the first line of a plan's statements."""
    return _VENDOR_HEADER if plan.vendor_statement else _PLAIN_HEADER


def schedule_errors(plan: SimulationPlan) -> dict[int, list[StatementError]]:
    """Return the errors to inject by day number: each error once in every calendar month."""
    months: dict[str, list[int]] = {}
    for number in range(plan.days):
        months.setdefault(statement_name(plan.day(number)), []).append(number)
    rng, errors = random_stream(plan, "differences"), dict[int, list[StatementError]]()
    if IncidentKind.WRONG_STATEMENT in plan.incidents:
        for days in months.values():
            for error in StatementError:
                errors.setdefault(days[int(rng.integers(len(days)))], []).append(error)
    return errors


def statement_lines(
    plan: SimulationPlan,
    day_number: int,
    sends: Rows,
    carriers: NDArray[np.int8],
    prices: Sequence[Price],
    errors: list[StatementError],
) -> tuple[dict[str, memoryview], list[InjectedError]]:
    """Return the lines of a day by the name of their file, in the order of time, and the errors in them.

    A UTC day has the end of one day in Beijing and the start of the next, which may belong to another month. The day on
    which a message was sent decides on its price and its file, also if the provider's clock shows another day.

    Args:
        plan: The plan.
        day_number: The day, counted from 0.
        sends: SEND rows in the order of time.
        carriers: The carrier of each prefix.
        prices: The price list.
        errors: The errors to inject.
    """
    sent = sends[sends["outcome"] == call_outcomes.SUCCESS]
    days = (plan.day(day_number), plan.day(day_number + 1))
    next_day_ns = plan.start_ns + (day_number + 1) * DAY_NS - (_VENDOR_OFFSET_NS if plan.vendor_statement else 0)
    times_ns = sent["started_ns"] + (_VENDOR_CLOCK_NS if plan.vendor_statement else 0)
    per_segment = [per_segment_on(prices, day) for day in days]
    charges = [
        Charge(template.segments, price)
        for of_day in per_segment
        for template, of_template in zip(apps.TEMPLATES, of_day, strict=True)
        for price in of_template
    ]
    is_next_day = sent["started_ns"] >= next_day_ns
    template = sent["template"] + is_next_day * len(apps.TEMPLATES)
    charge_of_row = template * len(per_segment[0][0]) + carriers[sent["prefix"]]
    builder = _StatementBuilder(plan, days, next_day_ns, sent, times_ns, charge_of_row, charges)
    rng = random_stream(plan, "statement", day_number)
    rows = rng.permutation(len(sent))[: len(errors)].tolist()
    injected = [builder.inject(rng, error, row) for error, row in zip(errors, rows, strict=False)]
    return builder.to_csv(), injected


@dataclass(slots=True)
class _StatementBuilder:
    """The lines of a day while errors are injected.

    Attributes:
        plan: The plan.
        days: The day, and the next one.
        next_day_ns: The time when the next day starts where the provider is.
        sends: The SEND row of each line.
        times_ns: The time of each line by the provider's clock.
        charge_of_row: The index of each row's charge.
        charges: The different charges.
        repeats: How often each row is written.
    """

    plan: SimulationPlan
    days: tuple[date, date]
    next_day_ns: int
    sends: Rows
    times_ns: NDArray[np.int64]
    charge_of_row: NDArray[np.int64]
    charges: list[Charge]
    repeats: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.repeats = np.ones(len(self.charge_of_row), np.int64)

    def inject(self, rng: np.random.Generator, error: StatementError, row: int) -> InjectedError:
        """Inject an error at a row."""
        due, msg_id, app = self.charges[self.charge_of_row[row]], self._msg_id(row), int(self.sends["app"][row])
        stated: Charge | None = due
        match error:
            case StatementError.UNKNOWN:
                msg_id = self._add_unknown(rng, row)
            case StatementError.MISSING:
                self.repeats[row], stated = 0, None
            case StatementError.DUPLICATE:
                self.repeats[row] = 2
            case StatementError.SEGMENTS:
                stated = self._replace_charge(row, Charge(due.segments + 1, due.price))
            case StatementError.PRICE:
                stated = self._replace_charge(row, Charge(due.segments, due.price + _PRICE_ERROR))
        sent_ns = int(self.sends["started_ns"][row])
        name = statement_name(self.days[int(sent_ns >= self.next_day_ns)])
        if error is StatementError.UNKNOWN:
            return InjectedError(error, msg_id, sent_ns, None, name, None, stated)
        return InjectedError(error, msg_id, sent_ns, app, name, due, stated)

    def _replace_charge(self, row: int, charge: Charge) -> Charge:
        self.charge_of_row[row] = len(self.charges)
        self.charges.append(charge)
        return charge

    def _add_unknown(self, rng: np.random.Generator, row: int) -> str:
        """Add a line with the time and the charge of a row and a msg_id that was never sent; return that id."""
        added = self.sends[[row]]
        added["msg_high"], added["msg_low"] = msg_ids.generate(rng, 1)
        self.sends = np.append(self.sends, added)
        self.times_ns, self.repeats = np.append(self.times_ns, self.times_ns[row]), np.append(self.repeats, 1)
        self.charge_of_row = np.append(self.charge_of_row, self.charge_of_row[row])
        return self._msg_id(-1)

    def _msg_id(self, row: int) -> str:
        sends = self.sends[row : row + 1 or None]
        return msg_ids.to_ascii(sends["msg_high"], sends["msg_low"]).tobytes().decode("ascii")

    def to_csv(self) -> dict[str, memoryview]:
        """Return the lines as text by file, in the order of time."""
        order = np.argsort(self.times_ns, kind="stable")
        order = np.repeat(order, self.repeats[order])
        names = [statement_name(day) for day in self.days]
        if names[0] == names[1]:
            return {names[0]: self._lines(order)}
        first_of_next = int(np.searchsorted(self.sends["started_ns"][order], self.next_day_ns))
        parts = zip(names, (order[:first_of_next], order[first_of_next:]), strict=True)
        return {name: self._lines(part) for name, part in parts if len(part)}

    def _lines(self, rows: NDArray[np.int64]) -> memoryview:
        sends, times_ns = self.sends[rows], self.times_ns[rows]
        ids = string_array(msg_ids.to_ascii(sends["msg_high"], sends["msg_low"]))
        charges = pa.array([str(it) for it in self.charges], pa.large_string())
        charges = charges.take(pa.array(self.charge_of_row[rows]))
        columns = _vendor_columns if self.plan.vendor_statement else _plain_columns
        lines = pc.binary_join_element_wise(*columns(ids, sends, times_ns), charges, pa.scalar(",", pa.large_string()))
        return memoryview(lines.buffers()[2] or b"")


def _plain_columns(ids: pa.Array, sends: Rows, times_ns: NDArray[np.int64]) -> list[pa.Array]:
    sent_at = pa.array(times_ns // _NS_PER_MS, pa.timestamp("ms", "UTC")).cast(pa.large_string())
    return [ids, pc.binary_replace_slice(sent_at, 10, 11, "T")]


def _vendor_columns(ids: pa.Array, sends: Rows, times_ns: NDArray[np.int64]) -> list[pa.Array]:
    """Return the columns before the charge: a serial number of 64 bits, masked mobiles, times in Beijing, states."""
    text = pa.large_string()
    serials = ((times_ns - _FIRST_SERIAL_NS) // _NS_PER_MS << 22) + np.arange(len(sends)) % (1 << 22)
    ends = [pa.array(sends["number"] // 10**8).cast(text), pa.array(sends["number"] % 10**4).cast(text)]
    mobiles = pc.binary_join_element_wise(ends[0], pc.utf8_lpad(ends[1], 4, "0"), pa.scalar("****", text))
    local_s = (times_ns + _VENDOR_OFFSET_NS) // NS_PER_S
    states = pa.array([it.code or "UNKNOWN" for it in CODES], text).take(pa.array(sends["carrier_code"]))
    temp_ids = pa.array(apps.TEMP_IDS[sends["template"]]).cast(text)
    times = pa.array(local_s, pa.timestamp("s")).cast(text)
    return [pa.array(serials).cast(text), ids, mobiles, temp_ids, times, states]
