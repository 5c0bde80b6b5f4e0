"""Tables: what outcomes, times, verdicts and settings are in a report and in a form, every value already text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from toolkit import number_format
from toolkit.analysis.latency_percentiles import MEASURES, PERCENTILES, column
from toolkit.api.return_codes import Kind
from toolkit.masking import Json
from toolkit.outcome_colours import ERROR, KIND_COLOURS, UNKNOWN
from toolkit.report.model import Badge
from toolkit.runs.thresholds import Status

WHO_CAN_ACT = {
    Kind.OK.value: "nobody has to act",
    Kind.REQUEST.value: "the caller's programmer",
    Kind.ACCOUNT.value: "whoever runs the app's account: keys, permission, balance",
    Kind.RATE.value: "whoever paces the traffic",
    Kind.VERDICT.value: "the person who typed the code",
    Kind.SERVER.value: "whoever runs the service",
    ERROR: "whoever runs the service or the way to it: no answer of the API was read",
    UNKNOWN: "see the vendor: a number beyond the API's table",
}
_KIND_OF_STATUS = {Status.PASS: Kind.OK.value, Status.FAIL: Kind.SERVER.value, Status.NO_DATA: UNKNOWN}


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """One row of the outcome table; ``bar`` is the share, 0..100."""

    endpoint: str
    http_status: str
    return_code: str
    message: str
    meaning: str
    kind: Badge
    calls: str
    share: str
    bar: float


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """One row of the latency table; ``times`` in ms, as ``latency_heads`` names them."""

    endpoint: str
    measure: str
    calls: str
    times: tuple[str, ...]


def outcome_rows(codes: pd.DataFrame) -> Iterator[OutcomeRow]:
    """Word ``analysis.return_codes``, row by row."""
    for row in codes.to_dict("records"):
        known = {str(name): "" if pd.isna(value) else str(value) for name, value in row.items()}
        yield OutcomeRow(
            endpoint=known["endpoint"],
            http_status=known["http_status"] or number_format.MISSING,
            return_code=known["return_code"] or number_format.MISSING,
            message=known["message"] or known["error"] or number_format.MISSING,
            meaning=known["meaning"],
            kind=badge(kind_of(row)),
            calls=f"{row['calls']:,}",
            share=number_format.share(row["share"]),
            bar=round(100 * row["share"], 3),
        )


def kinds(rows: list[OutcomeRow]) -> list[Badge]:
    """Return the kinds that some rows have, in the table's order."""
    present = {row.kind.text for row in rows}
    return [badge(name) for name in WHO_CAN_ACT if name in present]


def kind_of(row: Mapping[Any, Any]) -> str:
    """Return the kind of a row's outcome, UNKNOWN for a code that the table doesn't know, ERROR where there is none."""
    if pd.isna(row["return_code"]):
        return ERROR
    return UNKNOWN if pd.isna(row["kind"]) else str(row["kind"])


def latency_heads() -> list[str]:
    """Name the times of a latency row."""
    return [f"p{percentile:g}" for percentile in PERCENTILES] + ["max"]


def latency_rows(percentiles: pd.DataFrame) -> Iterator[LatencyRow]:
    """Word ``analysis.latency``, row by row."""
    columns = [column(percentile) for percentile in PERCENTILES] + ["max_ms"]
    for row in percentiles.to_dict("records"):
        yield LatencyRow(
            endpoint=row["endpoint"],
            measure=MEASURES[row["measure"]],
            calls=f"{row['calls']:,}",
            times=tuple(number_format.milliseconds(row[name]) for name in columns),
        )


def badge_of(status: Status) -> Badge:
    """Return how a verdict's status looks."""
    return Badge(status.value, colour_of(status))


def colour_of(status: Status) -> str:
    """Return the colour that a verdict's status has."""
    return KIND_COLOURS[_KIND_OF_STATUS[status]]


def setting_rows(settings: Json, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield masked settings as name and text, nested ones under dotted names."""
    if isinstance(settings, dict) and settings:
        for inner, value in settings.items():
            yield from setting_rows(value, f"{name}.{inner}" if name else inner)
    elif name:
        yield name, _setting(settings)


def badge(name: str) -> Badge:
    """Return how a kind looks, ERROR and UNKNOWN among them."""
    return Badge(name, KIND_COLOURS[name], WHO_CAN_ACT[name])


def _setting(value: Json) -> str:
    if value is None or value in ([], {}, ""):
        return number_format.MISSING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
