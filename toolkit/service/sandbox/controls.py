"""Read the parameters and bodies of a sandbox's own calls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolkit.api.defaults import CODE_DIGITS
from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind, ReturnCode, find
from toolkit.api.wire import parse_mobile, parse_whole
from toolkit.service.sandbox.faults import Faults, Latency, Stall
from toolkit.service.sandbox.numbers import NumberRule, Outcome, is_refused

MAX_LIMIT = 1000
MAX_WAIT_S = 60
MAX_ADVANCE_S = 366 * 86400
MAX_TIMES = 1_000_000

_ABSENT: Any = None  # the value of an absent field; null is refused
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class InboxQuery:
    """The parameters of a list of messages. ``after``: the last msg_id that was seen, "" for none."""

    mobile: str | None = None
    after: str = ""
    limit: int = MAX_LIMIT
    wait_s: float = 0.0

    @classmethod
    def parse(cls, query: bytes) -> Self:
        """Parse a query string; raise InputError if it has another parameter, one twice, or an invalid one.

        >>> InboxQuery.parse(b"mobile=%2B8613800138000&wait_s=5")
        InboxQuery(mobile='13800138000', after='', limit=1000, wait_s=5.0)
        """
        try:
            pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=4)
        except ValueError as problem:
            raise InputError(f"invalid query: {problem}") from None
        given = dict(pairs)
        if len(given) < len(pairs) or not given.keys() <= {"mobile", "after", "limit", "wait_s"}:
            raise InputError("invalid query: expected mobile, after, limit and wait_s, each at most once")
        mobile = parse_mobile(given["mobile"]) if "mobile" in given else None
        limit = parse_whole(given.get("limit", str(MAX_LIMIT)))
        try:
            wait_s = float(given.get("wait_s", 0))
        except ValueError:
            wait_s = math.nan
        if ("mobile" in given and mobile is None) or not (limit and 1 <= limit <= MAX_LIMIT):
            raise InputError(f"invalid query: expected a mobile, and a limit from 1 to {MAX_LIMIT}")
        if not 0 <= wait_s <= MAX_WAIT_S:
            raise InputError(f"invalid wait_s: expected seconds from 0 to {MAX_WAIT_S}")
        return cls(mobile, given.get("after", ""), limit, wait_s)


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


T = TypeVar("T", bound=_Body)


class _NumberBody(_Body):
    code: Annotated[str, Field(pattern=f"^[0-9]{{{CODE_DIGITS}}}$")] = ""
    send: int = _ABSENT
    verify: int = _ABSENT
    times: Annotated[int, Field(ge=1, le=MAX_TIMES)] = _ABSENT


class _ClockBody(_Body):
    advance_s: Annotated[float, Field(ge=0, le=MAX_ADVANCE_S, allow_inf_nan=False)]


class _FaultsBody(_Body):
    latency: str = "0ms"
    error_share: _Share = 0.0
    drop_share: _Share = 0.0
    stall: str = _ABSENT


def read_number(fields: dict[str, Any]) -> NumberRule:
    """Return the rule of a number; raise InputError if it is not valid, or has no effect.

    >>> read_number({"send": 50014, "times": 1}).send
    Outcome(return_code=<ReturnCode.NO_MONEY: 50014>, times=1)
    """
    body = _validate(_NumberBody, fields)
    send, verify = _read_outcome(body.send, body.times), _read_outcome(body.verify, body.times)
    if not (body.code or send or verify):
        raise InputError("invalid number: expected code, send or verify")
    if body.times and not (send or verify):
        raise InputError("invalid times: give it together with send or verify")
    if send and not is_refused(send.return_code):
        raise InputError(f"invalid send {body.send}: no send is refused with this code")
    return NumberRule(body.code, send, verify)


def read_advance_ms(fields: dict[str, Any]) -> int:
    """Return the milliseconds by which the clock goes ahead; raise InputError for a negative or too long time."""
    return math.ceil(_validate(_ClockBody, fields).advance_s * 1000)


def read_faults(fields: dict[str, Any]) -> Faults:
    """Return the faults, in the forms of `smscode serve`; raise InputError if one is not valid.

    >>> read_faults({"latency": "20ms", "error_share": 0.1}).error_share
    0.1
    """
    body = _validate(_FaultsBody, fields)
    stall = Stall.parse(body.stall) if body.stall is not None else None
    return Faults(Latency.parse(body.latency), body.error_share, body.drop_share, stall)


def _read_outcome(number: int | None, times: int | None) -> Outcome | None:
    if number is None:
        return None
    return_code = find(number)
    if return_code is None or return_code.kind is Kind.OK:
        raise InputError(f"invalid outcome {number}: expected a return code of a refusal, e.g. {ReturnCode.NO_MONEY:d}")
    return Outcome(return_code, times)


def _validate(model: type[T], fields: dict[str, Any]) -> T:
    try:
        return model.model_validate(fields)
    except ValidationError as problem:
        raise InputError(str(problem)) from None
