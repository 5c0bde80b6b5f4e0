"""A run of half an hour in which the service failed for some minutes, of one app more than of the other."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.records.call_record import CallRecord, RecordBuilder
from toolkit.records.parquet import write_parquet

START_S = 1_800_000_000  # 2027-01-15 08:00:00 UTC
MOBILES = [f"138{number:04}{number:04}" for number in range(60)]
_CODES = [ReturnCode.SUCCESS, ReturnCode.OUT_OF_FREQ]
_VERDICTS = [ReturnCode.SUCCESS, ReturnCode.INVALID_CODE]
_LASTS_S, _FAILS_S = 1800, range(900, 1200)


def records(name: str = "run") -> Iterator[CallRecord]:
    """Yield two sends a second, some out of frequency, and, of those that were accepted, the verifies."""
    dice = random.Random(3)
    builders = [RecordBuilder.of(name, "host", f"app-{it}", "the-master-secret") for it in "ab"]
    for half in range(2 * _LASTS_S):
        builder, mobile, at_s = builders[half % 2], dice.choice(MOBILES), START_S + half / 2
        is_failing = half // 2 in _FAILS_S and dice.random() < (0.9, 0.1)[half % 2]
        code = ReturnCode.SERVER_ERROR if is_failing else dice.choices(_CODES, [90, 10])[0]
        yield _record(builder, at_s, Endpoint.SEND, code, mobile=mobile, temp_id=1, msg_id=f"msg-{half}")
        if code == ReturnCode.SUCCESS:
            verdict = dice.choices(_VERDICTS, [95, 5])[0]
            yield _record(builder, at_s + 0.2, Endpoint.VERIFY, verdict, msg_id=f"msg-{half}")


def write(folder: Path, **settings: object) -> Path:
    """Make a run's folder of it."""
    folder.mkdir(parents=True)
    calls = list(records(folder.name))
    write_parquet(calls, folder / "calls.parquet")
    summary = {"calls": len(calls), "settings": {"scenario": "soak", **settings}}
    (folder / "run.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def _record(builder: RecordBuilder, at_s: float, endpoint: Endpoint, code: ReturnCode, **about: Any) -> CallRecord:
    answer = ApiResponse(code.http_status, code, code.message)
    return builder.build(endpoint, int(at_s * 1e9), 5_000_000, response=answer, **about)
