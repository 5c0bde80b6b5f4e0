"""Find the slowest calls whose traces a tracing backend has."""

from __future__ import annotations

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import IntoCalls, collect, lazy
from toolkit.analysis.latency_percentiles import CALLER, SERVER, TIME_NS
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import NS_PER_MS, to_utc

_CALLER_NS = "caller_ns"


@returns_result
def slowest_traced_calls(calls: IntoCalls, most: int = 10) -> pd.DataFrame:
    """Return the traced calls whose callers waited longest, the slowest first.

    Args:
        calls: the result of ``read``, or a frame.
        most: the number of calls.

    Returns one row per call. Columns:
        started (datetime64[ns, UTC]): start.
        endpoint, error (category), return_code (Int64): the outcome.
        caller_ms, latency_ms (float64, ms): the caller's time, and the part of the service in it.
        trace_id (string): id of the trace.

    Raises InputError if ``calls`` isn't a frame of calls.

    Example: ``slowest_traced_calls(read("runs/1"))["trace_id"]``.
    """
    traced = lazy(calls).filter(~nw.col("trace_id").is_null(), ~nw.col("latency_ns").is_null())
    names = ["started_ns", "endpoint", "return_code", "error", "latency_ns", "trace_id"]
    timed = traced.with_columns(TIME_NS[CALLER].alias(_CALLER_NS)).select(*names, _CALLER_NS)
    slowest = timed.sort(_CALLER_NS, "started_ns", descending=[True, False]).head(most)
    found = collect(slowest).sort_values([_CALLER_NS, "started_ns"], ascending=[False, True], ignore_index=True)
    times = {CALLER: found[_CALLER_NS] / NS_PER_MS, SERVER: found["latency_ns"] / NS_PER_MS}
    found = found.assign(started=to_utc(found["started_ns"]), **times)
    return found[["started", "endpoint", "return_code", "error", CALLER, SERVER, "trace_id"]]
