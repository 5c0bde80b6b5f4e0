"""Prices: what a message costs, by the UTC day it is sent on, its template's type and the carrier. Reads no file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from toolkit.api.errors import InputError, SettingsError

PLACES = 6  # decimal places of a price, and of all money that comes of it
_LIMIT = 100_000  # of a price: what is dearer is a mistake, in any currency
_MOST_SEGMENTS = 99
_CURRENCY = re.compile("[A-Z]{3}")


class Unit(StrEnum):
    """What a price is of."""

    SEGMENT = "segment"
    SEND = "send"  # with all of its segments


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A price that holds from a UTC day on, until one that is just as specific; None stands for every type or carrier.

    ``carrier`` is named as the phonenumbers package does in English. ``currency`` is an ISO 4217 code.
    """

    since: date
    per_segment: Decimal
    currency: str
    template_type: str | None = None
    carrier: str | None = None

    def __post_init__(self) -> None:
        price, places = self.per_segment, self.per_segment.normalize().as_tuple().exponent
        if not (isinstance(places, int) and 0 <= price < _LIMIT and places >= -PLACES):
            raise InputError(f"{price} is no price: it is a decimal from 0 on, with at most {PLACES} places")

    def holds(self, day: date, template_type: str | None, carrier: str | None) -> bool:
        """Tell whether the price may be that of such a send."""
        types, carriers = (None, template_type), (None, carrier)
        return self.since <= day and self.template_type in types and self.carrier in carriers

    def rank(self) -> tuple[int, bool, date]:
        """Return what orders the prices that may hold: the most specific one does, a type before a carrier."""
        given = (self.template_type is not None, self.carrier is not None)
        return sum(given), given[0], self.since


@dataclass(frozen=True, slots=True)
class Template:
    """What prices need to know of a template: its type, and how many segments its text takes."""

    temp_id: int
    type: str
    segments: int = 1


@dataclass(frozen=True, slots=True)
class Prices:
    """A price list, all in one currency, as sums need it. ``unit``: what ``per_segment`` of its rows is the price of.

    Raise InputError for rows that contradict each other.
    """

    rows: tuple[PriceRow, ...] = ()
    templates: tuple[Template, ...] = ()
    unit: Unit = Unit.SEGMENT

    def __post_init__(self) -> None:
        _check_once("a price", ((row.since, row.template_type, row.carrier) for row in self.rows))
        _check_once("a template", ((row.temp_id,) for row in self.templates))
        currencies = sorted({row.currency for row in self.rows})
        if len(currencies) > 1:
            raise InputError(f"prices in {' and '.join(currencies)} can't be added up: give each currency its own list")
        types = {row.type for row in self.templates}
        for row in self.rows:
            if row.template_type is not None and row.template_type not in types:
                hint = _hint(row.template_type, types, "add its templates")
                raise InputError(f"no template has the type {row.template_type!r} of a price: {hint}")

    @property
    def currency(self) -> str | None:
        """The currency of all of them, None where there are none."""
        return self.rows[0].currency if self.rows else None

    def find(self, day: date, template_type: str | None, carrier: str | None) -> Decimal | None:
        """Return the price of a send, None where none is known.

        Of the rows that hold on its UTC day, the most specific one is taken: type and carrier given, then the type,
        then the carrier, then neither; of these the one that came last.
        """
        held = [row for row in self.rows if row.holds(day, template_type, carrier)]
        return max(held, key=PriceRow.rank).per_segment if held else None


def _check_once(what: str, keys: Iterable[tuple[object, ...]]) -> None:
    seen = set[tuple[object, ...]]()
    for key in keys:
        if key in seen:
            raise InputError(f"{what} of {', '.join(str(it) for it in key if it is not None)} is given twice")
        seen.add(key)


def _hint(name: str, known: Iterable[str], otherwise: str) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else otherwise


# Reading.


def read_prices(tables: Mapping[str, object], place: str) -> Prices:
    """Read [[prices]] and [[templates]] of a file, which ``place`` names; raise SettingsError, in one line."""
    try:
        _check_names(tables, ("prices", "templates"), "a price list")
        rows = tuple(PriceRow(**row) for row in _read_rows(tables, "prices", PriceRow))
        return Prices(rows, tuple(Template(**row) for row in _read_rows(tables, "templates", Template)))
    except InputError as problem:
        raise SettingsError(f"{place}: {problem}") from None


def _read_rows(tables: Mapping[str, object], name: str, row_type: type) -> list[dict[str, Any]]:
    rows = tables.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{name} are rows: write [[{name}]] above each")
    return [_read_row(row, row_type, f"[[{name}]] number {number}") for number, row in enumerate(rows, 1)]


def _read_row(row: Mapping[str, object], row_type: Any, place: str) -> dict[str, Any]:
    needed = {column.name: column.default is MISSING for column in fields(row_type)}
    _check_names(row, needed, place)
    if missing := [name for name in needed if needed[name] and name not in row]:
        raise InputError(f"{place} lacks {', '.join(missing)}")
    return {name: _read_value(name, value, place) for name, value in row.items()}


def _check_names(given: Iterable[str], known: Iterable[str], place: str) -> None:
    known = list(known)
    for name in given:
        if name not in known:
            raise InputError(f"{place} has no {name}: {_hint(name, known, 'there are ' + ', '.join(known))}")


def _read_value(name: str, value: object, place: str) -> object:
    reader, wanted = _READERS[name]
    try:
        return reader(value)
    except (ArithmeticError, TypeError, ValueError):
        raise InputError(f"{place}: {name} can't be {value!r}: write {wanted}") from None


def _read_day(value: Any) -> date:
    return value if type(value) is date else date.fromisoformat(value)


def _read_price(value: Any) -> Decimal:
    price = Decimal(_read_text(value))
    PriceRow(date.min, price, "")
    return price


def _read_text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _read_currency(value: object) -> str:
    if not _CURRENCY.fullmatch(text := _read_text(value)):
        raise ValueError
    return text


def _read_whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _read_segments(value: object) -> int:
    if not 1 <= (segments := _read_whole(value)) <= _MOST_SEGMENTS:
        raise ValueError
    return segments


_READERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "since": (_read_day, "a UTC day, such as 2026-11-01"),
    "per_segment": (_read_price, f'a decimal as text, such as "0.045", from 0 on, with at most {PLACES} places'),
    "currency": (_read_currency, "an ISO 4217 code, such as CNY"),
    "template_type": (_read_text, "the type of a template"),
    "carrier": (_read_text, "a carrier's English name, such as China Mobile"),
    "temp_id": (_read_whole, "a whole number"),
    "type": (_read_text, "a type, such as code"),
    "segments": (_read_segments, f"a whole number from 1 to {_MOST_SEGMENTS}"),
}
