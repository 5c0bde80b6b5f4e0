"""Claims: what a scenario held of the service, and whether it stands, as the load test left it in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from toolkit import runs
from toolkit.errors import InputError
from toolkit.report import tables, wording
from toolkit.thresholds import Status

Claim: TypeAlias = Mapping[str, Any]
"""{"claim", "says", "status": PASS, FAIL or NO_DATA, "figures": {name: number, null, or more such by their names}}."""


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A claim as the page shows it; ``figures`` by their names."""

    status: str
    colour: str
    says: str
    figures: tuple[tuple[str, str], ...]


def read_claims(run: Path) -> list[Claim]:
    """Return the claims of a run's folder, none where it has none; raise InputError for a file that isn't JSON."""
    path = run / runs.CLAIMS_NAME
    if not path.exists():
        return []
    try:
        claims: list[Claim] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise InputError(f"{path} is not JSON, mend or remove it: {problem}") from problem
    return claims


def claim_rows(claims: Iterable[Claim]) -> Iterator[ClaimRow]:
    """Word claims."""
    for claim in claims:
        status = Status(claim["status"])
        yield ClaimRow(status, tables.colour_of(status), claim["says"], tuple(figure_rows(claim["figures"])))


def figure_rows(figures: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Yield figures as name and text, those within another under both names."""
    for name, value in figures.items():
        words = f"{within} {name.replace('_', ' ')}".strip()
        if isinstance(value, Mapping):
            yield from figure_rows(value, words)
        else:
            yield words, wording.NONE if value is None else f"{value:,.10g}"
