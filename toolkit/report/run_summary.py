"""Summary: what run.json holds of a run. Numbers only: how they look is the page's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from toolkit.analysis import duration_s, latency, return_codes, span
from toolkit.analysis.calls_table import IntoCalls
from toolkit.analysis.latency_percentiles import MEASURES, PERCENTILES, column
from toolkit.api.wire import Endpoint
from toolkit.atomic_write import write_atomically
from toolkit.masking import Json, mask
from toolkit.report import spending, verdicts
from toolkit.report.model import Judged
from toolkit.report.table_columns import masked
from toolkit.runs import run_folder
from toolkit.runs.check_results import Claim, read_claims
from toolkit.runs.thresholds import Verdict

JUNIT_NAME = "junit.xml"

Summary: TypeAlias = dict[str, Json]


def summarize(calls: IntoCalls, settings: Mapping[str, object], claims: Sequence[Claim] = ()) -> Summary:
    """Summarize a run as JSON: its settings, masked, per endpoint its rate, outcomes and latency, and what was judged.

    docs/run-json.md tells each field. What can't be known, as a percentile of no calls, is null; nothing is ever NaN.
    """
    return _summarize(calls, settings, claims, verdicts.judge_run(calls, settings))


def write_summary(folder: Path, calls: IntoCalls, settings: Mapping[str, object]) -> Summary:
    """Summarize a run into its folder's run.json and return what it holds; the file appears whole or not at all.

    Where the run has thresholds or claims, what became of them is left in junit.xml too.
    """
    claims, judged = read_claims(folder), verdicts.judge_run(calls, settings)
    summary = _summarize(calls, settings, claims, judged)
    if judged or claims:
        name = folder.resolve().name
        text = verdicts.junit(name, [Judged(name, it) for it in judged], duration_s(calls), claims)
        write_atomically(folder / JUNIT_NAME, text)
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / run_folder.SUMMARY_NAME, text)
    return summary


def _summarize(
    calls: IntoCalls, settings: Mapping[str, object], claims: Sequence[Claim], judged: Sequence[Verdict]
) -> Summary:
    took_s, codes, percentiles, within = duration_s(calls), masked(return_codes(calls)), latency(calls), span(calls)
    return {
        "schema": run_folder.SCHEMA,
        "settings": mask(settings),
        "started": within and within[0].isoformat(),
        "ended": within and within[1].isoformat(),
        "duration_s": took_s,
        "calls": int(codes["calls"].sum()),
        "endpoints": {
            endpoint.value: _endpoint(
                codes[codes["endpoint"] == endpoint.value],
                percentiles[percentiles["endpoint"] == endpoint.value],
                took_s,
            )
            for endpoint in Endpoint
        },
        "spent": spending.spent(codes, settings),
        "verdicts": [verdicts.as_json(verdict) for verdict in judged],
        "claims": [dict(claim) for claim in claims],
    }


def _endpoint(codes: pd.DataFrame, percentiles: pd.DataFrame, took_s: float) -> Summary:
    calls = int(codes["calls"].sum())
    return {
        "calls": calls,
        "rate_per_s": calls / took_s if took_s else None,
        "return_codes": _sums(codes, "return_code"),
        "errors": _sums(codes, "error"),
        **{measure: _latency(percentiles[percentiles["measure"] == measure]) for measure in MEASURES},
    }


def _sums(codes: pd.DataFrame, by: str) -> Summary:
    sums = codes.groupby(by, observed=True)["calls"].sum()
    return {str(name): int(calls) for name, calls in sums.items()}


def _latency(percentiles: pd.DataFrame) -> Summary:
    names = {f"p{percentile:g}": column(percentile) for percentile in PERCENTILES} | {"max": "max_ms"}
    return {name: float(percentiles[it].iloc[0]) if len(percentiles) else None for name, it in names.items()}
