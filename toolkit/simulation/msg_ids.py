"""Message ids: random UUIDs, kept as two halves of 64 bits, and what records make of them."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Halves = NDArray[np.uint64]

_HEX = np.array([f"{byte:02x}" for byte in range(256)], "S2").view(np.uint8).reshape(256, 2)
_CHARS = 36
_PLACES = [place for place in range(_CHARS) if place not in (8, 13, 18, 23)]  # of the digits among the dashes


def draw(rng: np.random.Generator, count: int) -> tuple[Halves, Halves]:
    """Draw UUIDs of version 4 (RFC 9562, section 5.4)."""
    high, low = rng.integers(0, 1 << 64, (2, count), np.uint64)
    high = high & np.uint64(0xFFFFFFFFFFFF0FFF) | np.uint64(0x4000)
    low = low & np.uint64(0x3FFFFFFFFFFFFFFF) | np.uint64(1 << 63)
    return high, low


def spell(high: Halves, low: Halves) -> NDArray[np.uint8]:
    """Return UUIDs as rows of 36 ASCII characters."""
    texts = np.full((len(high), _CHARS), ord("-"), np.uint8)
    texts[:, _PLACES] = hexadecimal(np.stack([high, low], axis=1))
    return texts


def hexadecimal(numbers: Halves) -> NDArray[np.uint8]:
    """Return each row of numbers as one row of ASCII characters, 16 a number."""
    octets = numbers.astype(">u8").view(np.uint8)
    return _HEX[octets].reshape(len(numbers), -1)


def hash64(high: Halves, low: Halves) -> NDArray[np.int64]:
    """Return the hashes by which records join a send and its verifies."""
    data, blake2b = memoryview(spell(high, low).tobytes()), hashlib.blake2b
    digests = [blake2b(data[at : at + _CHARS], digest_size=8).digest() for at in range(0, len(data), _CHARS)]
    return np.frombuffer(b"".join(digests), ">i8").astype(np.int64)
