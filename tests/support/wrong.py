"""Services that break what a scenario claims."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from support.api import Api
from support.windows import Service

from toolkit.api import wire
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint, Refusal, ServerResponse


class Limited(Api):
    """Limits the sends to each mobile by a simulated service of its own."""

    def __init__(self, limit: Callable[[], Service]) -> None:
        super().__init__()
        self._limits: defaultdict[str, Service] = defaultdict(limit)

    def _decide(self, endpoint: Endpoint, msg_id: str, fields: dict[str, str]) -> tuple[ReturnCode, ServerResponse]:
        if endpoint is Endpoint.SEND and not self._limits[fields["mobile"]](time.time_ns()):
            return ReturnCode.OUT_OF_FREQ, wire.refusal_response(Refusal(ReturnCode.OUT_OF_FREQ))
        return super()._decide(endpoint, msg_id, fields)


class Amnesiac(Api):
    """Forgets at once what was verified."""

    def _decide(self, endpoint: Endpoint, msg_id: str, fields: dict[str, str]) -> tuple[ReturnCode, ServerResponse]:
        self.verified.clear()
        return super()._decide(endpoint, msg_id, fields)


class Denying(Api):
    """Takes every code for one that was verified already."""

    def _decide(self, endpoint: Endpoint, msg_id: str, fields: dict[str, str]) -> tuple[ReturnCode, ServerResponse]:
        self.verified.add(msg_id)
        return super()._decide(endpoint, msg_id, fields)
