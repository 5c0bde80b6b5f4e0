"""Parse the delivery receipts that an SMSC sends as deliver_sm.

Sources: SMPP 3.4, section 4.6.1 (deliver_sm), section 5.3.2 (optional parameters, which take precedence) and
appendix B (the receipt text that most carriers send). Only the needed fields are read, because carriers fill the
others in ways that no standard describes.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from aiosmpplib.state import MESSAGE_PAYLOAD, MESSAGE_STATE, RECEIPTED_MESSAGE_ID

from toolkit.service.core.messages import Delivery, DeliveryState

_DELIVER_SM = (
    re.compile(  # the header; then esm_class and sm_length among fields of one octet and strings that end in NUL
        rb".{16} [^\0]*\0 ..[^\0]*\0 ..[^\0]*\0 (?P<esm_class>.).. [^\0]*\0 [^\0]*\0 .... (?P<sm_length>.)",
        re.DOTALL | re.VERBOSE,
    )
)
_RECEIPT_MASK, _RECEIPT_BITS = 0x3C, 0x04  # of esm_class, section 5.2.12
_FIELD = re.compile(r"\b(id|stat|err):(\S+)", re.IGNORECASE)
_GSM_TO_ASCII = {0x00: "@", 0x02: "$", 0x11: "_"}  # letters of an id that GSM 03.38 encodes as ASCII control characters
_FINAL_STATES = {2: "DELIVRD", 3: "EXPIRED", 4: "DELETED", 5: "UNDELIV", 8: "REJECTD"}  # section 5.2.28


class Receipt(NamedTuple):
    """The final result of the message that the carrier calls ``carrier_id``."""

    carrier_id: str
    delivery: Delivery


def read_receipt(pdu: bytes) -> Receipt | None:
    """Parse a deliver_sm PDU; return None if it is not a receipt, or its state isn't final.

    The carrier code is the receipt's state, followed by the network's error code unless that is zero: ``UNDELIV 069``.
    """
    head = _DELIVER_SM.match(pdu)
    if not head or head["esm_class"][0] & _RECEIPT_MASK != _RECEIPT_BITS:
        return None
    text_end = head.end() + head["sm_length"][0]
    optional = _read_optional(pdu[text_end:])
    text = pdu[head.end() : text_end] or optional.get(MESSAGE_PAYLOAD, b"")
    fields = {name.lower(): value for name, value in _FIELD.findall(text.decode("latin-1").translate(_GSM_TO_ASCII))}
    carrier_id = optional.get(RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1") or fields.get("id", "")
    stat = _FINAL_STATES.get(int.from_bytes(optional.get(MESSAGE_STATE, b""))) or fields.get("stat", "").upper()
    if not carrier_id or stat not in _FINAL_STATES.values():
        return None
    error = fields.get("err", "")
    state = DeliveryState.DELIVERED if stat == "DELIVRD" else DeliveryState.FAILED
    return Receipt(carrier_id, Delivery(state, f"{stat} {error}" if error.strip("0") else stat, carrier_id))


def _read_optional(octets: bytes) -> dict[int, bytes]:
    """Return the values of a PDU's optional parameters by tag."""
    values = {}
    while len(octets) >= 4:
        tag, length = struct.unpack_from("!HH", octets)
        values[tag], octets = octets[4 : 4 + length], octets[4 + length :]
    return values
