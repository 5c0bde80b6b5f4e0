"""Split a text into the segments of a concatenated SMS, which is also how a send is charged.

Carriers count UTF-16 code units: 70 fit in one SMS. A longer text is cut into parts of 67, because each
part has a header that joins them. A letter outside the Basic Multilingual Plane takes two units and is never split.
Sources: 3GPP TS 23.038 (alphabets), 3GPP TS 23.040 section 9.2.3.24.1 (concatenation).
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_SINGLE_OCTETS, MAX_PART_OCTETS = 140, 134  # of UTF-16: two octets a code unit


def count_segments(text: str) -> int:
    """Return the number of messages that a text is charged as. The text includes the signature.

    >>> [count_segments("x" * length) for length in (70, 71, 134, 135)]
    [1, 2, 2, 3]
    """
    letters = [letter.encode("utf-16-be") for letter in text]
    return len(join_letters(letters, MAX_SINGLE_OCTETS, MAX_PART_OCTETS))


def join_letters(letters: Sequence[bytes], max_single: int, max_part: int) -> list[bytes]:
    """Join encoded letters into as few segments as possible, without splitting a letter.

    Args:
        letters: the octets of each letter.
        max_single: octets that fit in a text of one segment.
        max_part: octets that fit in each segment of a longer text.
    """
    if sum(map(len, letters)) <= max_single:
        return [b"".join(letters)]
    parts = [b""]
    for letter in letters:
        if len(parts[-1]) + len(letter) > max_part:
            parts.append(b"")
        parts[-1] += letter
    return parts
