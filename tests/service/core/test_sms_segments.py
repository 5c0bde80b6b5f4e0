"""A text is charged by UTF-16 code units, as carriers count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.service.core.accounts import Template
from toolkit.service.core.sms_segments import count_segments
from toolkit.service.delivery.smpp.segmentation import UCS_2, split


@pytest.mark.parametrize(
    ("length", "segments"), [(1, 1), (70, 1), (71, 2), (134, 2), (135, 3), (201, 3), (202, 4), (350, 6)]
)
def test_a_text_is_charged_in_70_or_67_characters(length: int, segments: int) -> None:
    assert count_segments("字" * length) == segments


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("{code}" + "😀" * 32, 1),
        ("{code}" + "😀" * 33, 2),
        ("{code}" + "😀" * 64, 3),  # 134 units, but no part can hold 67 of them without splitting a letter
    ],
)
def test_a_letter_outside_the_basic_plane_is_two_units_and_never_split(text: str, segments: int) -> None:
    assert count_segments(text.replace("{code}", "123456")) == segments
    if "{code}" in text:
        assert Template(1, 1, text).segments == segments


@given(st.text("字😀é", min_size=1, max_size=300))
def test_a_text_is_charged_as_it_is_split(text: str) -> None:
    parts = split(text + "字", reference=7)  # with a letter that GSM 7-bit does not have
    assert {part.alphabet for part in parts} == {UCS_2}
    assert count_segments(text + "字") == len(parts)
