"""Define the API's return codes: number, HTTP status, text, and kind.

No other module contains a return code as a number. Source: SMS Code API v1, section "返回码". The column ``kind`` is an
addition of this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Self


class Kind(StrEnum):
    """The person or role that can act on a return code."""

    OK = "OK"  # no action is needed
    REQUEST = "REQUEST"  # the caller's programmer
    ACCOUNT = "ACCOUNT"  # the owner of the app's account: keys, permission, balance
    RATE = "RATE"  # the person who sets the sending rate
    VERDICT = "VERDICT"  # the person who typed the code
    SERVER = "SERVER"  # the operator of the service


FREE_REFUSALS = (Kind.REQUEST, Kind.ACCOUNT, Kind.RATE)  # kinds of refused sends that are never charged


class ReturnCode(IntEnum):
    """A return code of the API.

    ``SUCCESS`` is never sent: parsers set it if the body has no error.

    Attributes:
        http_status: HTTP status of the response that carries it.
        message: the API's English text.
        meaning: the API's Chinese text.
        kind: the role that can act on it.

    >>> ReturnCode.OUT_OF_FREQ.http_status, ReturnCode.OUT_OF_FREQ.kind.value
    (403, 'RATE')
    """

    http_status: int
    message: str
    meaning: str
    kind: Kind

    def __new__(cls, value: int, http_status: int, message: str, meaning: str, kind: Kind) -> Self:
        """Make a member from a row of the table below."""
        row = int.__new__(cls, value)
        row._value_ = value
        row.http_status = http_status
        row.message = message
        row.meaning = meaning
        row.kind = kind
        return row

    SUCCESS = 50000, 200, "success", "请求成功", Kind.OK
    MISSING_AUTH = 50001, 400, "missing auth", "auth为空", Kind.ACCOUNT
    AUTH_FAILED = 50002, 401, "auth failed", "auth鉴权失败", Kind.ACCOUNT
    MISSING_BODY = 50003, 400, "missing body", "body为空", Kind.REQUEST
    MISSING_MOBILE = 50004, 400, "missing mobile", "mobile为空", Kind.REQUEST
    MISSING_TEMP_ID = 50005, 400, "missing temp_id", "temp_id为空", Kind.REQUEST
    INVALID_MOBILE = 50006, 403, "invalid mobile", "mobile无效", Kind.REQUEST
    INVALID_BODY = 50007, 403, "invalid body", "body无效", Kind.REQUEST
    NO_SMS_CODE_AUTH = 50008, 403, "no sms code auth", "没有短信验证权限", Kind.ACCOUNT
    OUT_OF_FREQ = 50009, 403, "out of freq", "发送超频", Kind.RATE
    INVALID_CODE = 50010, 403, "invalid code", "验证码无效", Kind.VERDICT
    EXPIRED_CODE = 50011, 403, "expired code", "验证码过期", Kind.VERDICT
    VERIFIED_CODE = 50012, 403, "verified code", "验证码已验证过", Kind.VERDICT
    INVALID_TEMP_ID = 50013, 403, "invalid temp_id", "无效temp_id", Kind.REQUEST
    NO_MONEY = 50014, 403, "no money", "余额不足", Kind.ACCOUNT
    MISSING_CODE = 50015, 400, "missing code", "验证码为空", Kind.REQUEST
    API_NOT_FOUND = 50016, 404, "api not found", "api不存在", Kind.REQUEST
    MEDIA_NOT_SUPPORTED = 50017, 415, "media not supported", "媒体类型不支持", Kind.REQUEST
    METHOD_NOT_SUPPORT = 50018, 405, "request method not support", "请求方法不支持", Kind.REQUEST
    SERVER_ERROR = 50019, 500, "server error", "服务端异常", Kind.SERVER


@dataclass(frozen=True, slots=True)
class LaterCode:
    """A return code that the vendor published after version 1 of the API.

    Attributes:
        number: the return code.
        message: the vendor's English wording.
        kind: the party that can act; None if the vendor's wording doesn't say.
        meaning: "": the vendor's later tables were read in English only.
    """

    number: int
    message: str
    kind: Kind | None
    meaning: str = ""


# Source: jpush/jpush-docs, zh/jsms/server: rest_api_jsms.md, rest_jsms_api_account.md, rest_api_jsms_templates.md and
# rest_api_jsms_sign.md, 2016-10 to 2019-08. The numbers 50032 and 50048 to 50051 are in none of them.
_LATER_REQUESTS = {
    50020: "template auditing",
    50021: "template not pass",
    50022: "parameters not all replaced",
    50023: "parameters is empty",
    50025: "wrong template type",
    50026: "wrong msg_id",
    50027: "invalid send_time",
    50028: "invalid schedule_id",
    50029: "wrong schedule status",
    50030: "recipients is empty",
    50031: "too much recipients",
    50037: "has black word",
    50038: "invalid content length",
    50039: "invalid code type",
    50040: "invalid voice language",
    50041: "invalid ttl value",
    50042: "template is empty",
    50043: "template too long",
    50044: "template parameter invalid",
    50045: "remark too long",
    50047: "modify template not allow",
    50052: "template contains special symbol",
    50053: "special template parameter need extra remark for confirmation",
    50054: "",  # a refusal of the template API like its neighbours; its wording was not seen
    50101: "invalid image",
    50102: "invalid sign id",
    50104: "invalid signature",
    50105: "default signature cannot be deleted",
}
_LATER_ACCOUNTS = {
    50033: "app quota not assigned",
    50035: "illegal IP",
    50036: "app in black",
    50046: "signature not set",
    50103: "other signatures in the audit",
}
LATER_CODES = {
    row.number: row
    for row in sorted(
        (
            *(LaterCode(number, message, Kind.REQUEST) for number, message in _LATER_REQUESTS.items()),
            *(LaterCode(number, message, Kind.ACCOUNT) for number, message in _LATER_ACCOUNTS.items()),
            LaterCode(50024, "unsubscribed mobile", None),  # neither the programmer nor the account's owner can act
            LaterCode(50034, "repeat send", Kind.RATE),
        ),
        key=lambda row: row.number,
    )
}
"""The return codes that the vendor published after version 1, by number."""

_ROWS = {int(row): row for row in ReturnCode}
_STATUSES = [row.http_status for row in ReturnCode]
SINGLE_CODES = {row.http_status: row for row in ReturnCode if _STATUSES.count(row.http_status) == 1}
"""The return code of each HTTP status that has only one, such as 500."""


def find(value: int) -> ReturnCode | None:
    """Return the row of a return code of version 1, or None for any other number."""
    return _ROWS.get(value)


def find_published(value: int) -> ReturnCode | LaterCode | None:
    """Return the row of a return code of version 1 or of a later one, or None for a number that is in no table."""
    return _ROWS.get(value) or LATER_CODES.get(value)


def kind_of(value: int | None, http_status: int | None = None, is_valid: bool | None = None) -> Kind | None:
    """Return the kind of an answer of the API, or None if it is unknown.

    Args:
        value: the return code; None if it is unknown.
        http_status: the answer's HTTP status. A status of 500 to 599 is the server's failure whatever the code.
        is_valid: ``is_valid`` of the answer's body. False is a verdict on the typed code whatever the return code.

    >>> kind_of(50009), kind_of(50036), kind_of(59999), kind_of(59999, is_valid=False)
    (<Kind.RATE: 'RATE'>, <Kind.ACCOUNT: 'ACCOUNT'>, None, <Kind.VERDICT: 'VERDICT'>)
    """
    if http_status is not None and 500 <= http_status < 600:
        return Kind.SERVER
    if is_valid is False:
        return Kind.VERDICT
    row = None if value is None else find_published(value)
    return row.kind if row else None
