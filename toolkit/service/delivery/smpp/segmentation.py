"""A text as the parts that a phone puts together again: GSM 7-bit where its letters allow it, else UCS-2.

Sources: 3GPP TS 23.038 (alphabets), 3GPP TS 23.040 section 9.2.3.24.1 (concatenation). What a send is charged is the
template's matter and stays as it is (70 and 67 characters), whatever the alphabet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aiosmpplib.codec import GSM7BitCodec

from toolkit.api.errors import InputError

MAX_PARTS = 255


@dataclass(frozen=True, slots=True)
class Alphabet:
    """How letters become octets. Of these ``whole`` fit in a single message and ``part`` beside a part's header."""

    codec: str  # as aiosmpplib names it
    whole: int
    part: int


GSM_7BIT = Alphabet(
    "gsm0338", 160, 153
)  # a letter of the extension table takes two; SMPP carries each in its own octet
UCS_2 = Alphabet("ucs2", 140, 134)


@dataclass(frozen=True, slots=True)
class Part:
    """What one message carries. ``has_header``: its octets begin with the header that tells its place."""

    alphabet: Alphabet
    octets: bytes = field(repr=False)
    has_header: bool = False


def split(text: str, reference: int) -> list[Part]:
    """Cut a text into parts, never inside a letter. ``reference``, 0 to 255, tells a phone which belong together.

    Raise InputError for a text of more than 255 parts.
    """
    alphabet, letters = _encode(text)
    octets = b"".join(letters)
    if len(octets) <= alphabet.whole:
        return [Part(alphabet, octets)]
    pieces = list(_fill(letters, alphabet.part))
    if len(pieces) > MAX_PARTS:
        raise InputError(f"a text of {len(pieces)} parts: a phone puts at most {MAX_PARTS} together")
    headers = (bytes([5, 0, 3, reference, len(pieces), place]) for place in range(1, len(pieces) + 1))
    return [Part(alphabet, header + piece, has_header=True) for header, piece in zip(headers, pieces, strict=True)]


def _encode(text: str) -> tuple[Alphabet, list[bytes]]:
    """Return each letter's octets."""
    if GSM7BitCodec.is_gsm_text(text):
        codec = GSM7BitCodec()
        return GSM_7BIT, [codec.encode(letter)[0] for letter in text]
    return UCS_2, [letter.encode("utf-16-be", "replace") for letter in text]


def _fill(letters: Sequence[bytes], room: int) -> Iterator[bytes]:
    piece = b""
    for letter in letters:
        if len(piece) + len(letter) > room:
            yield piece
            piece = b""
        piece += letter
    yield piece
