"""Build and parse the API's requests and responses, without I/O, for both sides.

The client and the load test build requests and parse responses. The service parses requests and builds responses. Both
sides share this module, so they can't disagree about the format. It opens no socket, reads no clock and has no state.
Source: SMS Code API v1, and this project's contract where that document is silent.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote, unquote_to_bytes

try:
    import msgspec
except ImportError:  # pragma: no cover - the extras service and load bring it
    msgspec = None  # type: ignore[assignment]

from toolkit.api.basic_auth import Credentials, decode_authorization
from toolkit.api.errors import InputError, ProtocolError
from toolkit.api.return_codes import Kind, ReturnCode, find, find_published, kind_of

AccountT = TypeVar("AccountT")

CODES_PATH = "/v1/codes"
SANDBOX_STATE_PATH = "/sandbox/state"
MAX_BODY_BYTES = 16 * 1024
MAX_DECOMPRESSED_BYTES = 1 << 20
_ANY_ZLIB_HEADER = 47  # wbits of zlib: the longest window, gzip or zlib by the header
MAX_MSG_ID_CHARS = 1000
MAX_WHOLE_DIGITS = 18  # of a return code or a temp_id
MIN_EPOCH_S = 10**9  # a Retry-After of 31 years is a time since 1970
_WHOLE_END = 10**MAX_WHOLE_DIGITS
JSON_TYPE = "application/json"
_JSON_TYPE = JSON_TYPE.encode()
REQUEST_ID = "x-request-id"

# Three of the vendor's own examples send another type: none (Python), text/plain (C#), curl's form type (the document).
LENIENT_TYPES = frozenset({"", JSON_TYPE, "text/plain", "application/x-www-form-urlencoded"})
STRICT_TYPES = frozenset({JSON_TYPE})

# json.dumps and json.loads with arguments make a new encoder or decoder in each call.
_encode = json.JSONEncoder(separators=(",", ":")).encode

_CODES_PATH = CODES_PATH.encode()
_MESSAGE_PATH = re.compile(rb"/sandbox/messages/([^/]+)")
_NUMBER_PATH = re.compile(rb"/sandbox/numbers/([^/]+)")
_VERIFY_PATH = re.compile(rb"/v1/codes/([^/]+)/valid")
PLAIN_ID = re.compile(f"[0-9A-Za-z-]{{1,{MAX_MSG_ID_CHARS}}}")  # needs no quoting in a path
_PLAIN_SENT = re.compile(rb'\{"msg_id": ?"([0-9A-Za-z-]+)"\}')  # the usual form, parsed much faster than JSON
# The usual body of a send, as clients of every language write it.
_PLAIN_SEND = re.compile(rb'\{"mobile": ?"(1[3-9][0-9]{9})", ?"temp_id": ?(0|[1-9][0-9]{0,17})\}')
_MOBILE = re.compile(r"(?:\+?86)?(1[3-9][0-9]{9})")
_SANE_ID = re.compile("[!-~]{1,128}")
_WHOLE = re.compile(rf"[0-9]{{1,{MAX_WHOLE_DIGITS}}}")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})"
_BASE_URL = re.compile(
    rf"https?://(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?(?:/[!-\"$->@-~]*)?",
    re.IGNORECASE,
)


class Endpoint(StrEnum):
    """The API's two calls."""

    SEND = "send"
    VERIFY = "verify"


# The client's half: build requests, parse responses.


@dataclass(frozen=True, slots=True)
class Request:
    """A request for any transport. ``path`` is quoted; the transport adds Host and Content-Length to ``headers``."""

    endpoint: Endpoint
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(slots=True)  # not frozen: that would take three times as long to create, which a load test notices
class ApiResponse:
    """A parsed response of the API, a success or a refusal.

    Attributes:
        http_status: HTTP status.
        return_code: a ``ReturnCode``, or a number that isn't in the table.
        message: the API's text.
        msg_id: id of an accepted send.
        is_valid: verdict on a code; None for a send, or if the code was not judged.
        retry_after_s: whole seconds until the rate limit allows another send; None if the response doesn't say.
        request_id: X-Request-Id of a refusal; the service logs the same id.

    """

    http_status: int
    return_code: int
    message: str
    msg_id: str | None = None
    is_valid: bool | None = None
    retry_after_s: int | None = None
    request_id: str | None = None

    @property
    def kind(self) -> Kind | None:
        """The kind of the response, or None if it is unknown; see ``return_codes.kind_of``."""
        return kind_of(self.return_code, self.http_status, self.is_valid)


def parse_base_url(text: str) -> str:
    """Return a base URL without a trailing slash; raise InputError if it isn't one.

    The error doesn't repeat the text, because it may contain a password.

    >>> parse_base_url("https://api.sms.jpush.cn/")
    'https://api.sms.jpush.cn'
    """
    match = _BASE_URL.fullmatch(text)
    if not match or int(match["port"] or 0) > 65535:
        raise InputError(
            "invalid base_url: expected http:// or https://, a host, and optionally a port and a path, e.g."
            " https://api.sms.jpush.cn"
        )
    return text.rstrip("/")


def build_send(credentials: Credentials, mobile: str | int, temp_id: int | str) -> Request:
    """Build the request that sends a code. The values are not checked: that is the API's task."""
    return Request(Endpoint.SEND, CODES_PATH, call_headers(credentials), send_body(mobile, temp_id))


def build_verify(credentials: Credentials, msg_id: str, code: str) -> Request:
    """Build the request that verifies a code; raise InputError for a msg_id that can't be part of a path."""
    return Request(Endpoint.VERIFY, verify_path(msg_id), call_headers(credentials), verify_body(code))


def call_headers(credentials: Credentials) -> dict[str, str]:
    """Return the headers of a request, without Host and Content-Length."""
    return {"Authorization": credentials.authorization, "Content-Type": JSON_TYPE, "Accept": JSON_TYPE}


def send_body(mobile: str | int, temp_id: int | str) -> bytes:
    """Return the body of the request that sends a code."""
    if type(temp_id) is int and type(mobile) is str and mobile.isascii() and mobile.isalnum():
        return b'{"mobile":"%b","temp_id":%d}' % (
            mobile.encode(),
            temp_id,
        )  # as the encoder would, but faster
    return _encode({"mobile": mobile, "temp_id": temp_id}).encode()


def verify_path(msg_id: str) -> str:
    """Return the path of the request that verifies a code; raise InputError for an impossible msg_id."""
    if len(msg_id) > MAX_MSG_ID_CHARS:
        raise InputError(f"invalid msg_id of {len(msg_id)} characters: expected the msg_id that the send returned")
    if msg_id in ("", ".", ".."):
        raise InputError(f"invalid msg_id {msg_id!r}: expected the msg_id that the send returned")
    quoted = msg_id if PLAIN_ID.fullmatch(msg_id) else _quote(msg_id)
    return f"{CODES_PATH}/{quoted}/valid"


def verify_body(code: str) -> bytes:
    """Return the body of the request that verifies a code."""
    if type(code) is str and code.isascii() and code.isalnum():
        return b'{"code":"%b"}' % code.encode()
    return _encode({"code": code}).encode()


def message_path(msg_id: str) -> str:
    """Return the path of a message in the sandbox (GET, with the same Authorization)."""
    return f"/sandbox/messages/{_quote(msg_id)}"


def _quote(segment: str) -> str:
    return quote(segment, safe="", errors="surrogatepass")


def parse_response(endpoint: Endpoint, http_status: int, headers: Mapping[str, str], body: bytes) -> ApiResponse:
    """Parse a response; raise ProtocolError, and no other exception, if it isn't the API's.

    ``headers`` is looked up by lower-case names.
    """
    if http_status == _SUCCESS_STATUS:  # the usual responses in the usual form: no JSON parser needed
        if endpoint is _VERIFY:
            if verified := _PLAIN_VERIFIED.get(body):
                return verified
        elif sent := _PLAIN_SENT.fullmatch(body):
            return ApiResponse(_SUCCESS_STATUS, _SUCCESS, _SUCCESS_MESSAGE, sent[1].decode())
    try:
        fields = _parse_object(_decode_body(headers, body).removeprefix(BOM_UTF8))
        if fields is None:
            raise ProtocolError("the body is not a JSON object", http_status, body)
        if fields.get("error") is not None:
            return _read_refusal(fields, http_status, headers, body)
        if http_status != _SUCCESS_STATUS:
            raise ProtocolError("the status is not 200 and the body has no error", http_status, body)
        return _read_success(endpoint, fields, http_status, body)
    except ProtocolError as error:
        error.retry_after_s = _retry_after_s(headers)
        raise


def _decode_body(headers: Mapping[str, str], body: bytes) -> bytes:
    """Decompress a body that a gateway compressed unasked; return other bodies, and broken ones, as they are."""
    if headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(_ANY_ZLIB_HEADER).decompress(body, MAX_DECOMPRESSED_BYTES)
    except zlib.error:
        return body


def _retry_after_s(headers: Mapping[str, str]) -> int | None:
    """Return Retry-After in whole seconds; None if it is absent or can't be read.

    A date, or a number so large that it is a time since 1970, counts from the response's own Date (RFC 9110, section
    10.2.3).
    """
    value = headers.get("retry-after", "")
    seconds = parse_whole(value)
    if seconds is not None and seconds < MIN_EPOCH_S:
        return seconds
    try:
        now = parsedate_to_datetime(headers.get("date", ""))
        until = parsedate_to_datetime(value) if seconds is None else datetime.fromtimestamp(seconds, UTC)
        return max(0, math.ceil((until - now).total_seconds()))
    except (ValueError, TypeError, OverflowError, OSError):  # TypeError: one of them has no time zone
        return None


# Constants, because an attribute of an enum member takes a call of Python code.
_SEND, _VERIFY = Endpoint.SEND, Endpoint.VERIFY
_SUCCESS, _SUCCESS_STATUS, _SUCCESS_MESSAGE = (
    ReturnCode.SUCCESS,
    ReturnCode.SUCCESS.http_status,
    ReturnCode.SUCCESS.message,
)
_PLAIN_VERIFIED = dict.fromkeys(
    (b'{"is_valid":true}', b'{"is_valid": true}'),
    ApiResponse(_SUCCESS_STATUS, _SUCCESS, _SUCCESS_MESSAGE, is_valid=True),
)


def _read_refusal(fields: dict[str, Any], http_status: int, headers: Mapping[str, str], body: bytes) -> ApiResponse:
    error = fields["error"]
    code = parse_whole(error.get("code")) if isinstance(error, dict) else None
    if code is None or code == ReturnCode.SUCCESS:
        raise ProtocolError("the error has no code of a refusal", http_status, body)
    row, published = find(code), find_published(code)
    message = error.get("message")
    if not isinstance(message, str):
        message = published.message if published else ""
    is_valid = False if fields.get("is_valid") is False else None
    retry_after_s, request_id = _retry_after_s(headers), headers.get(REQUEST_ID)
    if request_id is not None and not _SANE_ID.fullmatch(request_id):
        request_id = None
    return ApiResponse(http_status, row or code, message, None, is_valid, retry_after_s, request_id)


def _read_success(endpoint: Endpoint, fields: dict[str, Any], http_status: int, body: bytes) -> ApiResponse:
    success = ReturnCode.SUCCESS
    if endpoint is Endpoint.VERIFY:
        if fields.get("is_valid") is not True:
            raise ProtocolError("the body neither confirms nor refuses the code", http_status, body)
        return ApiResponse(http_status, success, success.message, is_valid=True)
    msg_id = fields.get("msg_id")
    # The vendor's msg_id was a UUID and later a number, so it is opaque text here.
    if isinstance(msg_id, bool) or not isinstance(msg_id, str | int) or msg_id == "":
        raise ProtocolError("the body has no msg_id", http_status, body)
    return ApiResponse(http_status, success, success.message, msg_id=str(msg_id))


# The service's half: parse requests, build responses. Each check returns a Refusal if it fails.


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal of a request.

    Attributes:
        return_code: the reason.
        retry_after_s: whole seconds until a retry can succeed, if known.
        allow: value of the Allow header, if it isn't POST.

    """

    return_code: ReturnCode
    retry_after_s: int | None = None
    allow: bytes = b""


class ServerResponse(NamedTuple):
    """A response for any server. Header names are in lower case; ``request_id`` is the value of one more header."""

    http_status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    request_id: bytes = b""


class SendFields(NamedTuple):
    """The fields of a send: ``mobile`` as 11 digits, ``temp_id`` or None if it can't be the id of a template."""

    mobile: str
    temp_id: int | None


@dataclass(slots=True)
class ReceivedRequest(Generic[AccountT]):
    """A parsed request: the fields up to the first failed check, and that check's refusal."""

    refusal: Refusal | None = None
    endpoint: Endpoint | None = None
    account: AccountT | None = None
    send: SendFields | None = None
    msg_id: str | None = None
    code: str = ""


def read_request(
    method: bytes,
    path: bytes,
    headers: Mapping[bytes, bytes],
    body: bytes,
    authenticate: Callable[[bytes | None], AccountT | Refusal],
    media_types: frozenset[str] = LENIENT_TYPES,
) -> ReceivedRequest[AccountT]:
    """Parse a request in the order of the contract's checks, up to the first check that fails.

    The order is path, method, credentials, media type, JSON body, fields. Credentials are checked before the body, so
    that unknown callers don't cost the time of parsing.

    Args:
        path: quoted, without the query.
        headers: values by lower-case names.
        authenticate: returns the account of an Authorization header, or a refusal; see ``read_authorization``.
        media_types: the Content-Types that are accepted.

    """
    received: ReceivedRequest[AccountT] = ReceivedRequest()
    target = read_path(path)
    if isinstance(target, Refusal):
        received.refusal = target
        return received
    received.endpoint, msg_id = target
    if method != b"POST":
        received.refusal = Refusal(ReturnCode.METHOD_NOT_SUPPORT)
        return received
    account = authenticate(headers.get(b"authorization"))
    if isinstance(account, Refusal):
        received.refusal = account
        return received
    received.account = account
    if refusal := check_media_type(headers.get(b"content-type"), media_types):
        received.refusal = refusal
        return received
    if received.endpoint is _SEND and (plain := _PLAIN_SEND.fullmatch(body)):
        received.send = SendFields(plain[1].decode(), int(plain[2]))
        return received
    fields = read_body(body)
    if isinstance(fields, Refusal):
        received.refusal = fields
    elif received.endpoint is _SEND:
        send = read_send(fields)
        if isinstance(send, Refusal):
            received.refusal = send
        else:
            received.send = send
    else:
        received.msg_id = msg_id
        code = read_verify(fields)
        if isinstance(code, Refusal):
            received.refusal = code
        else:
            received.code = code
    return received


def read_path(path: bytes) -> tuple[Endpoint, str] | Refusal:
    """Return the endpoint of a quoted path and the msg_id in it ("" for a send)."""
    if path == _CODES_PATH:
        return _SEND, ""
    if match := _VERIFY_PATH.fullmatch(path):
        return _VERIFY, _unquote(match[1])
    return Refusal(ReturnCode.API_NOT_FOUND)


def read_message_path(path: bytes) -> str | None:
    """Return the msg_id in the quoted path of a message in the sandbox; None for any other path."""
    match = _MESSAGE_PATH.fullmatch(path)
    return _unquote(match[1]) if match else None


def read_number_path(path: bytes) -> str | None:
    """Return the mobile in the quoted path of a number in the sandbox; None for any other path."""
    match = _NUMBER_PATH.fullmatch(path)
    return _unquote(match[1]) if match else None


def _unquote(segment: bytes) -> str:
    return unquote_to_bytes(segment).decode("utf-8", "replace")


def read_authorization(value: bytes | None) -> Credentials | Refusal:
    """Return the credentials in an Authorization header."""
    if not value:
        return Refusal(ReturnCode.MISSING_AUTH)
    return decode_authorization(value) or Refusal(ReturnCode.AUTH_FAILED)


def check_media_type(value: bytes | None, allowed: frozenset[str] = LENIENT_TYPES) -> Refusal | None:
    """Return a refusal if a Content-Type is not allowed."""
    if value == _JSON_TYPE:  # always allowed
        return None
    media_type = (value or b"").partition(b";")[0].strip().lower().decode("latin-1")
    return None if media_type in allowed else Refusal(ReturnCode.MEDIA_NOT_SUPPORTED)


def read_body(body: bytes) -> dict[str, Any] | Refusal:
    """Parse the JSON object in a request's body."""
    if not body:
        return Refusal(ReturnCode.MISSING_BODY)
    fields = _parse_object(body) if len(body) <= MAX_BODY_BYTES else None
    return Refusal(ReturnCode.INVALID_BODY) if fields is None else fields


def read_send(fields: Mapping[str, Any]) -> SendFields | Refusal:
    """Parse and check the fields of a send. The template is checked later, with the app."""
    mobile, temp_id = fields.get("mobile"), fields.get("temp_id")
    if mobile is None or mobile == "":
        return Refusal(ReturnCode.MISSING_MOBILE)
    if temp_id is None or temp_id == "":
        return Refusal(ReturnCode.MISSING_TEMP_ID)
    digits = parse_mobile(mobile)
    if digits is None:
        return Refusal(ReturnCode.INVALID_MOBILE)
    return SendFields(digits, parse_whole(temp_id))


def read_verify(fields: Mapping[str, Any]) -> str | Refusal:
    """Return the typed code as text. An integer becomes its digits; other values become text that no code equals."""
    code = fields.get("code")
    if code is None or code == "":
        return Refusal(ReturnCode.MISSING_CODE)
    return code if isinstance(code, str) else repr(code)


def parse_mobile(value: object) -> str | None:
    """Return the 11 digits of a mainland Chinese mobile, given as text or an integer; None if it isn't one.

    >>> parse_mobile("+8613800138000"), parse_mobile("110")
    ('13800138000', None)
    """
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        value = str(value)
    match = _MOBILE.fullmatch(value)
    return match[1] if match else None


def parse_whole(value: object) -> int | None:
    """Return an integer of at most 18 digits, given as an integer or as digits; None for any other value."""
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _WHOLE_END else None


def sent_response(uuid: str, request_id: bytes = b"") -> ServerResponse:
    """Build the response to an accepted send, whose msg_id is a UUID in its usual form."""
    return ServerResponse(_SUCCESS_STATUS, _SENT_HEADERS, b'{"msg_id":"%b"}' % uuid.encode(), request_id)


def verified_response() -> ServerResponse:
    """Return the response to a correct code."""
    return _VERIFIED


def success_response(fields: Mapping[str, object]) -> ServerResponse:
    """Build the response to a successful call that only a sandbox has."""
    return _reply(ReturnCode.SUCCESS, _encode(fields))


def refusal_response(refusal: Refusal) -> ServerResponse:
    """Build the response of a refusal. ``is_valid`` is in the body if the code itself was judged."""
    if refusal.allow:
        return _refuse(refusal.return_code, (b"allow", refusal.allow))
    if refusal.retry_after_s is None:
        return _REFUSALS[refusal.return_code]
    return _refuse(refusal.return_code, (b"retry-after", b"%d" % refusal.retry_after_s))


_CONTENT_TYPE = (b"content-type", _JSON_TYPE)
_UUID = "00000000-0000-4000-8000-000000000000"
_SENT_HEADERS = (_CONTENT_TYPE, (b"content-length", b"%d" % len(f'{{"msg_id":"{_UUID}"}}')))
_EXTRA_HEADERS = {
    ReturnCode.AUTH_FAILED: (b"www-authenticate", b'Basic realm="sms-code"'),
    ReturnCode.METHOD_NOT_SUPPORT: (b"allow", b"POST"),
}


def _reply(code: ReturnCode, text: str, *extra: tuple[bytes, bytes]) -> ServerResponse:
    body = text.encode()
    return ServerResponse(code.http_status, (_CONTENT_TYPE, (b"content-length", b"%d" % len(body)), *extra), body)


def _refuse(code: ReturnCode, *extra: tuple[bytes, bytes]) -> ServerResponse:
    verdict: dict[str, object] = {"is_valid": False} if code.kind is Kind.VERDICT else {}
    return _reply(code, _encode(verdict | {"error": {"code": int(code), "message": code.message}}), *extra)


_REFUSALS = {
    code: _refuse(code, *([_EXTRA_HEADERS[code]] if code in _EXTRA_HEADERS else []))
    for code in ReturnCode
    if code.kind is not Kind.OK
}
_VERIFIED = _reply(ReturnCode.SUCCESS, _encode({"is_valid": True}))


# Used by both halves.


def _parse_object(body: bytes) -> dict[str, Any] | None:
    """Parse a UTF-8 JSON object; return None for anything else, however deeply nested or malformed.

    msgspec, where it is installed, takes a seventh of the time. It refuses a few texts that the standard library reads
    (a lone surrogate, a very long number), so only that one's refusal counts.
    """
    if _decode_fast:  # pragma: no branch
        try:
            value = _decode_fast(body)
            return value if isinstance(value, dict) else None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    try:
        text = body.decode("utf-8")
        try:
            value = _decode(text)
        except json.JSONDecodeError:
            return None
        except ValueError:  # an integer of more than 4,300 digits, which int() refuses: rare, so tried last
            value = _decode_long(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _read_integer(digits: str) -> int | float:
    """Return an integer, or infinity if it is too long for Python; infinity is out of every range."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode_fast = msgspec.json.Decoder().decode if msgspec else None
_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
_decode_long = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_read_integer).decode
