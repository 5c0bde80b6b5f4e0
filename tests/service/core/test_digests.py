"""A msg_id can be made and read with the key alone; a masked code can be read back."""

from __future__ import annotations

import itertools
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from toolkit.service.core.digests import Digests, draw_msg_ids


def epoch_of(seq: int) -> str:
    return "epoch" if seq else "first"


@given(st.integers(1, 10**6), st.integers(0, 2**40))
def test_a_msg_id_is_a_uuid_that_only_its_app_and_key_can_read(app_id: int, seq: int) -> None:
    digests = Digests(b"key")
    msg_id, pad = digests.make_msg_id(app_id, seq, epoch_of(seq))
    assert (UUID(msg_id).version, str(UUID(msg_id))) == (4, msg_id)
    assert digests.parse_msg_id(app_id, msg_id, epoch_of) == (seq, pad)
    assert digests.parse_msg_id(app_id + 1, msg_id, epoch_of) is None
    assert digests.parse_msg_id(app_id, msg_id.upper(), epoch_of) in (
        None,
        (seq, pad) if msg_id.upper() == msg_id else None,
    )
    assert digests.parse_msg_id(app_id, msg_id, lambda _: "restored") is None
    assert Digests(b"other").parse_msg_id(app_id, msg_id, epoch_of) is None


@given(st.text())
def test_any_other_text_is_not_a_msg_id(text: str) -> None:
    assert Digests(b"key").parse_msg_id(1, text, epoch_of) is None


@given(st.integers(0, 999_999))
def test_a_masked_code_can_be_unmasked(number: int) -> None:
    code, digests = f"{number:06d}", Digests(b"key")
    masked = digests.mask_code("m", code)
    assert digests.unmask_code("m", masked) == code
    assert digests.mask_typed("m", code) == masked
    assert digests.mask_typed("m", f"{(number + 1) % 1_000_000:06d}") != masked


@given(st.integers(0, 999_999), st.text())
def test_a_text_that_is_no_code_equals_no_masked_code(number: int, text: str) -> None:
    masked, code = Digests(b"key").mask_code("m", f"{number:06d}"), f"{number:06d}"
    for typed in (text, f"0{code}", code[:5], f" {code[1:]}", "１２３４５６", f"+{code[1:]}"):
        assert Digests(b"key").mask_typed("m", typed) != masked or typed == code


def test_drawn_msg_ids_are_different_uuids_of_version_4() -> None:
    drawn = list(itertools.islice(draw_msg_ids(), 200))
    assert len(set(drawn)) == 200
    assert {(UUID(it).version, UUID(it).variant) for it in drawn} == {(4, RFC_4122)}
    assert [str(UUID(it)) for it in drawn] == drawn
