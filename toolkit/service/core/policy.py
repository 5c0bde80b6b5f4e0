"""Define the limits of the service: rate limits, tries, lifetimes.

Times are whole milliseconds of the service clock.
Sources: SMS Code API v1 and the contract's choices; NIST SP 800-63B for the lifetime of a code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.api import defaults
from toolkit.api.rate_rules import DEFAULT_RULES, Rule

HOUR_MS = 3_600_000
MAX_TTL_S = 86_400
ADVISED_TTL_S = 600  # NIST SP 800-63B-3, section 5.1.3.2: an out-of-band secret is invalid after 10 minutes


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits that the service enforces.

    Attributes:
        rules: limit the sends of one app to one mobile.
        app_rules: limit all sends of one app.
        tries: wrong codes that a message allows.
        failures_per_hour: wrong codes that a mobile of an app may cause in an hour, over all its messages.
    """

    rules: tuple[Rule, ...] = DEFAULT_RULES
    app_rules: tuple[Rule, ...] = ()
    tries: int = defaults.TRIES
    failures_per_hour: int = defaults.FAILURES_PER_HOUR

    @property
    def longest_ms(self) -> int:
        """The longest window of all rules; 0 if there are no rules."""
        return max((rule.window_ms for rule in self.rules + self.app_rules), default=0)


DEFAULT_POLICY = Policy()


def wait_ms(times: Sequence[int], rules: Sequence[Rule], now_ms: int) -> int:
    """Return the time until every rule allows one more call; 0 or less if they allow it now.

    A rule of ``count`` calls allows one more once the ``count``-th latest call has left the window. A call at time t
    leaves a window at exactly t + window.

    >>> wait_ms([0, 50_000], [Rule(1, 60)], now_ms=70_000)
    40000

    Args:
        times: the times of the accepted calls, ascending.
    """
    waits = [times[-rule.count] + rule.window_ms - now_ms for rule in rules if len(times) >= rule.count]
    return max(waits, default=0)
