"""Summary: what run.json holds of a run. Numbers only: how they look is the page's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from toolkit.analysis import latency, outcomes
from toolkit.analysis.calls import duration_ns
from toolkit.report import spending, verdicts
from toolkit.report.claims import Claim, read_claims
from toolkit.report.masking import Json, mask
from toolkit.wire import Endpoint

SCHEMA = 1
RUN_NAME, JUNIT_NAME = "run.json", "junit.xml"

Summary: TypeAlias = dict[str, Json]


def summarize(calls: pd.DataFrame, settings: Mapping[str, object], claims: Sequence[Claim] = ()) -> Summary:
    """Summarize a run as JSON: its settings, masked, per endpoint its rate, outcomes and latency, and what was judged.

    docs/run-json.md tells each field. What can't be known, as a percentile of no calls, is null; nothing is ever NaN.
    """
    duration_s = duration_ns(calls) / 1e9
    codes, percentiles = outcomes.return_codes(calls), latency.percentiles(calls)
    return {
        "schema": SCHEMA,
        "settings": mask(settings),
        "started": _started(calls),
        "ended": _ended(calls),
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
        "spent": spending.spent(codes, settings),
        "verdicts": [verdicts.as_json(verdict) for verdict in verdicts.judge_run(calls, settings)],
        "claims": [dict(claim) for claim in claims],
    }


def write_summary(folder: Path, calls: pd.DataFrame, settings: Mapping[str, object]) -> Summary:
    """Summarize a run into its folder's run.json and return what it holds; the file appears whole or not at all.

    Where the run has thresholds or claims, what became of them is left in junit.xml too.
    """
    claims, judged = read_claims(folder), verdicts.judge_run(calls, settings)
    summary = summarize(calls, settings, claims)
    if judged or claims:
        verdicts.write_junit(folder / JUNIT_NAME, folder.resolve().name, judged, duration_ns(calls) / 1e9, claims)
    partial = folder / f"{RUN_NAME}.part"
    partial.write_text(json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(folder / RUN_NAME)
    return summary


def _started(calls: pd.DataFrame) -> str | None:
    return None if calls.empty else calls["started"].min().isoformat()


def _ended(calls: pd.DataFrame) -> str | None:
    if calls.empty:
        return None
    return pd.Timestamp((calls["started_ns"] + calls["latency_ns"]).max(), unit="ns", tz="UTC").isoformat()


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
