"""Rules are read as they are written."""

from __future__ import annotations

import pytest

from toolkit.api.errors import InputError
from toolkit.api.rate_rules import DEFAULT_RULES, Rule, parse_rules


def test_rules_are_read_as_they_are_written() -> None:
    assert [Rule.parse(str(rule)) for rule in DEFAULT_RULES] == list(DEFAULT_RULES)


@pytest.mark.parametrize(
    "text", ["", "1", "1/", "/60", "0/60s", "1/0s", "-1/60s", "1/60d", "1.5/60s", "1/1.5s", "1/60s/60s", "²/60s"]
)
def test_a_rule_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="rule"):
        Rule.parse(text)


def test_several_rules_are_read_from_one_text_and_the_default_is_the_contracts() -> None:
    assert parse_rules("1/60s, 5/3600 10/1h30m") == (Rule(1, 60), Rule(5, 3600), Rule(10, 5400))
    assert parse_rules("") == DEFAULT_RULES
