"""Parse rate rules such as ``1/60s``: at most COUNT sends in any window of DURATION.

A rule is a sliding window and exact: a send is accepted if fewer than COUNT sends were accepted in the DURATION before
it. The service enforces rules, a load test checks that they are enforced, the analysis infers them from a log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from toolkit.api import defaults
from toolkit.api.durations import parse_duration
from toolkit.api.errors import InputError

_MAX_COUNT_DIGITS = 6
_MAX_WINDOW_S = 3650 * 86_400

ROUND_WINDOWS_S = (
    (60, 3600, 86_400),
    (1, 5, 10, 30, 120, 300, 600, 900, 1800, 7200, 43_200, 604_800, 2_592_000),
    (2, 3, 4, 15, 20, 45, 90, 180, 240, 1200, 2700, 5400, 10_800, 14_400, 21_600, 28_800, 172_800, 259_200),
)
"""Window lengths that people choose, in s: three tiers, the roundest first."""


@dataclass(frozen=True, slots=True)
class Rule:
    """At most ``count`` sends in any ``window_s`` seconds.

    >>> Rule.parse("5/1h"), str(Rule(5, 3600))
    (Rule(count=5, window_s=3600), '5/3600s')
    """

    count: int
    window_s: int

    window_ms: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "window_ms", self.window_s * 1000)
        if self.count < 1 or self.window_s < 1:
            raise InputError(f"invalid rule '{self}': count and window must be at least 1, e.g. 1/60s")
        if self.window_s > _MAX_WINDOW_S:
            raise InputError(f"invalid rule '{self}': the window must be at most {_MAX_WINDOW_S}s, e.g. 10/86400s")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse COUNT/DURATION; a duration without a unit is in seconds. Raise InputError for anything else."""
        count, _, window = text.strip().partition("/")
        if not (count.isascii() and count.isdigit() and len(count) <= _MAX_COUNT_DIGITS):
            raise InputError(f"invalid rule {text!r}: expected COUNT/DURATION, e.g. 1/60s or 5/1h")
        try:
            window_s = parse_duration(f"{window}s" if window.isdigit() else window)
        except InputError:
            raise InputError(f"invalid rule {text!r}: expected COUNT/DURATION, e.g. 1/60s or 5/1h") from None
        if not window_s.is_integer():
            raise InputError(f"invalid rule {text!r}: the window must be whole seconds, e.g. 1/60s")
        return cls(int(count), int(window_s))

    def __str__(self) -> str:
        return f"{self.count}/{self.window_s}s"


DEFAULT_RULES = tuple(map(Rule.parse, defaults.RULES))


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Parse rules separated by blanks or commas; return the default rules for an empty text.

    >>> parse_rules("1/60s, 5/1h")
    (Rule(count=1, window_s=60), Rule(count=5, window_s=3600))
    """
    return tuple(map(Rule.parse, text.replace(",", " ").split())) or DEFAULT_RULES
