"""The rules as values: how often, how long, how many tries; and the arithmetic that follows from them.

Decides nothing about a particular call and keeps no state. Times are the service clock's, in whole milliseconds.
Source: SMS Code API v1 and the contract's choices; NIST SP 800-63B for the advice on lifetimes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.api import defaults
from toolkit.api.rate_rules import DEFAULT_RULES, Rule

HOUR_MS = 3_600_000
MAX_TTL_S = 86_400
ADVISED_TTL_S = 600  # NIST SP 800-63B-3, section 5.1.3.2: an out-of-band secret is invalid after 10 minutes
ONE_SEGMENT, SEGMENT = 70, 67  # characters of a text in one message, and of each part of a longer one


@dataclass(frozen=True, slots=True)
class Policy:
    """What the service allows.

    rules: sends to one mobile of one app. app_rules: sends of one app, to whomever. tries: wrong codes a message
    stands. failures_per_hour: wrong codes a mobile of an app stands in an hour, over all its messages.
    """

    rules: tuple[Rule, ...] = DEFAULT_RULES
    app_rules: tuple[Rule, ...] = ()
    tries: int = defaults.TRIES
    failures_per_hour: int = defaults.FAILURES_PER_HOUR

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


def count_segments(text: str) -> int:
    """Return how many messages a text is charged as; the signature is part of the text."""
    return 1 if len(text) <= ONE_SEGMENT else -(-len(text) // SEGMENT)
