"""Rows of outcomes, latency and settings as text, for the report and the forms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from toolkit import number_format
from toolkit.analysis.latency_percentiles import MEASURES, PERCENTILES, percentile_column
from toolkit.api.return_codes import Kind
from toolkit.masking import Json
from toolkit.outcome_colours import ERROR, KIND_COLOURS, UNKNOWN
from toolkit.report.model import INCONCLUSIVE, Badge
from toolkit.runs.thresholds import Status

WHO_CAN_ACT = {
    Kind.OK.value: "nobody: the call succeeded",
    Kind.REQUEST.value: "the developer of the client",
    Kind.ACCOUNT.value: "the owner of the app's account: keys, permission, balance",
    Kind.RATE.value: "the owner of the traffic: it is above the rate limits",
    Kind.VERDICT.value: "the person who typed the code",
    Kind.SERVER.value: "the operator of the service",
    ERROR: "the operator of the service or the network: no response of the API was read",
    UNKNOWN: "the vendor: the return code is unknown, or not in the API's table",
}

_KIND_OF_STATUS: dict[str, str] = {
    Status.PASS: Kind.OK.value,
    Status.FAIL: Kind.SERVER.value,
    Status.NO_DATA: UNKNOWN,
    INCONCLUSIVE: UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """A row of the outcome table. ``bar`` is the share, 0..100."""

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
    """A row of the latency table. ``times`` are in ms and in the order of ``latency_headers``."""

    endpoint: str
    measure: str
    calls: str
    times: tuple[str, ...]


def outcome_rows(codes: pd.DataFrame) -> Iterator[OutcomeRow]:
    """Yield the rows of ``analysis.return_codes`` as text."""
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
            share=number_format.share(row["calls_ratio"]),
            bar=round(100 * row["calls_ratio"], 3),
        )


def kinds(rows: list[OutcomeRow]) -> list[Badge]:
    """Return a badge for each kind that the rows have, in a fixed order."""
    present = {row.kind.text for row in rows}
    return [badge(name) for name in WHO_CAN_ACT if name in present]


def kind_of(row: Mapping[Any, Any]) -> str:
    """Return the kind of a row's outcome: UNKNOWN if the code or its kind is unknown, ERROR without a response."""
    if not pd.isna(row["error"]):
        return ERROR
    return UNKNOWN if pd.isna(row["kind"]) else str(row["kind"])


def latency_headers() -> list[str]:
    """Return the headers of a latency row's times."""
    return [f"p{percentile:g}" for percentile in PERCENTILES] + ["max"]


def latency_rows(percentiles: pd.DataFrame) -> Iterator[LatencyRow]:
    """Yield the rows of ``analysis.latency`` as text."""
    columns = [percentile_column(percentile) for percentile in PERCENTILES] + ["max_ms"]
    for row in percentiles.to_dict("records"):
        yield LatencyRow(
            endpoint=row["endpoint"],
            measure=MEASURES[row["measure"]],
            calls=f"{row['calls']:,}",
            times=tuple(number_format.milliseconds(row[name]) for name in columns),
        )


def badge(kind: str) -> Badge:
    """Return the badge of a kind, ERROR or UNKNOWN."""
    return Badge(kind, KIND_COLOURS[kind], WHO_CAN_ACT[kind])


def status_badge(status: Status | str) -> Badge:
    """Return the badge of a verdict's status, or of the verdict on a run."""
    return Badge(str(status), KIND_COLOURS[_KIND_OF_STATUS[status]])


def setting_rows(settings: Json, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and value of masked settings as text.

    >>> list(setting_rows({"cap": {"messages": 5, "cost": None}, "busy_ratio": 0.006567437586166899}))
    [('cap.messages', '5'), ('cap.cost', '–'), ('busy_ratio', '0.00656744')]
    """
    if isinstance(settings, dict) and settings:
        for inner, value in settings.items():
            yield from setting_rows(value, f"{name}.{inner}" if name else inner)
    elif name and (settings is None or settings in ([], {}, "")):
        yield name, number_format.MISSING
    elif name and isinstance(settings, float):
        yield name, f"{settings:.6g}"
    elif name:
        yield name, settings if isinstance(settings, str) else json.dumps(settings, ensure_ascii=False)
