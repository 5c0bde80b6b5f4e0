"""A set of rules that recorded sends are played through."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.api.errors import InputError
from toolkit.api.rate_rules import Rule
from toolkit.price_list import PriceList

RECORDED = "recorded"
_MAX_PREFIX_DIGITS = 7


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rate limits, blocked prefixes and prices to try on recorded sends.

    Attributes:
        rules: The rate limits of sends to a mobile of an app. None keeps the log's own decisions; an empty tuple
            refuses nothing for frequency.
        blocked: The first digits of mobiles to which no code is sent, at most 7 of each.
        prices: The prices of messages. None keeps those of ``what_if``.
        label: The name in tables; by default the rules, blocked prefixes and prices.

    Raises:
        InputError: A blocked prefix is not 1 to 7 digits, or the label is "recorded".

    >>> str(RuleSet.parse("1/30s 3/1h", blocked=["1700"]))
    '1/30s 3/3600s without 1700'
    """

    rules: tuple[Rule, ...] | None = None
    blocked: tuple[str, ...] = ()
    prices: PriceList | None = None
    label: str = ""

    def __post_init__(self) -> None:
        for prefix in self.blocked:
            if not (prefix.isascii() and prefix.isdigit() and len(prefix) <= _MAX_PREFIX_DIGITS):
                raise InputError(f"invalid blocked {prefix!r}: expected 1 to 7 first digits, e.g. 1700123")
        if str(self) == RECORDED:
            raise InputError(f"invalid label {RECORDED!r}: it names the log's own decisions; choose another one")

    @classmethod
    def parse(cls, rules: str, blocked: tuple[str, ...] | list[str] = (), prices: PriceList | None = None) -> RuleSet:
        """Parse rules separated by blanks or commas, such as ``1/30s 3/1h``. Raise InputError for any other text."""
        texts = rules.replace(",", " ").split()
        if not texts:
            raise InputError("empty rule set: expected COUNT/DURATION, e.g. 1/60s or '1/60s 5/1h'")
        return cls(tuple(map(Rule.parse, texts)), tuple(blocked), prices)

    def __str__(self) -> str:
        if self.label:
            return self.label
        rules = "recorded rules" if self.rules is None else " ".join(map(str, self.rules)) or "no rules"
        blocked = f" without {' '.join(self.blocked)}" if self.blocked else ""
        return f"{rules}{blocked}{', other prices' if self.prices else ''}"
