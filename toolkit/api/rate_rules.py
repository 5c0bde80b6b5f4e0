"""Frequency rules as values: what the service keeps, and a load test expects it to keep."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self

from toolkit.api.errors import InputError

_RULE = re.compile(r"([0-9]{1,6})/([0-9]{1,8})s?")


@dataclass(frozen=True, slots=True)
class Rule:
    """At most ``count`` in any ``window_s`` seconds: a sliding window, exact."""

    count: int
    window_s: int

    window_ms: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "window_ms", self.window_s * 1000)
        if self.count < 1 or self.window_s < 1:
            raise InputError(f"rule {self}: a count and a window are at least 1")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``count/seconds``, such as ``1/60s``."""
        match = _RULE.fullmatch(text.strip())
        if not match:
            raise InputError(f"rule {text!r}: write count/seconds, such as 1/60s")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.count}/{self.window_s}s"


DEFAULT_RULES = (Rule(1, 60), Rule(5, 3600), Rule(10, 86_400))


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Read rules with spaces or commas between; none given are the contract's."""
    return tuple(map(Rule.parse, text.replace(",", " ").split())) or DEFAULT_RULES
