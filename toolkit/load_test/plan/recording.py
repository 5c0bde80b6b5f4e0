"""Read the calls of a recorded run, so that a load test can play them again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.records.parquet import PARQUET_NAME

_COLUMNS = ["endpoint", "started_ns", "wait_ns", "return_code", "mobile_key", "msg_key"]
_RIGHT = (ReturnCode.SUCCESS, ReturnCode.VERIFIED_CODE)


@dataclass(frozen=True, slots=True)
class RecordedVerify:
    """A recorded verify: its time in ns after the first call of the run, and whether the code was right."""

    at_ns: int
    is_right: bool


@dataclass(frozen=True, slots=True)
class RecordedSend:
    """A recorded send.

    Attributes:
        at_ns: its intended start, in ns after the first call of the run.
        mobile_key: the digest of the mobile.
        verifies: the codes that were typed for it.
    """

    at_ns: int
    mobile_key: int
    verifies: tuple[RecordedVerify, ...]


def check_recording(run: Path) -> None:
    """Raise InputError if a run's folder holds no send that can be played again. Only one column is read."""
    if Endpoint.SEND not in _read(run, ["endpoint"])["endpoint"].unique().to_pylist():
        raise InputError(f"invalid --recording '{run}': the run has no send to play again; give the folder of another")


def read_recording(run: Path) -> list[RecordedSend]:
    """Read the sends of a run's folder, ordered by their starts; raise InputError if it has no sends."""
    check_recording(run)
    rows = _read(run, _COLUMNS).to_pylist()
    starts_ns = [row["started_ns"] - row["wait_ns"] for row in rows]
    first_ns = min(starts_ns, default=0)
    verifies: defaultdict[int, list[RecordedVerify]] = defaultdict(list)
    for row, start_ns in zip(rows, starts_ns, strict=True):
        if row["endpoint"] == Endpoint.VERIFY:
            verifies[row["msg_key"]].append(RecordedVerify(start_ns - first_ns, row["return_code"] in _RIGHT))
    sends = [
        RecordedSend(
            start_ns - first_ns,
            row["mobile_key"],
            tuple(sorted(verifies[row["msg_key"]], key=lambda verify: verify.at_ns)),
        )
        for row, start_ns in zip(rows, starts_ns, strict=True)
        if row["endpoint"] == Endpoint.SEND
    ]
    return sorted(sends, key=lambda send: send.at_ns)


def _read(run: Path, columns: list[str]) -> pa.Table:
    path = run / PARQUET_NAME
    if not path.is_file():
        raise InputError(f"invalid --recording '{run}': expected the folder of a finished run, with {PARQUET_NAME}")
    try:
        return pq.read_table(path, columns=columns)
    except (OSError, ValueError, KeyError) as problem:
        reason = str(problem).partition("\n")[0]
        raise InputError(f"invalid --recording '{run}': {PARQUET_NAME} cannot be read: {reason}") from None
