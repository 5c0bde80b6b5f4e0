"""Describe the faults that a sandbox injects into the API's two calls."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from toolkit.api.durations import parse_duration
from toolkit.api.errors import InputError

MAX_SIGMA = 5


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency added to each call: constant (``sigma`` 0), or log-normal with the median ``median_s`` in seconds."""

    median_s: float = 0.0
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= MAX_SIGMA:
            raise InputError(f"invalid sigma {self.sigma}: expected a number from 0 to {MAX_SIGMA}")

    @classmethod
    def parse(cls, text: str) -> Latency:
        """Parse ``MEDIAN`` or ``MEDIAN~SIGMA``.

        >>> Latency.parse("20ms~0.5")
        Latency(median_s=0.02, sigma=0.5)
        """
        median, _, sigma = text.partition("~")
        try:
            return cls(parse_duration(median, allow_zero=True), float(sigma or 0))
        except ValueError:
            raise InputError(
                f"invalid latency {text!r}: expected a duration, e.g. 20ms, or 20ms~0.5 for log-normal latency with"
                f" sigma 0.5; sigma is at most {MAX_SIGMA}"
            ) from None

    def draw(self, rng: random.Random) -> float:
        """Draw one latency in seconds."""
        return self.median_s * math.exp(rng.gauss(0, self.sigma)) if self.sigma else self.median_s


NO_LATENCY = Latency()


@dataclass(frozen=True, slots=True)
class Stall:
    """A pause at the start of every ``period_s`` seconds: nothing is answered for ``length_s`` seconds."""

    length_s: float
    period_s: float

    @classmethod
    def parse(cls, text: str) -> Stall:
        """Parse ``LENGTH/PERIOD``.

        >>> Stall.parse("200ms/2s")
        Stall(length_s=0.2, period_s=2.0)
        """
        length, _, period = text.partition("/")
        try:
            stall = cls(parse_duration(length, allow_zero=True), parse_duration(period))
        except ValueError:
            raise InputError(f"invalid stall {text!r}: expected LENGTH/PERIOD, e.g. 200ms/2s") from None
        if stall.length_s >= stall.period_s:
            raise InputError(f"invalid stall {text!r}: expected a length shorter than the period, e.g. 200ms/2s")
        return stall

    def remaining_s(self, now_s: float) -> float:
        """Return the rest of the pause at a time of any monotonic clock, in seconds; 0 outside of a pause."""
        return max(0.0, self.length_s - now_s % self.period_s)


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults that the sandbox injects. Shares are between 0 and 1.

    - ``latency``: delay before a call is handled
    - ``error_share``: calls that are answered with a server error and not carried out
    - ``drop_share``: calls that are carried out, and whose connection is closed without a response
    - ``stall``: pauses in which nothing is answered
    """

    latency: Latency = NO_LATENCY
    error_share: float = 0.0
    drop_share: float = 0.0
    stall: Stall | None = None

    def __post_init__(self) -> None:
        for name in ("error_share", "drop_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"invalid {name} {getattr(self, name)}: expected a share from 0 to 1")


NO_FAULTS = Faults()
