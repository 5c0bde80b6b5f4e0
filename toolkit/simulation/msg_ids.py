"""Generate message ids: random UUIDs in two halves of 64 bits, their text and their hash."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Halves = NDArray[np.uint64]

_HEX = np.array([f"{byte:02x}" for byte in range(256)], "S2").view(np.uint8).reshape(256, 2)
_LENGTH = 36
_DIGIT_POSITIONS = [position for position in range(_LENGTH) if position not in (8, 13, 18, 23)]


def generate(rng: np.random.Generator, count: int) -> tuple[Halves, Halves]:
    """Return the high and low halves of UUIDs of version 4 (RFC 9562, section 5.4)."""
    high, low = rng.integers(0, 1 << 64, (2, count), np.uint64)
    high = high & np.uint64(0xFFFFFFFFFFFF0FFF) | np.uint64(0x4000)
    low = low & np.uint64(0x3FFFFFFFFFFFFFFF) | np.uint64(1 << 63)
    return high, low


def to_ascii(high: Halves, low: Halves) -> NDArray[np.uint8]:
    """Return UUIDs as rows of 36 ASCII characters."""
    texts = np.full((len(high), _LENGTH), ord("-"), np.uint8)
    texts[:, _DIGIT_POSITIONS] = hexadecimal(np.stack([high, low], axis=1))
    return texts


def hexadecimal(numbers: Halves) -> NDArray[np.uint8]:
    """Return each row of numbers as one row of ASCII characters, 16 for a number."""
    octets = numbers.astype(">u8").view(np.uint8)
    return _HEX[octets].reshape(len(numbers), -1)


def hash64(high: Halves, low: Halves) -> NDArray[np.int64]:
    """Return the hashes (``msg_key``) by which a send and its verifies are joined."""
    data, blake2b = memoryview(to_ascii(high, low).tobytes()), hashlib.blake2b
    digests = [blake2b(data[at : at + _LENGTH], digest_size=8).digest() for at in range(0, len(data), _LENGTH)]
    return np.frombuffer(b"".join(digests), ">i8").astype(np.int64)
