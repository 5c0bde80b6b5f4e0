"""Split texts into the parts of a concatenated SMS."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.errors import InputError
from toolkit.service.delivery.smpp.segmentation import GSM_7BIT, UCS_2, Part, split

GSM = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = {
    "\f": 0x0A,
    "^": 0x14,
    "{": 0x28,
    "}": 0x29,
    "\\": 0x2F,
    "[": 0x3C,
    "~": 0x3D,
    "]": 0x3E,
    "|": 0x40,
    "€": 0x65,
}


def join(parts: list[Part]) -> bytes:
    return b"".join(part.octets[6:] if part.has_header else part.octets for part in parts)


def test_every_letter_of_the_gsm_alphabet_is_encoded_by_its_position() -> None:
    places = [place for place in range(128) if place != 0x1B]
    assert len(GSM) == 127
    assert join(split(GSM, 0)) == bytes(places)


@pytest.mark.parametrize(("letter", "place"), EXTENSION.items())
def test_a_letter_of_the_extension_table_is_escaped(letter: str, place: int) -> None:
    assert split(letter, 0) == [Part(GSM_7BIT, bytes([0x1B, place]))]


@pytest.mark.parametrize("letter", ["【", "ç", "Ё", "`", "😀"])
def test_any_other_letter_switches_the_text_to_ucs_2(letter: str) -> None:
    assert split("a" + letter, 0) == [Part(UCS_2, ("a" + letter).encode("utf-16-be"))]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("a" + "€" * 80, 2),
        ("信" * 70, 1),
        ("信" * 71, 2),
        ("信" * 134, 2),
        ("信" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
    ],
)
def test_a_text_is_split_into_the_fewest_parts(text: str, parts: int) -> None:
    assert len(split(text, 0)) == parts


@given(st.text(st.sampled_from(GSM + "".join(EXTENSION)), max_size=900), st.integers(0, 255))
def test_gsm_parts_fit_and_split_no_letter(text: str, reference: int) -> None:
    hold(split(text, reference), reference)
    assert b"".join(join(split(letter, 0)) for letter in text) == join(split(text, reference))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400), st.integers(0, 255))
def test_ucs_2_parts_fit_and_split_no_letter(text: str, reference: int) -> None:
    parts = split("信" + text, reference)
    hold(parts, reference)
    decoded = [part.octets[6 if part.has_header else 0 :].decode("utf-16-be") for part in parts]
    assert "".join(decoded) == "信" + text


def hold(parts: list[Part], reference: int) -> None:
    """Check that each part fits a message, says its place, and ends with a whole letter."""
    for place, part in enumerate(parts, 1):
        assert len(part.octets) <= part.alphabet.max_single
        assert part.has_header == (len(parts) > 1)
        assert not part.octets.endswith(b"\x1b") or part.alphabet is UCS_2
        if part.has_header:
            assert part.octets[:6] == bytes([5, 0, 3, reference, len(parts), place])


def test_a_text_of_too_many_parts_is_refused() -> None:
    assert len(split("信" * 67 * 255, 0)) == 255
    with pytest.raises(InputError, match="at most 255"):
        split("信" * (67 * 255 + 1), 0)
