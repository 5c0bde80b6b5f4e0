"""Show the rate limits that ``analysis.limits`` infers from a log as text, and select those that can be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from toolkit import number_format
from toolkit.api.rate_rules import Rule

_UNEXPLAINED = "none"


@dataclass(frozen=True, slots=True)
class InferredRow:
    """One row of ``analysis.limits`` as text."""

    rule: str
    between: str
    shape: str
    refusals: str
    broken_by: str
    note: str


def inferred_rows(found: pd.DataFrame) -> Iterator[InferredRow]:
    """Yield the rows of ``analysis.limits`` as text; the row of unexplained refusals only if there are any."""
    for row in found.to_dict("records"):
        known = not pd.isna(row["max_sends"]) and not pd.isna(row["window_s"])
        if not known and not row["refusals"]:
            continue
        yield InferredRow(
            f"{row['max_sends']}/{row['window_s']:g}s" if known else _UNEXPLAINED,
            f"{_seconds(row['window_low_s'])} to {_seconds(row['window_high_s'])}" if known else number_format.MISSING,
            number_format.MISSING if pd.isna(row["window_shape"]) else str(row["window_shape"]),
            f"{row['refusals']:,}",
            f"{row['broken_by']:,}",
            "" if pd.isna(row["note"]) else str(row["note"]),
        )


def inferred_rules(found: pd.DataFrame) -> tuple[Rule, ...]:
    """Return the inferred rules, rounded to whole seconds, without duplicates."""
    known = found.dropna(subset=["max_sends", "window_s"])
    pairs = dict.fromkeys(zip(known["max_sends"], known["window_s"].round(), strict=True))
    return tuple(Rule(int(count), int(window_s)) for count, window_s in pairs if window_s >= 1)


def _seconds(value: float) -> str:
    return number_format.MISSING if pd.isna(value) else f"{value:,.3g} s"
