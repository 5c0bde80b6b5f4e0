"""Test which return codes a sandbox's numbers give."""

from __future__ import annotations

from toolkit.api.return_codes import ReturnCode
from toolkit.service.sandbox.numbers import NumberRule, Numbers, Outcome, magic_return_code


def test_mobiles_with_an_unknown_return_code_are_not_magic() -> None:
    assert magic_return_code("19900050020") is None
    assert magic_return_code("19900100000") is None
    assert magic_return_code("13800050014") is None


def test_an_outcome_counts_its_calls_and_belongs_to_one_app() -> None:
    numbers = Numbers()
    numbers.put(
        1, "13800138000", NumberRule("123456", Outcome(ReturnCode.NO_MONEY, 2), Outcome(ReturnCode.EXPIRED_CODE))
    )
    assert [numbers.take_send(1, "13800138000") for _ in range(3)] == [ReturnCode.NO_MONEY] * 2 + [None]
    assert [numbers.take_verify(1, "13800138000") for _ in range(3)] == [ReturnCode.EXPIRED_CODE] * 3
    assert (numbers.code(1, "13800138000"), numbers.code(2, "13800138000")) == ("123456", "")
    assert (numbers.take_send(2, "13800138000"), numbers.take_verify(2, "13800138000")) == (None, None)
    numbers.lift_all(2)
    assert numbers
    numbers.lift_all(1)
    assert not numbers
