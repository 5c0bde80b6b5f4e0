"""The rules as values: how often, how long, how many tries; and the arithmetic that follows from them.

Decides nothing about a particular call and keeps no state. Times are the service clock's, in whole milliseconds.
Source: SMS Code API v1 and the contract's choices; NIST SP 800-63B for the advice on lifetimes.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from toolkit.errors import InputError

CODE_DIGITS, CODES = 6, 1_000_000
HOUR_MS = 3_600_000
MAX_TTL_S = 86_400
ADVISED_TTL_S = 600  # NIST SP 800-63B-3, section 5.1.3.2: an out-of-band secret is invalid after 10 minutes
ONE_SEGMENT, SEGMENT = 70, 67  # characters of a text in one message, and of each part of a longer one

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


@dataclass(frozen=True, slots=True)
class Policy:
    """What the service allows.

    rules: sends to one mobile of one app. app_rules: sends of one app, to whomever. tries: wrong codes a message
    stands. failures_per_hour: wrong codes a mobile of an app stands in an hour, over all its messages.
    """

    rules: tuple[Rule, ...] = DEFAULT_RULES
    app_rules: tuple[Rule, ...] = ()
    tries: int = 5
    failures_per_hour: int = 30

    @property
    def longest_ms(self) -> int:
        """The longest window of all rules; 0 without any."""
        return max((rule.window_ms for rule in self.rules + self.app_rules), default=0)


DEFAULT_POLICY = Policy()


def wait_ms(times: Sequence[int], rules: Sequence[Rule], now_ms: int) -> int:
    """Return how long until one more is within every rule; 0 when it is now.

    ``times`` are those of the accepted, in ascending order. One at t has left a window at exactly t + window.
    """
    waits = [times[-rule.count] + rule.window_ms - now_ms for rule in rules if len(times) >= rule.count]
    return max(waits, default=0)


def draw_code() -> str:
    """Draw the digits of a code, uniformly at random."""
    return f"{secrets.randbelow(CODES):0{CODE_DIGITS}d}"


def count_segments(text: str) -> int:
    """Return how many messages a text is charged as; the signature is part of the text."""
    return 1 if len(text) <= ONE_SEGMENT else -(-len(text) // SEGMENT)
