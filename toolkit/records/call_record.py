"""Define CallRecord, the one record type for API calls, and the RecordBuilder that makes records.

A client's log, a load test, an imported access log and simulated traffic all consist of CallRecords.
Whole mobiles, codes and secrets never reach a record: a mobile is stored as a keyed digest and its first 7 digits.
``packed`` and ``parquet`` hold the file formats.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from toolkit.api.errors import InputError
from toolkit.api.return_codes import FREE_REFUSALS, Kind, find
from toolkit.api.wire import ApiResponse, Endpoint, parse_mobile, parse_whole
from toolkit.masking import mask_text

MAX_STARTED_NS = 2**63 - 2**61 - 1  # in the year 2189
MAX_DURATION_NS = 2**60 - 1  # 36 years, so that a start, a wait and a latency add up to an integer of 64 bits
_MIN_RETURN_CODE = 10_000
_MOBILE_DIGITS, _PREFIX_DIGITS = 11, 7
_MAX_MESSAGE_CHARS = 100
_MAY_BE_EXPECTED = (Kind.REQUEST.value, Kind.ACCOUNT.value, Kind.RATE.value)
_PREFIX = re.compile("1[3-9][0-9]{5}")


class Failure(StrEnum):
    """The reason why a call got no valid response."""

    CONNECT = "connect"  # the connection was never made
    TIMEOUT = "timeout"
    RESET = "reset"  # the connection closed before the response was complete
    PROTOCOL = "protocol"  # the response isn't the API's, or isn't HTTP
    CANCELLED = "cancelled"  # the caller stopped waiting


def may_cost(endpoint: Endpoint, kind: str | None, error: str | None) -> bool:
    """Return whether a call may have been charged.

    Verifies are free. So are sends that never left the caller and sends that the API refused for a reason in
    ``FREE_REFUSALS``.

    Args:
        endpoint: the API's endpoint.
        kind: the kind of the response, see ``return_codes.kind_of``: with an HTTP status of 5xx it is SERVER, whatever
            the return code. None if it is unknown.
        error: a Failure; None if the API responded.

    >>> may_cost(Endpoint.SEND, None, "timeout"), may_cost(Endpoint.SEND, None, "connect")
    (True, False)
    """
    return endpoint is Endpoint.SEND and error != Failure.CONNECT and kind not in FREE_REFUSALS


def is_failed(
    return_code: int | None, kind: str | None, error: str | None, expected: Collection[int | str] = ()
) -> bool:
    """Return whether a call failed. Thresholds, reports and locust's statistics all use this function.

    A call without a valid response failed, unless its caller stopped waiting. So did one of kind SERVER. A success and
    a verdict on the typed code are never failures. Any other return code is one unless the scenario expects it.

    Args:
        return_code: the API's return code; None without a valid response.
        kind: the kind of the response, see ``return_codes.kind_of``; None if it is unknown.
        error: a Failure; None if the API responded.
        expected: the kinds and the return codes that the scenario expects.

    >>> is_failed(50009, "RATE", None), is_failed(50009, "RATE", None, expected={"RATE"})
    (True, False)
    >>> is_failed(50010, "VERDICT", None), is_failed(59999, None, None), is_failed(None, None, "timeout")
    (False, True, True)
    """
    if error is not None:
        return error != Failure.CANCELLED
    if kind == Kind.OK or kind == Kind.VERDICT:
        return False
    return kind == Kind.SERVER or not (kind in expected or return_code in expected)


def parse_expected(texts: Iterable[object]) -> frozenset[int | str]:
    """Parse the kinds and return codes that a scenario expects, for ``is_failed``.

    A failure of the service itself can't be expected. Raises InputError.

    >>> sorted(parse_expected(["RATE", "50026"]), key=str)
    [50026, 'RATE']
    """
    expected: set[int | str] = set()
    for text in map(str, texts):
        code = parse_whole(text)
        if text not in _MAY_BE_EXPECTED if code is None else code < _MIN_RETURN_CODE:
            kinds = ", ".join(_MAY_BE_EXPECTED)
            raise InputError(
                f"invalid expected outcome {text!r}: expected one of {kinds}, or a return code, e.g. 50009"
            )
        expected.add(text if code is None else code)
    return frozenset(expected)


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call to the API, successful or not. Times are integers in nanoseconds.

    Attributes:
        started_ns: when the first byte was sent, since 1970-01-01 UTC.
        run: name of the run.
        source: worker or host within the run.
        endpoint: send or verify.
        http_status: HTTP status; None without a response.
        return_code: the API's return code; None without a valid response.
        kind: who can act, see ``return_codes.kind_of``; None if that is unknown.
        latency_ns: from the first byte sent to the complete response or the failure.
        wait_ns: from the intended start to the first byte sent; 0 in a closed loop. The caller waited both.
        mobile_key: keyed 64-bit digest of the mobile.
        prefix: the mobile's first 7 digits.
        temp_id: template of a send.
        msg_id: the message's id.
        msg_key: 64-bit hash of msg_id, for joins.
        app_key: the app's key.
        segments: billed segments of a send, if known.
        error: a Failure; None if the API responded.
        request_id: X-Request-Id of a refusal; the service logs the same id.
        message: the API's message, masked, if version 1 of the API doesn't have the return code.
        trace_id: 32 hexadecimal digits of a sampled call, under which a tracing backend has its trace.

    """

    started_ns: int
    run: str
    source: str
    endpoint: Endpoint
    http_status: int | None
    return_code: int | None
    kind: Kind | None
    latency_ns: int
    wait_ns: int = 0
    mobile_key: int | None = None
    prefix: str | None = None
    temp_id: int | None = None
    msg_id: str | None = None
    msg_key: int | None = None
    app_key: str | None = None
    segments: int | None = None
    error: str | None = None
    request_id: str | None = None
    message: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class RecordBuilder:
    """Builds the CallRecords of one app in one run.

    ``keyed`` digests mobiles with a key derived from the app's master secret. A mobile has the same
    ``mobile_key`` in all runs of an app. Without the secret nobody can find a mobile by trying all numbers.
    """

    run: str
    source: str
    app_key: str
    keyed: hashlib.blake2b

    @classmethod
    def of(cls, run: str, source: str, app_key: str, master_secret: str) -> RecordBuilder:
        """Make a builder for one app in one run."""
        secret = master_secret.encode("utf-8", "surrogateescape")
        key = hashlib.blake2b(secret, digest_size=32, person=b"mobile_key").digest()
        return cls(run, source, app_key, hashlib.blake2b(key, digest_size=8))

    def build(
        self,
        endpoint: Endpoint,
        started_ns: int,
        latency_ns: int,
        *,
        response: ApiResponse | None = None,
        http_status: int | None = None,
        error: str | None = None,
        wait_ns: int = 0,
        mobile: str | int | None = None,
        temp_id: int | str | None = None,
        msg_id: str | None = None,
    ) -> CallRecord:
        """Build the record of one call from its response, or from the error if there was no valid response."""
        digest, prefix = (None, None) if mobile is None else self.digest(str(mobile))
        return_code = kind = request_id = message = None
        if response:
            http_status, return_code, request_id = response.http_status, int(response.return_code), response.request_id
            kind, msg_id, message = (
                response.kind,
                msg_id or response.msg_id,
                unknown_message(response.return_code, response.message),
            )
        msg_id = replace_surrogates(msg_id)
        return CallRecord(
            started_ns=started_ns,
            run=self.run,
            source=self.source,
            endpoint=endpoint,
            http_status=http_status,
            return_code=return_code,
            kind=kind,
            latency_ns=latency_ns,
            wait_ns=wait_ns,
            mobile_key=None if digest is None else int.from_bytes(digest, "big", signed=True),
            prefix=valid_prefix(prefix),
            temp_id=parse_whole(temp_id),
            msg_id=msg_id,
            msg_key=hash64(msg_id),
            app_key=self.app_key,
            error=error,
            request_id=request_id,
            message=message,
        )

    def digest(self, mobile: str) -> tuple[bytes, str | None]:
        """Return a mobile's key as 8 bytes, and its first 7 digits or None if it isn't a mobile.

        A load test calls this for every send, so 11 characters are taken as a mobile unchecked. ``valid_prefix``
        checks the prefix when the record is read.
        """
        digits = mobile if len(mobile) == _MOBILE_DIGITS else parse_mobile(mobile)
        keyed, text = self.keyed.copy(), digits or mobile
        keyed.update(text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass"))
        return keyed.digest(), digits and digits[:_PREFIX_DIGITS]


def mobile_key(mobile: str | int, master_secret: str) -> int:
    """Return the key that records have for a mobile, to find a suspect whose number and app secret are known.

    >>> mobile_key("13800138000", "secret") == mobile_key("+8613800138000", "secret")
    True
    """
    digest, _ = RecordBuilder.of("", "", "", master_secret).digest(str(mobile))
    return int.from_bytes(digest, "big", signed=True)


def short_key(mobile_key: int) -> str:
    """Return the first 6 hexadecimal digits of a mobile's key, as charts, reports and ``smscode mobile-key`` show it.

    >>> short_key(-2)
    'ffffff'
    """
    return f"{mobile_key & 0xFFFF_FFFF_FFFF_FFFF:016x}"[:6]


@lru_cache(maxsize=256)  # masking takes longer than recording a call, and most messages are one of a few
def unknown_message(return_code: int | None, message: str | None) -> str | None:
    """Return the start of a message, masked, if version 1 of the API doesn't have its return code; else None.

    >>> unknown_message(50036, "app in black"), unknown_message(50009, "out of freq")
    ('app in black', None)
    """
    if return_code is None or find(return_code) or not message:
        return None
    return replace_surrogates(mask_text(message[:_MAX_MESSAGE_CHARS]))


def valid_prefix(prefix: str | None) -> str | None:
    """Return the first 7 digits of a mobile, or None if they can't be a mobile's."""
    return prefix if prefix and _PREFIX.fullmatch(prefix) else None


def replace_surrogates(text: str | None) -> str | None:
    """Replace unpaired surrogates in text: JSON may contain them, Parquet may not."""
    return text and text.encode("utf-8", "replace").decode()


def hash64(text: str | None) -> int | None:
    """Return the 64-bit hash that replaces a msg_id in joins, or None for None."""
    if text is None:
        return None
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
