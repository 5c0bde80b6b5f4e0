"""Show the figures of calls as HTML tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from toolkit import number_format
from toolkit.api.return_codes import ReturnCode
from toolkit.forms.parts.call_filter import CallFigures
from toolkit.forms.widgets.templates import render
from toolkit.outcome_colours import CODE_UNKNOWN, Outcome, colours_of
from toolkit.report import result_tables


def facts_html(figures: CallFigures) -> str:
    """Return the HTML of the key figures."""
    total = int(figures.codes["calls"].sum())
    good = int(figures.codes.loc[figures.codes["return_code"] == ReturnCode.SUCCESS, "calls"].sum())
    per_s = total / figures.duration_s if figures.duration_s else None
    factor, unit = number_format.rate_scale(per_s)
    facts = [
        ("Calls", f"{total:,}", ""),
        ("Rate", number_format.rate(per_s and per_s * factor), f"/{unit[0]}"),
        ("OK", number_format.share(good / total if total else None), ""),
        ("Duration", number_format.duration(figures.duration_s), ""),
    ]
    return render("facts", facts=facts)


def codes_html(codes: pd.DataFrame) -> str:
    """Return the HTML table of ``analysis.return_codes``."""
    rows = zip(
        result_tables.outcome_rows(codes),
        (colours_of(it) for it in map(_outcome, codes.to_dict("records"))),
        strict=True,
    )
    return render("codes", rows=list(rows))


def latency_html(latency: pd.DataFrame) -> str:
    """Return the HTML table of ``analysis.latency``."""
    return render("latency", heads=result_tables.latency_headers(), rows=list(result_tables.latency_rows(latency)))


def _outcome(row: Mapping[Any, Any]) -> Outcome:
    if not pd.isna(row["return_code"]):
        return int(row["return_code"])
    return CODE_UNKNOWN if pd.isna(row["error"]) else str(row["error"])
