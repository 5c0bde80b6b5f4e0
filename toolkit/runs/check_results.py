"""Claims: what a scenario held of the service, and whether it stands, as the load test left it in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from toolkit import number_format
from toolkit.api.errors import InputError
from toolkit.masking import mask
from toolkit.runs import run_folder
from toolkit.runs.thresholds import Status

Claim: TypeAlias = Mapping[str, Any]
"""{"claim", "says", "status": PASS, FAIL or NO_DATA, "figures": {name: number, null, or more such by their names}}."""


def read_claims(run: Path) -> list[Claim]:
    """Return the claims of a run's folder, none where it has none; raise InputError for a file that isn't JSON."""
    path = run / run_folder.CLAIMS_NAME
    if not path.exists():
        return []
    try:
        claims: Any = mask(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as problem:
        raise InputError(f"{path} is not JSON, mend or remove it: {problem}") from problem
    if not isinstance(claims, list) or not all(map(_is_claim, claims)):
        raise InputError(f"{path} holds other things than claims: mend or remove it")
    return claims


def _is_claim(given: Any) -> bool:
    if not (isinstance(given, dict) and {"claim", "says", "status", "figures"} <= given.keys()):
        return False
    is_worded = isinstance(given["claim"], str) and isinstance(given["says"], str)
    return is_worded and given["status"] in list(Status) and _is_figures(given["figures"])


def _is_figures(given: Any) -> bool:
    if isinstance(given, dict):
        return all(map(_is_figures, given.values()))
    return given is None or isinstance(given, int | float)


def figure_rows(figures: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Yield figures as name and text, those within another under both names."""
    for name, value in figures.items():
        words = f"{within} {name.replace('_', ' ')}".strip()
        if isinstance(value, Mapping):
            yield from figure_rows(value, words)
        else:
            yield words, number_format.MISSING if value is None else f"{value:,.10g}"
