"""Parse receipts as carriers write them, and PDUs that are none."""

from __future__ import annotations

import logging
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.service.core.messages import Delivery, DeliveryState
from toolkit.service.delivery.base import Receipt
from toolkit.service.delivery.smpp.receipts import normalize_id, read_receipt
from toolkit.service.metrics.call_log import LOG_FIELDS

DELIVERED = Receipt("m1", Delivery(DeliveryState.DELIVERED, "DELIVRD", "m1"), 13800138000)
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


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"id:m1 stat:UNDELIV err:069 text:id:B2 stat:DELIVRD", "UNDELIV 069"),
        (b"id:m1 stat:UNDELIV err:069 Text:stat:DELIVRD err:000", "UNDELIV 069"),
        (b"id:m1 stat:UNDELIV err:069text:id:B2 stat:DELIVRD", "UNDELIV 069"),
        (b"id:m1 id:B2 stat:UNDELIV stat:DELIVRD err:069", "UNDELIV 069"),
    ],
)
def test_the_text_of_the_message_does_not_change_its_receipt(text: bytes, code: str) -> None:
    receipt = read_receipt(deliver_sm(text))
    assert receipt
    assert (receipt.carrier_id, receipt.delivery) == ("m1", Delivery(DeliveryState.FAILED, code, "m1"))


@pytest.mark.parametrize(
    ("stat", "state"),
    [
        ("DELIVERED", DeliveryState.DELIVERED),
        ("FAILED", DeliveryState.FAILED),
        ("REJECTED", DeliveryState.FAILED),
        ("UNDELIVERABLE", DeliveryState.FAILED),
        ("Undelivered", DeliveryState.FAILED),
    ],
)
def test_a_long_state_name_is_final(stat: str, state: DeliveryState) -> None:
    receipt = read_receipt(deliver_sm(b"id:m1 stat:%b err:000 text:" % stat.encode()))
    assert receipt
    assert receipt.delivery == Delivery(state, stat.upper(), "m1")


@pytest.mark.parametrize(
    ("octets", "state"),
    [
        (deliver_sm(b"id:m1 stat:UNKNOWN err:000 text:"), "UNKNOWN"),
        (deliver_sm(b"id:m1 stat:PARKED err:000 text:"), "PARKED"),
        (deliver_sm(b"", parameter(0x001E, b"m1\0") + parameter(0x0427, b"\x0b")), "11"),
    ],
)
def test_an_unknown_state_is_logged_with_its_id(octets: bytes, state: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert read_receipt(octets) is None
    [record] = caplog.records
    assert record.__dict__[LOG_FIELDS] == {"carrier_id": "m1", "state": state}


@pytest.mark.parametrize(
    ("submitted", "received"),
    [
        ("1A2B", b"id:1A2B "),
        ("1A2B", b"id:1a2b "),
        ("0000001A2B", b"id:1A2B "),
        ("1234", b"id:0000001234 "),
        ("1234", b"id:1234\0 "),
        ("ab-12", b"id:ab-12\0\0 "),
        ("0", b"id:0000 "),
    ],
)
def test_a_padded_or_nul_ended_id_is_the_same_id(submitted: str, received: bytes) -> None:
    receipt = read_receipt(deliver_sm(received + b"stat:DELIVRD"))
    assert receipt
    assert receipt.carrier_id == normalize_id(submitted)


@pytest.mark.parametrize(("submitted", "received"), [("1A2B", b"6699"), ("00001a2b", b"0000006699"), ("6699", b"1A2B")])
def test_a_receipt_names_its_id_in_decimal_and_hexadecimal_digits(submitted: str, received: bytes) -> None:
    receipt = read_receipt(deliver_sm(b"id:%b stat:DELIVRD" % received))
    assert receipt
    assert normalize_id(submitted) in receipt.other_ids


@pytest.mark.parametrize(("err", "shown"), [(b"0A1", "0A1"), (b"069\0", "069"), (b"\xe9\x80\x1b", "???")])
def test_an_error_code_stays_readable(err: bytes, shown: str) -> None:
    receipt = read_receipt(deliver_sm(b"id:m1 stat:UNDELIV err:%b text:" % err))
    assert receipt
    assert receipt.delivery.carrier_code == f"UNDELIV {shown}"


@given(st.binary(max_size=300), st.integers(0, 100))
def test_arbitrary_octets_raise_nothing(octets: bytes, cut: int) -> None:
    read_receipt(octets)
    read_receipt(deliver_sm(TEXT, octets)[: len(TEXT) + cut])
