"""Split a text into the parts of a concatenated SMS: GSM 7-bit if its letters allow that, else UCS-2.

Sources: see ``toolkit.service.core.sms_segments``. The API charges every text as UCS-2, in any alphabet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aiosmpplib.codec import GSM7BitCodec

from toolkit.api.errors import InputError
from toolkit.service.core.sms_segments import MAX_PART_OCTETS, MAX_SINGLE_OCTETS, join_letters

MAX_PARTS = 255


@dataclass(frozen=True, slots=True)
class Alphabet:
    """An encoding of letters, and its limits in octets.

    ``codec`` is aiosmpplib's name. ``max_single`` octets fit in a message of one part. ``max_part`` octets fit in
    each part of a longer message, after its header.
    """

    codec: str
    max_single: int
    max_part: int


# SMPP carries each GSM letter in one octet. A letter of the extension table takes two.
GSM_7BIT = Alphabet("gsm0338", 160, 153)
UCS_2 = Alphabet("ucs2", MAX_SINGLE_OCTETS, MAX_PART_OCTETS)


@dataclass(frozen=True, slots=True)
class Part:
    """The payload of one SMS. If ``has_header`` is set, ``octets`` begin with the concatenation header."""

    alphabet: Alphabet
    octets: bytes = field(repr=False)
    has_header: bool = False


def split(text: str, reference: int) -> list[Part]:
    """Split a text into parts, never inside a letter.

    ``reference`` (0 to 255) is equal in all parts of a text; phones use it to put them together. Raise InputError if
    the text has more than 255 parts.

    >>> [len(part.octets) for part in split("x" * 161, reference=7)]
    [159, 14]
    """
    if GSM7BitCodec.is_gsm_text(text):
        alphabet, codec = GSM_7BIT, GSM7BitCodec()
        letters = [codec.encode(letter)[0] for letter in text]
    else:
        alphabet, letters = UCS_2, [letter.encode("utf-16-be", "replace") for letter in text]
    payloads = join_letters(letters, alphabet.max_single, alphabet.max_part)
    if len(payloads) == 1:
        return [Part(alphabet, payloads[0])]
    if len(payloads) > MAX_PARTS:
        raise InputError(f"the text has {len(payloads)} parts: phones put together at most {MAX_PARTS}")
    headers = (bytes([5, 0, 3, reference, len(payloads), number]) for number in range(1, len(payloads) + 1))
    return [
        Part(alphabet, header + payload, has_header=True) for header, payload in zip(headers, payloads, strict=True)
    ]
