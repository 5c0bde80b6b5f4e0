"""Parse receipts as carriers write them, and PDUs that are none."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.service.core.messages import Delivery, DeliveryState
from toolkit.service.delivery.smpp.receipts import Receipt, read_receipt

DELIVERED = Receipt("m1", Delivery(DeliveryState.DELIVERED, "DELIVRD", "m1"))
TEXT = b"id:m1 sub:001 dlvrd:001 submit date:2311142213 done date:231114221500 stat:DELIVRD err:000 text:"


def deliver_sm(text: bytes, optional: bytes = b"", esm_class: int = 0x04, coding: int = 0) -> bytes:
    head = struct.pack("!IIII", 0, 5, 0, 1) + b"CMT\0\x01\x0113800138000\0\x05\x00Sign\0"
    fields = bytes([esm_class, 0, 0]) + b"\0\0" + bytes([0, 0, coding, 0, len(text)])
    return head + fields + text + optional


def parameter(tag: int, value: bytes) -> bytes:
    return struct.pack("!HH", tag, len(value)) + value


@pytest.mark.parametrize(
    "octets",
    [
        deliver_sm(TEXT),
        deliver_sm(TEXT.upper().replace(b"M1", b"m1")),
        deliver_sm(TEXT, coding=0xF4),
        deliver_sm(TEXT, esm_class=0x44),
        deliver_sm(TEXT, parameter(0x0423, b"\x03\xff\xff")),
        deliver_sm(TEXT, b"\x04"),
        deliver_sm(b"", parameter(0x0424, TEXT)),
        deliver_sm(b"", parameter(0x001E, b"m1\0") + parameter(0x0427, b"\x02")),
        deliver_sm(TEXT.replace(b"m1", b"other"), parameter(0x001E, b"m1\0")),
        deliver_sm(b"id:m1 stat:DELIVRD"),
    ],
)
def test_a_receipt_is_parsed_in_every_known_form(octets: bytes) -> None:
    assert read_receipt(octets) == DELIVERED


@pytest.mark.parametrize(("written", "carrier_id"), [(b"a_b@c$", "a_b@c$"), (b"a\x11b\0c\x02", "a_b@c$")])
def test_an_id_is_the_same_in_ascii_and_gsm(written: bytes, carrier_id: str) -> None:
    receipt = read_receipt(deliver_sm(b"id:%b stat:DELIVRD" % written))
    assert receipt
    assert receipt.carrier_id == carrier_id


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        deliver_sm(TEXT)[:40],
        deliver_sm(TEXT, esm_class=0),
        deliver_sm(TEXT, esm_class=0x20),
        deliver_sm(TEXT.replace(b"DELIVRD", b"ENROUTE")),
        deliver_sm(b"stat:DELIVRD"),
        deliver_sm(b"id:m1"),
        deliver_sm(b"", parameter(0x001E, b"m1\0") + parameter(0x0427, b"\x01")),
    ],
)
def test_a_pdu_without_a_final_state_is_no_receipt(octets: bytes) -> None:
    assert read_receipt(octets) is None


@given(st.binary(max_size=300), st.integers(0, 100))
def test_arbitrary_octets_raise_nothing(octets: bytes, cut: int) -> None:
    read_receipt(octets)
    read_receipt(deliver_sm(TEXT, octets)[: len(TEXT) + cut])
