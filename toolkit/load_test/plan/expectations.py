"""Terms: what a load test expects a service to keep to. The contract's, unless options say otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field

from toolkit.api.errors import InputError
from toolkit.api.rate_rules import DEFAULT_RULES, Rule
from toolkit.load_test.generator.checks.rate_limit_oracle import ServiceClock
from toolkit.runs.thresholds import Threshold

_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Terms:
    """How often, how many tries, how long.

    rules: sends to one mobile. tries: wrong codes a message stands. failures_per_hour: wrong codes a mobile stands.
    ttl_s: how long a code is valid, in the service's seconds. limits: what it keeps at rates that it can take.
    clock: the service's.
    """

    rules: tuple[Rule, ...] = DEFAULT_RULES
    tries: int = 5
    failures_per_hour: int = 30
    ttl_s: int = 300
    limits: tuple[Threshold, ...] = ()
    clock: ServiceClock = field(default_factory=ServiceClock)

    def __post_init__(self) -> None:
        if not 0 < self.clock.speed <= 1e6:
            raise InputError(f"speed {self.clock.speed:g}: give a number above 0, at most a million")
        if min(self.tries, self.failures_per_hour, self.ttl_s) < 1:
            raise InputError("tries, failures per hour and ttl are at least 1")

    @property
    def failures_rule(self) -> Rule:
        """The rule that wrong codes for one mobile are counted by."""
        return Rule(self.failures_per_hour, _HOUR_S)

    def caller_s(self, service_s: float) -> float:
        """Return how long so many of the service's seconds take."""
        return service_s / self.clock.speed
