"""Prefixes: the first 7 digits that the simulated mobiles have, real ones of China's carriers and provinces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from phonenumbers import PhoneNumber, carrier, geocoder

_CHINA = 86
# Subscribers of the three at the end of 2023, rounded; source: their monthly figures.
MARKET = {"China Mobile": 0.57, "China Telecom": 0.24, "China Unicom": 0.19}
_EACH = 1_000
_RARE_SHARE = 1e-5


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Prefixes and how common each is.

    numbers: 7 digits (int64). carriers: the number of each one's carrier in MARKET (int8). cumulative: shares, summed
    up to 1. rare: the place of one that hardly anybody has.
    """

    numbers: NDArray[np.int64]
    carriers: NDArray[np.int8]
    cumulative: NDArray[np.float64]
    rare: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Prefixes:
        """Draw a thousand real prefixes of each carrier that are known to be some province's."""
        found: dict[str, list[int]] = {name: [] for name in MARKET}
        while any(len(numbers) < _EACH for numbers in found.values()):
            number = 1_300_000 + int(rng.integers(700_000))
            if (name := _carrier(number)) and len(found[name]) < _EACH and number not in found[name]:
                found[name].append(number)
        shares = np.concatenate([share * rng.dirichlet(np.full(_EACH, 2.0)) for share in MARKET.values()])
        rare = int(rng.integers(len(shares)))
        shares[rare] = _RARE_SHARE
        numbers = np.array([number for numbers in found.values() for number in numbers])
        return cls(numbers, np.repeat(np.arange(3, dtype=np.int8), _EACH), shares.cumsum() / shares.sum(), rare)


def _carrier(prefix: int) -> str | None:
    """Return the carrier of a prefix, None where it is none of the market's, or of no province."""
    number = PhoneNumber(country_code=_CHINA, national_number=prefix * 10_000)
    name: str = carrier.name_for_number(number, "en")
    province = geocoder.description_for_number(number, "en")
    return name if name in MARKET and province not in ("", "China") else None
