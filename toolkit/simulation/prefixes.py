"""Choose the prefixes (7 digits) of the simulated mobiles: real ones of China's carriers and provinces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from phonenumbers import PhoneNumber, carrier, geocoder

_CHINA = 86
# Shares of the subscribers of the three carriers at the end of 2023, rounded. Source: their monthly figures.
MARKET_SHARES = {"China Mobile": 0.57, "China Telecom": 0.24, "China Unicom": 0.19}
_PREFIXES_PER_CARRIER = 1_000
_RARE_SHARE = 1e-5


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Prefixes and their shares of the mobiles.

    Attributes:
        numbers: The 7 digits of each prefix, int64.
        carriers: The index of each one's carrier in MARKET_SHARES, int8.
        cumulative: The cumulative shares, up to 1.
        rare: The index of a prefix that very few mobiles have.
    """

    numbers: NDArray[np.int64]
    carriers: NDArray[np.int8]
    cumulative: NDArray[np.float64]
    rare: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Prefixes:
        """Sample a thousand prefixes of each carrier."""
        found: dict[str, list[int]] = {name: [] for name in MARKET_SHARES}
        while any(len(numbers) < _PREFIXES_PER_CARRIER for numbers in found.values()):
            number = 1_300_000 + int(rng.integers(700_000))
            name = _carrier(number)
            if name and len(found[name]) < _PREFIXES_PER_CARRIER and number not in found[name]:
                found[name].append(number)
        weights = np.full(_PREFIXES_PER_CARRIER, 2.0)
        shares = np.concatenate([share * rng.dirichlet(weights) for share in MARKET_SHARES.values()])
        rare = int(rng.integers(len(shares)))
        shares[rare] = _RARE_SHARE
        numbers = np.array([number for numbers in found.values() for number in numbers])
        carriers = np.repeat(np.arange(len(MARKET_SHARES), dtype=np.int8), _PREFIXES_PER_CARRIER)
        return cls(numbers, carriers, shares.cumsum() / shares.sum(), rare)


def _carrier(prefix: int) -> str | None:
    """Return the carrier of a prefix, or None if the market has no such carrier or the province is unknown."""
    number = PhoneNumber(country_code=_CHINA, national_number=prefix * 10_000)
    name: str = carrier.name_for_number(number, "en")
    province = geocoder.description_for_number(number, "en")
    return name if name in MARKET_SHARES and province not in ("", "China") else None
