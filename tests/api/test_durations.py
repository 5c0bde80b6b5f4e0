"""The grammar of durations."""

from __future__ import annotations

import re

import pytest

from toolkit.api import durations
from toolkit.api.durations import parse_duration
from toolkit.api.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("2m", 120),
        ("1h", 3600),
        ("500ms", 0.5),
        ("1500ms", 1.5),
        ("1.5s", 1.5),
        ("1h30m", 5400),
        ("1h2m3s4ms", 3723.004),
        (" 20ms ", 0.02),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "10", "s", "-1s", "0s", "1d", "1e9s", "1 s", "30m1h", "1h1h", "1s1", "1.s", ".5s", "٣s", "9" * 5000 + "s"],
)
def test_text_that_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"invalid duration .*: expected .*, e\.g\. 500ms, 10s, 2m or 1h30m") as caught:
        parse_duration(text)
    assert len(str(caught.value)) < 150


def test_a_duration_of_zero_is_read_where_it_is_allowed() -> None:
    assert parse_duration("0s", allow_zero=True) == 0


def test_the_pattern_finds_a_duration_in_a_text() -> None:
    assert re.findall(durations.PATTERN, "after 30s, 1h30m or 5ms, not 30sec or 7") == ["30s", "1h30m", "5ms"]
