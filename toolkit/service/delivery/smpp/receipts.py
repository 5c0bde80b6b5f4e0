"""What an SMSC's delivery receipt says: of which message, and what became of it.

Sources: SMPP 3.4, section 4.6.1 (deliver_sm), section 5.3.2 (optional parameters, which go first) and appendix B (the
text that most send). Only what is needed is read: carriers fill the other fields with what no list foresees.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from aiosmpplib.state import MESSAGE_PAYLOAD, MESSAGE_STATE, RECEIPTED_MESSAGE_ID

from toolkit.service.core.messages import Delivery, State

_DELIVER_SM = (
    re.compile(  # the header; then esm_class and sm_length among fields of one octet and strings that end in NUL
        rb".{16} [^\0]*\0 ..[^\0]*\0 ..[^\0]*\0 (?P<esm_class>.).. [^\0]*\0 [^\0]*\0 .... (?P<sm_length>.)",
        re.DOTALL | re.VERBOSE,
    )
)
_IS_RECEIPT = (0x3C, 0x04)  # section 5.2.12: these bits of esm_class, and what they are
_FIELD = re.compile(r"\b(id|stat|err):(\S+)", re.IGNORECASE)
_IN_GSM = {0x00: "@", 0x02: "$", 0x11: "_"}  # an id's letters that GSM 03.38 puts where ASCII has none
_WORDS = {2: "DELIVRD", 3: "EXPIRED", 4: "DELETED", 5: "UNDELIV", 8: "REJECTD"}  # section 5.2.28; others aren't final
_FINAL = frozenset(_WORDS.values())


class Receipt(NamedTuple):
    """What became of the message that the carrier knows by ``carrier_id``."""

    carrier_id: str
    delivery: Delivery


def read_receipt(octets: bytes) -> Receipt | None:
    """Read a deliver_sm; None for what is no receipt, or tells of nothing final."""
    head = _DELIVER_SM.match(octets)
    if not head or head["esm_class"][0] & _IS_RECEIPT[0] != _IS_RECEIPT[1]:
        return None
    end = head.end() + head["sm_length"][0]
    given = _read_optional(octets[end:])
    text = octets[head.end() : end] or given.get(MESSAGE_PAYLOAD, b"")
    said = {name.lower(): value for name, value in _FIELD.findall(text.decode("latin-1").translate(_IN_GSM))}
    carrier_id = given.get(RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1") or said.get("id", "")
    word = _WORDS.get(int.from_bytes(given.get(MESSAGE_STATE, b""))) or said.get("stat", "").upper()
    return _receipt(carrier_id, word, said.get("err", "")) if carrier_id and word in _FINAL else None


def _receipt(carrier_id: str, word: str, error: str) -> Receipt:
    """Say it with the carrier's word, and the network's error where there is one."""
    state = State.DELIVERED if word == "DELIVRD" else State.FAILED
    return Receipt(carrier_id, Delivery(state, f"{word} {error}" if error.strip("0") else word, carrier_id))


def _read_optional(octets: bytes) -> dict[int, bytes]:
    """Return the optional parameters' values by tag."""
    values = {}
    while len(octets) >= 4:
        tag, length = struct.unpack_from("!HH", octets)
        values[tag], octets = octets[4 : 4 + length], octets[4 + length :]
    return values
