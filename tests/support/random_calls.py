"""Many calls of all sorts, drawn at random, as one Parquet file: for what must be the same whatever the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.api.return_codes import kind_of
from toolkit.records.call_record import hash64
from toolkit.records.parquet import schema

NOON_NS = 1_793_966_400_000_000_000  # 2026-11-06 12:00:00 UTC
_DAY_NS = 86_400_000_000_000
_CODES = [50000, 50009, 50010, 50011, 50014, 50019, 50999, None]
_SHARES = [0.75, 0.06, 0.06, 0.02, 0.02, 0.03, 0.02, 0.04]


def write_random_calls(path: Path, calls: int, seed: int = 1) -> None:
    """Write so many calls of two days; each accepted send has a verify or two, of which some succeed."""
    draw = np.random.default_rng(seed)
    sends = calls // 2
    codes = draw.choice(len(_CODES), calls, p=_SHARES)
    is_send = np.arange(calls) < sends
    accepted = is_send & (codes == 0)
    ids = np.where(accepted, np.arange(calls), -1)
    ids[sends:] = draw.choice(np.flatnonzero(accepted), calls - sends)
    code = [_CODES[place] for place in codes]
    names = [None if it < 0 else f"m{it:09}" for it in ids]
    mobiles = draw.integers(0, 5_000, calls)
    columns = {
        "started_ns": NOON_NS + draw.integers(0, 2 * _DAY_NS, calls),
        "run": np.full(calls, "r1"),
        "source": draw.choice(["a", "b", "c"], calls),
        "endpoint": np.where(is_send, "send", "verify"),
        "http_status": [None if it is None else 200 if it == 50000 else 403 for it in code],
        "return_code": code,
        "kind": [it and kind_of(it) for it in code],
        "latency_ns": draw.lognormal(14, 1, calls).astype("int64"),
        "wait_ns": np.where(draw.random(calls) < 0.1, draw.integers(0, 10**8, calls), 0),
        "mobile_key": [int(it) * 2**50 + 1 if send else None for it, send in zip(mobiles, is_send, strict=True)],
        "prefix": [f"138{1000 + it % 400}" if send else None for it, send in zip(mobiles, is_send, strict=True)],
        "temp_id": [1 + int(it) % 3 if send else None for it, send in zip(mobiles, is_send, strict=True)],
        "msg_id": names,
        "msg_key": [hash64(it) for it in names],
        "app_key": draw.choice(["app-1", "app-2"], calls),
        "segments": [1 + int(it) % 2 if ok else None for it, ok in zip(mobiles, accepted, strict=True)],
        "error": [None if it is not None else "timeout" for it in code],
        "request_id": [None if it in (50000, None) else f"r{place}" for place, it in enumerate(code)],
        "message": [None] * calls,
        "trace_id": [None] * calls,
    }
    arrays = [pa.array(columns[it.name]).cast(_plain(it.type)).cast(it.type) for it in schema()]
    pq.write_table(pa.table(arrays, schema()), path)


def _plain(type_: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_dictionary(type_) else type_
