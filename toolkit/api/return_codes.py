"""Define the API's return codes: number, HTTP status, text, and kind.

No other module contains a return code as a number. Source: SMS Code API v1, section "返回码". The column ``kind`` is an
addition of this project.
"""

from __future__ import annotations

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


_ROWS = {int(row): row for row in ReturnCode}


def find(value: int) -> ReturnCode | None:
    """Return the ReturnCode of a number, or None for a number that isn't in the table, as the vendor has more."""
    return _ROWS.get(value)


def kind_of(value: int) -> Kind | None:
    """Return the kind of a return code, or None if it isn't in the table."""
    row = _ROWS.get(value)
    return row.kind if row else None
