"""Outcomes: what an answer, or the lack of one, is in a record. Calls hold its number in this table."""

from __future__ import annotations

import numpy as np

from toolkit.api.return_codes import ReturnCode
from toolkit.records.call_record import Failure

BAD_GATEWAY = 502  # what a proxy says in place of the API

TABLE: tuple[ReturnCode | Failure, ...] = (
    ReturnCode.SUCCESS,
    ReturnCode.AUTH_FAILED,
    ReturnCode.MISSING_MOBILE,
    ReturnCode.INVALID_MOBILE,
    ReturnCode.OUT_OF_FREQ,
    ReturnCode.INVALID_CODE,
    ReturnCode.EXPIRED_CODE,
    ReturnCode.VERIFIED_CODE,
    ReturnCode.INVALID_TEMP_ID,
    ReturnCode.SERVER_ERROR,
    *Failure,
)


def number(outcome: ReturnCode | Failure) -> int:
    """Return an outcome's number in the table."""
    return TABLE.index(outcome)


SUCCESS, AUTH_FAILED, MISSING_MOBILE, INVALID_MOBILE = 0, 1, 2, 3
OUT_OF_FREQ, INVALID_CODE, EXPIRED_CODE, VERIFIED_CODE, INVALID_TEMP_ID, SERVER_ERROR = 4, 5, 6, 7, 8, 9
FIRST_FAILURE = SERVER_ERROR + 1  # from here on nothing of the API's was read


def _status(outcome: ReturnCode | Failure) -> int:
    if isinstance(outcome, ReturnCode):
        return outcome.http_status
    return BAD_GATEWAY if outcome is Failure.PROTOCOL else 0


HTTP_STATUS = np.array([_status(it) for it in TABLE], np.int16)  # 0: none
RETURN_CODE = np.array([it if isinstance(it, ReturnCode) else 0 for it in TABLE], np.int64)  # 0: none
