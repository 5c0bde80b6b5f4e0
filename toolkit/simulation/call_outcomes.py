"""Number the outcomes of calls, so that arrays of calls hold one byte for each."""

from __future__ import annotations

import numpy as np

from toolkit.api.return_codes import ReturnCode
from toolkit.records.call_record import Failure

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
    ReturnCode.NO_MONEY,
    ReturnCode.SERVER_ERROR,
    *Failure,
)
"""The outcome of each number."""

SUCCESS, AUTH_FAILED, MISSING_MOBILE, INVALID_MOBILE = 0, 1, 2, 3
OUT_OF_FREQ, INVALID_CODE, EXPIRED_CODE, VERIFIED_CODE, INVALID_TEMP_ID, NO_MONEY, SERVER_ERROR = 4, 5, 6, 7, 8, 9, 10
FIRST_FAILURE = SERVER_ERROR + 1  # this number and larger ones: no answer of the API was read

_BAD_GATEWAY = 502  # the answer of a proxy in front of the API, which is no answer of the API

RETURN_CODE = np.array([it if isinstance(it, ReturnCode) else 0 for it in TABLE], np.int64)
"""The return code of each number, 0 for none."""
HTTP_STATUS = np.array(
    [it.http_status if isinstance(it, ReturnCode) else _BAD_GATEWAY if it is Failure.PROTOCOL else 0 for it in TABLE],
    np.int16,
)
"""The HTTP status of each number, 0 for none."""
