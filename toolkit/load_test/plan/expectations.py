"""The service behaviour that the checks of a load test expect."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from toolkit.api import defaults
from toolkit.api.errors import InputError
from toolkit.api.rate_rules import DEFAULT_RULES, Rule
from toolkit.api.return_codes import Kind, ReturnCode, kind_of
from toolkit.runs.thresholds import OkRatio, Rate, ResponseTime, Share, Threshold

TICK_NS = 1_000_000  # the service reads its wall clock in whole ms, and then multiplies by its speed
_HOUR_S = 3600
MAX_SPEED = 1_000_000  # of the service's clock


@dataclass(frozen=True, slots=True)
class ServiceClock:
    """The service's clock in relation to the caller's.

    Args:
        speed: Seconds of the service per second of the caller.
        drift_ratio: Relative difference by which the two clocks may run apart; 0 on one machine.
    """

    speed: float = 1.0
    drift_ratio: float = 0.0

    def window_ns(self, rule: Rule) -> int:
        """Return the length of a rule's window in the caller's ns."""
        return math.ceil(rule.window_ms / self.speed) * TICK_NS

    def slack_ns(self, rule: Rule) -> int:
        """Return the tolerance of a window's length in ns, in addition to the tick that a service may be early."""
        uneven = 0 if float(self.speed).is_integer() else TICK_NS
        return uneven + round(self.window_ns(rule) * self.drift_ratio)

    def ms(self, ns: float) -> float:
        """Convert the caller's ns to the service's ms."""
        return ns * self.speed / 1e6


@dataclass(frozen=True, slots=True)
class Expectations:
    """Limits that the service under test is expected to enforce. The defaults are those of the API.

    Args:
        rules: Rate limits of sends to one mobile.
        tries: Wrong codes after which a message accepts no further code.
        failures_per_hour: Wrong codes per hour after which a mobile is blocked.
        ttl_s: Lifetime of a code, in the service's seconds.
        limits: Thresholds that define a sustainable rate.
        clock: The service's clock.

    Raises:
        InputError: A number is out of range.
    """

    rules: tuple[Rule, ...] = DEFAULT_RULES
    tries: int = defaults.TRIES
    failures_per_hour: int = defaults.FAILURES_PER_HOUR
    ttl_s: int = defaults.TTL_S
    limits: tuple[Threshold, ...] = ()
    clock: ServiceClock = field(default_factory=ServiceClock)

    def __post_init__(self) -> None:
        if not 0 < self.clock.speed <= MAX_SPEED:
            raise InputError(f"invalid speed {self.clock.speed:g}: expected a number above 0 and at most {MAX_SPEED}")
        if min(self.tries, self.failures_per_hour, self.ttl_s) < 1:
            raise InputError("invalid tries, failures per hour or TTL: each must be at least 1")

    @property
    def failures_rule(self) -> Rule:
        """The rate limit of wrong codes for one mobile."""
        return Rule(self.failures_per_hour, _HOUR_S)

    def caller_s(self, service_s: float) -> float:
        """Convert the service's seconds to the caller's."""
        return service_s / self.clock.speed


def check_limit(limit: Threshold) -> None:
    """Raise InputError if a search for the capacity can't use a threshold: more load must turn it from met to missed.

    >>> from toolkit.runs.thresholds import parse_threshold
    >>> check_limit(parse_threshold("failed > 1%"))
    Traceback (most recent call last):
      ...
    toolkit.api.errors.InputError: --limit 'failed > 1%' can't be searched: more load makes it easier to meet; \
expected an upper bound on a time or on failures, or a lower bound on successes, e.g. 'p99(send.caller_ms) < 250'
    """
    outcome = limit.metric.outcome if isinstance(limit.metric, Share) else None
    is_good = isinstance(limit.metric, OkRatio) or outcome == ReturnCode.SUCCESS
    is_strict = limit.comparison in ("<", ">") or isinstance(limit.metric, ResponseTime)
    why = ""
    if isinstance(limit.metric, Rate):
        why = "the search itself chooses the rate"
    elif limit.is_upper == is_good:
        why = "more load makes it easier to meet"
    elif is_strict and limit.limit == (100 if is_good else 0):
        why = "no trial can meet it"
    elif not is_strict and limit.limit == (0 if is_good else 100):
        why = "no trial can miss it"
    elif isinstance(outcome, int) and kind_of(outcome) is Kind.RATE:
        why = "refusals by a rate limit are never blamed on the service"
    elif limit.abort_after_s is not None:
        why = "a trial has a fixed length; leave out 'abort after'"
    if why:
        raise InputError(
            f"--limit '{limit}' can't be searched: {why}; expected an upper bound on a time or on failures,"
            " or a lower bound on successes, e.g. 'p99(send.caller_ms) < 250'"
        )
