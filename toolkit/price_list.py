"""The price list: the price of a message by day, template type and carrier.

``PriceList.find`` looks a price up. ``parse_price_list`` reads the tables of a TOML file, which ``toolkit.settings``
loads. This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from toolkit.api.errors import InputError, SettingsError
from toolkit.validation import explain, suggest

PLACES = 6  # decimal places of prices and amounts
_PRICE_LIMIT = 100_000  # a higher price is a mistake in any currency
_MAX_SEGMENTS = 99
_NO_OTHER_KEYS = ConfigDict(extra="forbid")

_EXPECTED = {
    "": {"prices": "[[prices]] above each row", "templates": "[[templates]] above each row"},
    "prices": {
        "since": "a day, e.g. 2026-11-01",
        "per_segment": f'a decimal as text, e.g. "0.045", from 0 on, with at most {PLACES} places',
        "currency": "an ISO 4217 code, e.g. CNY",
        "template_type": "the type of a template, e.g. code",
        "carrier": "a carrier's English name, e.g. China Mobile",
    },
    "templates": {
        "temp_id": "a whole number",
        "type": "a type, e.g. code",
        "segments": f"a whole number from 1 to {_MAX_SEGMENTS}",
    },
}


def _parse_day(value: object) -> object:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _parse_price(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if not isinstance(value, str):  # TOML's 0.045 is a binary fraction, so a price must be text
        raise ValueError("not a text")
    try:
        return _check_price(Decimal(value))
    except InvalidOperation:
        raise ValueError("not a decimal") from None


def _check_price(price: Decimal) -> Decimal:
    places = price.normalize().as_tuple().exponent
    if not (isinstance(places, int) and 0 <= price < _PRICE_LIMIT and places >= -PLACES):
        raise InputError(f"invalid price {price}: expected {_EXPECTED['prices']['per_segment']}")
    return price


def _check_text(text: str) -> str:
    if not text.strip():
        raise ValueError("empty")
    return text


_Text = Annotated[str, Strict(), AfterValidator(_check_text)]


class Unit(StrEnum):
    """The unit that a price is for."""

    SEGMENT = "segment"
    SEND = "send"  # with all of its segments


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A price that applies from a day on, until a later row for the same template type and carrier.

    Attributes:
        since: first day, in the time zone of the bill.
        per_segment: price of a segment, or of a send, see ``PriceList.unit``.
        currency: ISO 4217 code.
        template_type: type of the template; None applies to all.
        carrier: English name as in the phonenumbers package; None applies to all.

    Raises:
        InputError: the price is negative, too high or has more than 6 decimal places.

    """

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    since: Annotated[date, Strict(), BeforeValidator(_parse_day)]
    per_segment: Annotated[Decimal, BeforeValidator(_parse_price)]
    currency: Annotated[str, Strict(), Field(pattern="^[A-Z]{3}$")]
    template_type: _Text | None = None
    carrier: _Text | None = None

    def __post_init__(self) -> None:
        _check_price(self.per_segment)

    def applies(self, day: date, template_type: str | None, carrier: str | None) -> bool:
        """Return whether the row applies to a send."""
        types, carriers = (None, template_type), (None, carrier)
        return self.since <= day and self.template_type in types and self.carrier in carriers

    def rank(self) -> tuple[int, bool, date]:
        """Return the row's sort key: the more specific row wins, a type before a carrier, then the later one."""
        has_type, has_carrier = self.template_type is not None, self.carrier is not None
        return has_type + has_carrier, has_type, self.since


@dataclass(frozen=True, slots=True)
class PricedTemplate:
    """The attributes of a template that its price depends on: its type and the segments of its text."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    temp_id: Annotated[int, Strict(), Field(ge=0)]
    type: _Text
    segments: Annotated[int, Strict(), Field(ge=1, le=_MAX_SEGMENTS)] = 1


@dataclass(frozen=True, slots=True)
class PriceList:
    """A price list in one currency. ``unit`` is what ``per_segment`` of the rows is the price of.

    >>> row = PriceRow(date(2026, 11, 1), Decimal("0.045"), "CNY")
    >>> PriceList((row,)).find(date(2026, 11, 6), "code", "China Mobile")
    Decimal('0.045')

    Raises:
        InputError: rows contradict each other, have different currencies or name an unknown template type.

    """

    rows: tuple[PriceRow, ...] = ()
    templates: tuple[PricedTemplate, ...] = ()
    unit: Unit = Unit.SEGMENT

    def __post_init__(self) -> None:
        _check_unique("a price", ((row.since, row.template_type, row.carrier) for row in self.rows))
        _check_unique("a template", ((row.temp_id,) for row in self.templates))
        currencies = sorted({row.currency for row in self.rows})
        if len(currencies) > 1:
            raise InputError(f"prices in {' and '.join(currencies)} can't be added up: give each currency its own list")
        types = [row.type for row in self.templates]
        for row in self.rows:
            if row.template_type is not None and row.template_type not in types:
                hint = suggest(row.template_type, types) if types else "add [[templates]]"
                raise InputError(f"unknown template_type {row.template_type!r} in [[prices]]: {hint}")

    @property
    def currency(self) -> str | None:
        """The currency of all prices; None without prices."""
        return self.rows[0].currency if self.rows else None

    def find(self, day: date, template_type: str | None, carrier: str | None) -> Decimal | None:
        """Return the price of a send, or None if no row applies.

        Of the rows that apply on the send's day the most specific one wins: with type and carrier, then with the
        type, then with the carrier, then with neither. Of equally specific rows the latest wins.
        """
        rows = [row for row in self.rows if row.applies(day, template_type, carrier)]
        return max(rows, key=PriceRow.rank).per_segment if rows else None


def _check_unique(noun: str, keys: Iterable[tuple[object, ...]]) -> None:
    seen = set[tuple[object, ...]]()
    for key in keys:
        if key in seen:
            parts = ", ".join(str(part) for part in key if part is not None)
            raise InputError(f"{noun} of {parts} is given twice: keep one of them")
        seen.add(key)


class _PriceFile(BaseModel):
    model_config = _NO_OTHER_KEYS

    prices: list[PriceRow] = []
    templates: list[PricedTemplate] = []


def parse_price_list(tables: Mapping[str, object], file: str) -> PriceList:
    """Return the price list of a TOML file's [[prices]] and [[templates]].

    ``file`` names the file in errors. Raises SettingsError, in one line, that names the file and the row.
    """
    try:
        read = _PriceFile.model_validate(tables)
        return PriceList(tuple(read.prices), tuple(read.templates))
    except ValidationError as error:
        raise SettingsError(f"{file}: {explain(error, _EXPECTED)}") from None
    except InputError as problem:
        raise SettingsError(f"{file}: {problem}") from None
