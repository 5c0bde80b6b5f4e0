"""Summary: what run.json holds of a run. Numbers only: how they look is the page's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from toolkit.analysis import latency, outcomes
from toolkit.report.masking import Json, mask
from toolkit.wire import Endpoint

SCHEMA = 1
RUN_NAME = "run.json"

Summary: TypeAlias = dict[str, Json]


def summarize(calls: pd.DataFrame, settings: Mapping[str, object]) -> Summary:
    """Summarize a run as JSON: its settings, masked, and per endpoint its rate, outcomes and latency.

    {"schema", "settings", "started" (ISO 8601, UTC), "duration_s", "calls", "endpoints": {"send" and "verify":
    {"calls", "rate_per_s", "return_codes": {number: calls}, "errors": {name: calls}, "latency_ms" and "caller_ms":
    {"p50", "p90", "p95", "p99", "p99.9", "max"}}}}. A rate is calls by the seconds from the run's first start to its
    last end. What can't be known, as a percentile of no calls, is null; nothing is ever NaN.
    """
    duration_s = duration_ns(calls) / 1e9
    codes, percentiles = outcomes.return_codes(calls), latency.percentiles(calls)
    return {
        "schema": SCHEMA,
        "settings": mask(settings),
        "started": _started(calls),
        "duration_s": duration_s,
        "calls": len(calls),
        "endpoints": {
            endpoint.value: _endpoint(
                codes[codes["endpoint"] == endpoint.value],
                percentiles[percentiles["endpoint"] == endpoint.value],
                duration_s,
            )
            for endpoint in Endpoint
        },
    }


def write_summary(folder: Path, calls: pd.DataFrame, settings: Mapping[str, object]) -> Summary:
    """Summarize a run into its folder's run.json and return what it holds; the file appears whole or not at all."""
    summary = summarize(calls, settings)
    partial = folder / f"{RUN_NAME}.part"
    partial.write_text(json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(folder / RUN_NAME)
    return summary


def duration_ns(calls: pd.DataFrame) -> int:
    """Return how long a run took, from its first start to its last end; 0 for no calls."""
    if calls.empty:
        return 0
    return int((calls["started_ns"] + calls["latency_ns"]).max() - calls["started_ns"].min())


def _started(calls: pd.DataFrame) -> str | None:
    return None if calls.empty else calls["started"].min().isoformat()


def _endpoint(codes: pd.DataFrame, percentiles: pd.DataFrame, duration_s: float) -> Summary:
    calls = int(codes["calls"].sum())
    return {
        "calls": calls,
        "rate_per_s": calls / duration_s if duration_s else None,
        "return_codes": _sums(codes, "return_code"),
        "errors": _sums(codes, "error"),
        **{measure: _latency(percentiles[percentiles["measure"] == measure]) for measure in latency.MEASURES},
    }


def _sums(codes: pd.DataFrame, by: str) -> Summary:
    sums = codes.groupby(by, observed=True)["calls"].sum()
    return {str(name): int(calls) for name, calls in sums.items()}


def _latency(percentiles: pd.DataFrame) -> Summary:
    names = {f"p{percentile:g}": latency.column(percentile) for percentile in latency.PERCENTILES} | {"max": "max_ms"}
    return {name: float(percentiles[column].iloc[0]) if len(percentiles) else None for name, column in names.items()}
