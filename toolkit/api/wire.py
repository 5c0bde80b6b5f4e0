"""The protocol without I/O: what a call looks like in bytes, read and written for both sides.

The client and the load test build requests and read answers with it, the service reads requests and builds replies
with it, so the two can't drift apart. Nothing here opens a socket, reads a clock or keeps state.
Source: SMS Code API v1; what the document leaves open is decided in the contract this project keeps.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote, unquote_to_bytes

from toolkit.api.errors import InputError, ProtocolError
from toolkit.api.return_codes import Kind, ReturnCode, find, kind_of

AccountT = TypeVar("AccountT")

CODES_PATH = "/v1/codes"
MAX_BODY_BYTES = 16 * 1024
MAX_MSG_ID_CHARS = 1000
JSON_TYPE = "application/json"
REQUEST_ID = "x-request-id"

# Three of the vendor's own callers don't say JSON: no type (Python), text/plain (C#), curl's form type (the document).
LENIENT_TYPES = frozenset({"", JSON_TYPE, "text/plain", "application/x-www-form-urlencoded"})
STRICT_TYPES = frozenset({JSON_TYPE})

# json.dumps and json.loads would make an encoder and a decoder for each call.
_encode = json.JSONEncoder(separators=(",", ":")).encode

_MESSAGE_PATH = re.compile(rb"/sandbox/messages/([^/]+)")
_VERIFY_PATH = re.compile(rb"/v1/codes/([^/]+)/valid")
PLAIN_ID = re.compile(f"[0-9A-Za-z-]{{1,{MAX_MSG_ID_CHARS}}}")  # stands in a path as it is
_PLAIN_SENT = re.compile(rb'\{"msg_id": ?"([0-9A-Za-z-]+)"\}')  # as nearly all are, and read much sooner
_MOBILE = re.compile(r"(?:\+?86)?(1[3-9][0-9]{9})")
_SANE_ID = re.compile("[!-~]{1,128}")
_WHOLE = re.compile(r"[0-9]{1,18}")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})"
_BASE_URL = re.compile(
    rf"https?://(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?(?:/[!-\"$->@-~]*)?",
    re.IGNORECASE,
)


class Endpoint(StrEnum):
    """The API's two calls."""

    SEND = "send"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An app's key and master secret, and the Basic header they make."""

    app_key: str
    master_secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if ":" in self.app_key or not self.app_key:
            raise InputError("an app key is not empty and holds no colon")

    @property
    def authorization(self) -> str:
        """The header's value."""
        token = base64.b64encode(f"{self.app_key}:{self.master_secret}".encode("utf-8", "surrogateescape"))
        return "Basic " + token.decode("ascii")


# The caller's half: build a request, read an answer.


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready for any transport. ``path`` is quoted; ``headers`` lack Host and Content-Length."""

    endpoint: Endpoint
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(slots=True)  # not frozen, which takes a load test three times as long to make
class ApiResponse:
    """What the API said, success or refusal.

    ``return_code`` is a ``ReturnCode`` where the table knows the number, else the number as it came.
    ``request_id``: the X-Request-Id of a refusal, which the service's log has too.
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
        """Who can act, or None where the table doesn't know the code."""
        return kind_of(self.return_code)


def parse_base_url(text: str) -> str:
    """Return a base URL without the slash at its end; raise InputError where it is none.

    The error doesn't repeat the text, which may hold a password.
    """
    match = _BASE_URL.fullmatch(text)
    if not match or int(match["port"] or 0) > 65535:
        raise InputError(
            "a base URL is http://host or https://host, with :port and /path or without; nothing else in it"
        )
    return text.rstrip("/")


def build_send(credentials: Credentials, mobile: str | int, temp_id: int | str) -> Request:
    """Build the call that sends a code. The values go out as given: judging them is the API's part."""
    return Request(Endpoint.SEND, CODES_PATH, call_headers(credentials), send_body(mobile, temp_id))


def build_verify(credentials: Credentials, msg_id: str, code: str) -> Request:
    """Build the call that verifies a code; raise InputError for a msg_id that can't stand in a path."""
    return Request(Endpoint.VERIFY, verify_path(msg_id), call_headers(credentials), verify_body(code))


def call_headers(credentials: Credentials) -> dict[str, str]:
    """Return the headers of a call but for Host and Content-Length."""
    return {"Authorization": credentials.authorization, "Content-Type": JSON_TYPE, "Accept": JSON_TYPE}


def send_body(mobile: str | int, temp_id: int | str) -> bytes:
    """Return the body of the call that sends a code."""
    if type(temp_id) is int and type(mobile) is str and mobile.isascii() and mobile.isalnum():
        return b'{"mobile":"%b","temp_id":%d}' % (mobile.encode(), temp_id)  # what the encoder says too, much later
    return _encode({"mobile": mobile, "temp_id": temp_id}).encode()


def verify_path(msg_id: str) -> str:
    """Return the path of the call that verifies a code; raise InputError for a msg_id that can't stand in a path."""
    if len(msg_id) > MAX_MSG_ID_CHARS:
        raise InputError(f"a msg_id of {len(msg_id)} characters: give the one that the send call returned")
    if msg_id in ("", ".", ".."):
        raise InputError(f"msg_id {msg_id!r} can't stand in a path: give the one that the send call returned")
    quoted = msg_id if PLAIN_ID.fullmatch(msg_id) else _quote(msg_id)
    return f"{CODES_PATH}/{quoted}/valid"


def verify_body(code: str) -> bytes:
    """Return the body of the call that verifies a code."""
    if type(code) is str and code.isascii() and code.isalnum():
        return b'{"code":"%b"}' % code.encode()
    return _encode({"code": code}).encode()


def message_path(msg_id: str) -> str:
    """Return the path that looks at a message of the sandbox (GET, with the same Authorization)."""
    return f"/sandbox/messages/{_quote(msg_id)}"


def _quote(segment: str) -> str:
    return quote(segment, safe="", errors="surrogatepass")


def parse_response(endpoint: Endpoint, http_status: int, headers: Mapping[str, str], body: bytes) -> ApiResponse:
    """Read an answer; raise ProtocolError, and nothing else, for one that isn't the API's.

    ``headers`` is looked up by lower-case names.
    """
    if http_status == _SUCCESS_STATUS:  # as nearly all are, as servers write it: without a parser
        if endpoint is _VERIFY:
            if verified := _PLAIN_VERIFIED.get(body):
                return verified
        elif sent := _PLAIN_SENT.fullmatch(body):
            return ApiResponse(_SUCCESS_STATUS, _SUCCESS, _SUCCESS_MESSAGE, sent[1].decode())
    fields = _parse_object(body)
    if fields is None:
        raise ProtocolError("the body is no JSON object", http_status, body)
    if "error" in fields:
        return _read_refusal(fields, http_status, headers, body)
    if not 200 <= http_status < 300:
        raise ProtocolError("no success, and no error in the body", http_status, body)
    return _read_success(endpoint, fields, http_status, body)


# An enum's attributes are looked up by Python code.
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
        raise ProtocolError("its error has no number of a refusal", http_status, body)
    row = find(code)
    message = error.get("message")
    if not isinstance(message, str):
        message = row.message if row else ""
    is_valid = False if fields.get("is_valid") is False else None
    retry_after_s, request_id = parse_whole(headers.get("retry-after")), headers.get(REQUEST_ID)
    if request_id is not None and not _SANE_ID.fullmatch(request_id):
        request_id = None
    return ApiResponse(http_status, row or code, message, None, is_valid, retry_after_s, request_id)


def _read_success(endpoint: Endpoint, fields: dict[str, Any], http_status: int, body: bytes) -> ApiResponse:
    success = ReturnCode.SUCCESS
    if endpoint is Endpoint.VERIFY:
        if fields.get("is_valid") is not True:
            raise ProtocolError("it neither confirms the code nor refuses it", http_status, body)
        return ApiResponse(http_status, success, success.message, is_valid=True)
    msg_id = fields.get("msg_id")
    # The vendor's was a UUID, later a number: opaque text for every reader.
    if isinstance(msg_id, bool) or not isinstance(msg_id, str | int) or msg_id == "":
        raise ProtocolError("it has no msg_id", http_status, body)
    return ApiResponse(http_status, success, success.message, msg_id=str(msg_id))


# The service's half: read a request, build a reply. A refusal is a value: the first check that fails gives it.


@dataclass(frozen=True, slots=True)
class Refusal:
    """The service's no: which return code, and after how many whole seconds to come again, where that is known.

    ``allow``: the method to come with, where it isn't POST.
    """

    return_code: ReturnCode
    retry_after_s: int | None = None
    allow: bytes = b""


class ServerResponse(NamedTuple):
    """One reply, ready for any server; header names are in lower case."""

    http_status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class SendFields:
    """The fields of a send call: ``mobile`` in 11 digits; ``temp_id`` None where it can name no template."""

    mobile: str
    temp_id: int | None


@dataclass(slots=True)
class ReceivedRequest(Generic[AccountT]):
    """A request as the service has read it: the fields up to the first check that failed, and that check's refusal."""

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
    authenticate: Callable[[Credentials], AccountT | Refusal],
    media_types: frozenset[str] = LENIENT_TYPES,
) -> ReceivedRequest[AccountT]:
    """Read a request of the API, in the order of the contract's checks, up to the first that fails.

    The order is: path, method, credentials, media type, JSON body, fields. Credentials are judged before the body is
    parsed, so that only known callers cost the time of parsing.

    Args:
        path: still quoted, and without its query.
        headers: by their names in lower case.
        authenticate: finds the account of credentials, or refuses them.
        media_types: the Content-Types whose body is read as JSON.
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
    credentials = read_authorization(headers.get(b"authorization"))
    account = credentials if isinstance(credentials, Refusal) else authenticate(credentials)
    if isinstance(account, Refusal):
        received.refusal = account
        return received
    received.account = account
    if refusal := check_media_type(headers.get(b"content-type"), media_types):
        received.refusal = refusal
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
    """Tell which call a raw (still quoted) path means, and the msg_id in it ("" for a send)."""
    if path == CODES_PATH.encode():
        return Endpoint.SEND, ""
    if match := _VERIFY_PATH.fullmatch(path):
        return Endpoint.VERIFY, _unquote(match[1])
    return Refusal(ReturnCode.API_NOT_FOUND)


def read_message_path(path: bytes) -> str | None:
    """Return the msg_id in a raw path that looks at a message of the sandbox; None for any other path."""
    match = _MESSAGE_PATH.fullmatch(path)
    return _unquote(match[1]) if match else None


def _unquote(segment: bytes) -> str:
    return unquote_to_bytes(segment).decode("utf-8", "replace")


def read_authorization(value: bytes | None) -> Credentials | Refusal:
    """Read the Authorization header's credentials."""
    if not value:
        return Refusal(ReturnCode.MISSING_AUTH)
    scheme, _, token = value.partition(b" ")
    if scheme.lower() == b"basic":
        try:
            app_key, colon, secret = base64.b64decode(token.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if colon and app_key:
            return Credentials(app_key, secret)
    return Refusal(ReturnCode.AUTH_FAILED)


def check_media_type(value: bytes | None, allowed: frozenset[str] = LENIENT_TYPES) -> Refusal | None:
    """Refuse a Content-Type whose body isn't read as JSON."""
    media_type = (value or b"").partition(b";")[0].strip().lower().decode("latin-1")
    return None if media_type in allowed else Refusal(ReturnCode.MEDIA_NOT_SUPPORTED)


def read_body(body: bytes) -> dict[str, Any] | Refusal:
    """Read a request's JSON object."""
    if not body:
        return Refusal(ReturnCode.MISSING_BODY)
    fields = _parse_object(body) if len(body) <= MAX_BODY_BYTES else None
    return Refusal(ReturnCode.INVALID_BODY) if fields is None else fields


def read_send(fields: Mapping[str, Any]) -> SendFields | Refusal:
    """Read and judge the fields of a send call, as far as they can be judged without the app."""
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
    """Read the typed code. An integer stands for its digits; what can't be digits comes back as text no code equals."""
    code = fields.get("code")
    if code is None or code == "":
        return Refusal(ReturnCode.MISSING_CODE)
    return code if isinstance(code, str) else repr(code)


def parse_mobile(value: object) -> str | None:
    """Return a mainland mobile's 11 digits from text or an integer, without +86; None where it isn't one."""
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        value = str(value)
    match = _MOBILE.fullmatch(value)
    return match[1] if match else None


def parse_whole(value: object) -> int | None:
    """Return a whole number of at most 18 digits from an integer or a string of digits, else None."""
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18 else None


def sent_response(msg_id: str) -> ServerResponse:
    """Build the reply to an accepted send."""
    return _reply(ReturnCode.SUCCESS, f'{{"msg_id":{_encode(msg_id)}}}')


def verified_response() -> ServerResponse:
    """Build the reply to a right code."""
    return _VERIFIED


def message_response(code: str, text: str) -> ServerResponse:
    """Build the sandbox's reply to a look at a message."""
    return _reply(ReturnCode.SUCCESS, _encode({"code": code, "text": text}))


def refusal_response(refusal: Refusal) -> ServerResponse:
    """Build a refusal: the body of its row, ``is_valid`` where the code itself was judged, and its extra headers."""
    if refusal.allow:
        return _refuse(refusal.return_code, (b"allow", refusal.allow))
    if refusal.retry_after_s is None:
        return _REFUSALS[refusal.return_code]
    return _refuse(refusal.return_code, (b"retry-after", b"%d" % refusal.retry_after_s))


_CONTENT_TYPE = (b"content-type", JSON_TYPE.encode())
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


# Both halves.


def _parse_object(body: bytes) -> dict[str, Any] | None:
    """Parse a UTF-8 JSON object; None for anything else, however deep or odd."""
    try:
        value = _load(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _load(text: str) -> Any:
    try:
        return _decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer of more digits than Python reads (4,300); rare, so the hot path pays nothing for it
        return _decode_long(text)


def _read_integer(digits: str) -> int | float:
    """Read an integer; one that is too long for Python comes back as infinity, which is out of every range."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
_decode_long = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_read_integer).decode
