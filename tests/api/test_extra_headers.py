from __future__ import annotations

import pytest

from toolkit.api.errors import InputError
from toolkit.api.extra_headers import add_headers, parse_header


def test_blanks_around_name_and_value_are_dropped() -> None:
    assert parse_header(" X-Trace :  a, b ") == ("X-Trace", "a, b")


@pytest.mark.parametrize(
    "text", ["", "X-Trace", "X-Trace:", ": a", "X Trace: a", "X-Trace: a\r\nHost: b", "X-Ä: a", "X: ä"]
)
def test_a_text_that_is_no_header_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected NAME: VALUE"):
        parse_header(text)


def test_a_refusal_does_not_show_the_value() -> None:
    with pytest.raises(InputError) as refusal:
        parse_header("X-Key: hunter2\x00")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["Authorization", "host", "CONTENT-LENGTH", "Content-Type", "Transfer-Encoding", "Expect"]
)
def test_a_header_of_the_api_can_not_be_replaced(name: str) -> None:
    with pytest.raises(InputError, match="can't be replaced"):
        parse_header(f"{name}: a")


def test_a_further_header_replaces_one_of_the_same_name() -> None:
    assert add_headers({"User-Agent": "a", "Accept": "b"}, {"user-agent": "c"}) == {"Accept": "b", "user-agent": "c"}
