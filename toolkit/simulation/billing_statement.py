"""Write the provider's billing statements, and inject errors into them."""

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
from toolkit.simulation.arrow_tables import string_array
from toolkit.simulation.call_arrays import Rows
from toolkit.simulation.plan import IncidentKind, SimulationPlan, random_stream
from toolkit.simulation.simulated_prices import CURRENCY

HEADER = "msg_id,sent_at,segments,price,amount,currency\n"
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
    """An error in a statement: the charge by the records and the price list, and the charge in the statement."""

    error: StatementError
    msg_id: str
    sent_ns: int
    app: int | None
    due: Charge | None
    stated: Charge | None


def statement_name(day: date) -> str:
    """Return the name of the file that contains the lines of a day."""
    return f"statement-{day:%Y-%m}.csv"


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
    prices: list[list[Decimal]],
    errors: list[StatementError],
) -> tuple[memoryview, list[InjectedError]]:
    """Return the lines of a day, in the order of time, and the errors in them.

    Args:
        plan: The plan.
        day_number: The day, counted from 0.
        sends: SEND rows in the order of time.
        carriers: The carrier of each prefix.
        prices: The price of a segment for each template, for each carrier.
        errors: The errors to inject.
    """
    sent = sends[sends["outcome"] == call_outcomes.SUCCESS]
    charges = [
        Charge(template.segments, price)
        for template, prices_of_template in zip(apps.TEMPLATES, prices, strict=True)
        for price in prices_of_template
    ]
    charge_of_row = sent["template"].astype(np.int64) * len(prices[0]) + carriers[sent["prefix"]]
    builder = _StatementBuilder(sent["msg_high"], sent["msg_low"], sent["started_ns"], charge_of_row, charges)
    rng = random_stream(plan, "statement", day_number)
    rows = rng.permutation(len(sent))[: len(errors)].tolist()
    injected = [
        builder.inject(rng, error, row, int(sent["app"][row])) for error, row in zip(errors, rows, strict=False)
    ]
    return builder.to_csv(), injected


@dataclass(slots=True)
class _StatementBuilder:
    """The lines of a day while errors are injected.

    Attributes:
        high, low: The msg_id of each row.
        sent_ns: The time of each row.
        charge_of_row: The index of each row's charge.
        charges: The different charges.
        repeats: How often each row is written.
    """

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    sent_ns: NDArray[np.int64]
    charge_of_row: NDArray[np.int64]
    charges: list[Charge]
    repeats: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.repeats = np.ones(len(self.charge_of_row), np.int64)

    def inject(self, rng: np.random.Generator, error: StatementError, row: int, app: int) -> InjectedError:
        """Inject an error at a row."""
        due, msg_id, sent_ns = self.charges[self.charge_of_row[row]], self._msg_id(row), int(self.sent_ns[row])
        stated: Charge | None = due
        match error:
            case StatementError.UNKNOWN:
                return self._add_unknown(rng, sent_ns, due)
            case StatementError.MISSING:
                self.repeats[row], stated = 0, None
            case StatementError.DUPLICATE:
                self.repeats[row] = 2
            case StatementError.SEGMENTS:
                stated = self._replace_charge(row, Charge(due.segments + 1, due.price))
            case StatementError.PRICE:
                stated = self._replace_charge(row, Charge(due.segments, due.price + _PRICE_ERROR))
        return InjectedError(error, msg_id, sent_ns, app, due, stated)

    def _replace_charge(self, row: int, charge: Charge) -> Charge:
        self.charge_of_row[row] = len(self.charges)
        self.charges.append(charge)
        return charge

    def _add_unknown(self, rng: np.random.Generator, sent_ns: int, charge: Charge) -> InjectedError:
        """Add a line with the time and the charge of another message and a msg_id that was never sent."""
        high, low = msg_ids.generate(rng, 1)
        self.high, self.low = np.append(self.high, high), np.append(self.low, low)
        self.sent_ns, self.repeats = np.append(self.sent_ns, sent_ns), np.append(self.repeats, 1)
        self.charge_of_row = np.append(self.charge_of_row, len(self.charges))
        self.charges.append(charge)
        return InjectedError(StatementError.UNKNOWN, self._msg_id(-1), sent_ns, None, None, charge)

    def _msg_id(self, row: int) -> str:
        at = slice(row, row + 1 or None)
        return msg_ids.to_ascii(self.high[at], self.low[at]).tobytes().decode("ascii")

    def to_csv(self) -> memoryview:
        """Return the lines as text, in the order of time."""
        order = np.argsort(self.sent_ns, kind="stable")
        order = np.repeat(order, self.repeats[order])
        ids = string_array(msg_ids.to_ascii(self.high[order], self.low[order]))
        sent_at = pa.array(self.sent_ns[order] // _NS_PER_MS, pa.timestamp("ms", "UTC")).cast(pa.large_string())
        sent_at = pc.binary_replace_slice(sent_at, 10, 11, "T")
        charges = pa.array([str(it) for it in self.charges], pa.large_string())
        charges = charges.take(pa.array(self.charge_of_row[order]))
        lines = pc.binary_join_element_wise(ids, sent_at, charges, pa.scalar(",", pa.large_string()))
        return memoryview(lines.buffers()[2] or b"")
