"""Parse the delivery receipts that an SMSC sends as deliver_sm.

Sources: SMPP 3.4, section 4.6.1 (deliver_sm), section 5.3.2 (optional parameters, which take precedence) and
appendix B (the receipt text that most carriers send). Only the needed fields are read, because carriers fill the
others in ways that no standard describes. The field ``text:`` is the last one that is read, because it holds the first
letters of the message.

The response to a submit and the receipt may write an id differently: padded with zeros, ended by NUL, or one in
hexadecimal and the other in decimal digits. ``normalize_id`` removes the padding. An id in the other notation could be
another message's, so the mobile must agree too.
"""

from __future__ import annotations

import logging
import re
import struct

from aiosmpplib.state import MESSAGE_PAYLOAD, MESSAGE_STATE, RECEIPTED_MESSAGE_ID

from toolkit.service.core.messages import Delivery, DeliveryState
from toolkit.service.delivery.base import Receipt
from toolkit.service.metrics.call_log import LOG_FIELDS

log = logging.getLogger(__name__)

_DELIVER_SM = (
    re.compile(  # the header; then esm_class and sm_length among fields of one octet and strings that end in NUL
        rb".{16} [^\0]*\0 ..(?P<source>[^\0]*)\0 ..[^\0]*\0 (?P<esm_class>.).. [^\0]*\0 [^\0]*\0 .... (?P<sm_length>.)",
        re.DOTALL | re.VERBOSE,
    )
)
_RECEIPT_MASK, _RECEIPT_BITS = 0x3C, 0x04  # of esm_class, section 5.2.12
_FIELD = re.compile(r"\b(id|stat|err):(\S+)", re.IGNORECASE)
_TEXT_FIELD = re.compile(r"(?<![a-z])text:", re.IGNORECASE)
_NUL_AFTER_FIELD = re.compile(rb"\0+(?=[ \r\n]|$)")  # in GSM 03.38 NUL is "@", so one inside a field stays
_GSM_TO_ASCII = {0x00: "@", 0x02: "$", 0x11: "_"}  # letters of an id that GSM 03.38 encodes as ASCII control characters
_UNREADABLE = re.compile(r"[^!-~]")
_MOBILE = re.compile(rb"\+?(?:86)?(1[3-9][0-9]{9})")
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{1,32}")
_MAX_CODE_CHARS = 20

_DELIVERED = frozenset({"DELIVRD", "DELIVERED"})
_FAILED = frozenset(
    {"EXPIRED", "DELETED", "UNDELIV", "UNDELIVERABLE", "UNDELIVERED", "REJECTD", "REJECTED", "FAILED", "SKIPPED"}
)
_ON_THE_WAY = frozenset({"SCHEDULED", "ENROUTE", "ACCEPTD", "ACCEPTED", "BUFFRED", "BUFFERED"})
_STATES = {  # section 5.2.28; SMPP 5.0 adds 0 and 9
    0: "SCHEDULED",
    1: "ENROUTE",
    2: "DELIVRD",
    3: "EXPIRED",
    4: "DELETED",
    5: "UNDELIV",
    6: "ACCEPTD",
    7: "UNKNOWN",
    8: "REJECTD",
    9: "SKIPPED",
}


def read_receipt(pdu: bytes) -> Receipt | None:
    """Parse a deliver_sm PDU; return None if it is not a receipt, or its state isn't final.

    A state that is neither final nor known to precede a final one is logged with the message's id. The carrier code is
    the receipt's state, followed by the network's error code unless that is zero: ``UNDELIV 069``.
    """
    head = _DELIVER_SM.match(pdu)
    if not head or head["esm_class"][0] & _RECEIPT_MASK != _RECEIPT_BITS:
        return None
    text_end = head.end() + head["sm_length"][0]
    optional = _read_optional(pdu[text_end:])
    fields = _read_fields(pdu[head.end() : text_end] or optional.get(MESSAGE_PAYLOAD, b""))
    written_id = optional.get(RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1") or fields.get("id", "")
    carrier_id, stat = normalize_id(written_id), _read_state(optional, fields)
    if not carrier_id or not stat or stat in _ON_THE_WAY:
        return None
    if stat not in _DELIVERED | _FAILED:
        known = {"carrier_id": carrier_id, "state": stat}
        log.warning("smpp: a receipt has an unknown state, so it is ignored", extra={LOG_FIELDS: known})
        return None
    error = _readable(fields.get("err", ""))
    state = DeliveryState.DELIVERED if stat in _DELIVERED else DeliveryState.FAILED
    mobile = _MOBILE.fullmatch(head["source"])
    return Receipt(
        carrier_id,
        Delivery(state, f"{stat} {error}" if error.strip("0") else stat, carrier_id),
        int(mobile[1]) if mobile else None,
        _other_notations(carrier_id),
    )


def normalize_id(carrier_id: str) -> str:
    """Return a carrier's id without padding; hexadecimal digits are written in upper case.

    >>> normalize_id("0000a1f3"), normalize_id("m-01"), normalize_id("000")
    ('A1F3', 'm-01', '0')
    """
    bare = carrier_id.strip("\0 ")
    return bare.upper().lstrip("0") or "0" if _HEXADECIMAL.fullmatch(bare) else bare


def _other_notations(carrier_id: str) -> tuple[str, ...]:
    """Return an id of decimal digits in hexadecimal ones, and the other way round."""
    if not _HEXADECIMAL.fullmatch(carrier_id):
        return ()
    others = [f"{int(carrier_id):X}"] if carrier_id.isdecimal() else []
    return tuple(other for other in (*others, str(int(carrier_id, 16))) if other != carrier_id)


def _read_fields(octets: bytes) -> dict[str, str]:
    """Return the fields of a receipt's text before ``text:``, by name in lower case. The first of a name counts."""
    text = _NUL_AFTER_FIELD.sub(b"", octets).decode("latin-1").translate(_GSM_TO_ASCII)
    before_text = _TEXT_FIELD.split(text, maxsplit=1)[0]
    return {name.lower(): value for name, value in reversed(_FIELD.findall(before_text))}


def _read_state(optional: dict[int, bytes], fields: dict[str, str]) -> str:
    """Return a receipt's state. The optional parameter counts before the text, unless only the text is final."""
    written = _readable(fields.get("stat", "")).upper()
    if MESSAGE_STATE not in optional:
        return written
    number = int.from_bytes(optional[MESSAGE_STATE])
    stat = _STATES.get(number, str(number))
    return stat if stat in _DELIVERED | _FAILED or not written else written


def _readable(value: str) -> str:
    return _UNREADABLE.sub("?", value)[:_MAX_CODE_CHARS]


def _read_optional(octets: bytes) -> dict[int, bytes]:
    """Return the values of a PDU's optional parameters by tag."""
    values = {}
    while len(octets) >= 4:
        tag, length = struct.unpack_from("!HH", octets)
        values[tag], octets = octets[4 : 4 + length], octets[4 + length :]
    return values
