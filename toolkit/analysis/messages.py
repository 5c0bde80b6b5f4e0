"""Messages: what an accepted send made, which its verifies name by ``msg_key``."""

from __future__ import annotations

import narwhals as nw

from toolkit.analysis.calls_table import Lazy, different
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint

IS_SEND = nw.col("endpoint") == Endpoint.SEND.value
IS_VERIFY = nw.col("endpoint") == Endpoint.VERIFY.value
IS_SUCCESS = nw.col("return_code") == int(ReturnCode.SUCCESS)


def accepted(table: Lazy) -> Lazy:
    """Return the sends that were accepted."""
    return table.filter(IS_SEND, IS_SUCCESS)


def verified(table: Lazy) -> Lazy:
    """Return the ``msg_key`` of each message whose code was typed right; one row per message."""
    return different(table.filter(IS_VERIFY, IS_SUCCESS, ~nw.col("msg_key").is_null()), "msg_key")
