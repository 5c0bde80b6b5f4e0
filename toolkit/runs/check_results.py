"""Read the results of a scenario's checks, as a load test writes them to checks.json in the run's folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from toolkit import number_format
from toolkit.api.errors import InputError
from toolkit.masking import mask
from toolkit.runs import run_folder
from toolkit.runs.thresholds import Status, without_pass
from toolkit.validation import explain, load_json

_EXPECTED = {
    "": {
        "name": "the name of a check, e.g. frequency_limits",
        "description": "the property that the check tests, as a sentence",
        "status": ", ".join(Status),
        "reason": "the result, as a sentence",
        "parts": "a list of objects with name, status and reason",
        "figures": "an object of numbers, of nulls and of more such objects",
    }
}


def check_figures(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures; raise ValueError if one is not a finite number, None, or a dictionary of figures.

    >>> check_figures({"responses": 74, "wrong": {"50010 instead of 50000": 2}})
    {'responses': 74, 'wrong': {'50010 instead of 50000': 2}}
    """
    for name, value in figures.items():
        if isinstance(value, dict):
            check_figures(value)
        elif not (value is None or (isinstance(value, int | float) and math.isfinite(value))):
            raise ValueError(f"figure {name!r} is not a finite number")
    return figures


class PartRecord(BaseModel):
    """The result of a part of a check, such as one of several rate rules."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: Status
    reason: str


class CheckRecord(BaseModel):
    """The result of one check. The names of the fields are the file's keys.

    Attributes:
        name: name of the check.
        description: the property that the check tests, as a sentence.
        status: PASS, FAIL or NO_DATA.
        reason: the result with its numbers, as a sentence; "" in files of earlier versions.
        parts: the results of the parts of the check, if it has any.
        figures: measured numbers by name; a value may be None, or an object of more figures.

    """

    model_config = ConfigDict(frozen=True)

    name: str
    description: str
    status: Status
    reason: str = ""
    parts: tuple[PartRecord, ...] = ()
    figures: Annotated[dict[str, Any], AfterValidator(check_figures)]

    def inconclusive(self) -> CheckRecord:
        """Return the result in an inconclusive run: NO_DATA replaces PASS, in the parts too."""
        parts = tuple(part.model_copy(update={"status": without_pass(part.status)}) for part in self.parts)
        return self.model_copy(update={"status": without_pass(self.status), "parts": parts})

    @property
    def finding(self) -> str:
        """The reason; for files of earlier versions, which have none, the tested property."""
        return self.reason or self.description


def read_check_results(folder: Path) -> list[CheckRecord]:
    """Return the results of a run's checks, masked; an empty list if the run has none.

    Raises InputError if checks.json isn't JSON or has another form, and if it is missing although run.json has results.
    """
    path = folder / run_folder.CHECKS_NAME
    if not path.exists():
        if run_folder.has_checks(folder):
            raise InputError(f"{path} is missing, but {run_folder.SUMMARY_NAME} lists checks: restore the file")
        return []
    try:
        return TypeAdapter(list[CheckRecord]).validate_python(mask(load_json(path)))
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, _EXPECTED)}; correct or remove the file") from None


def figure_rows(figures: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and text of each figure; the name of a nested figure begins with that of its object.

    >>> list(figure_rows({"over_admissions": 1204, "1/60s": {"first_accepted_ms": None}}))
    [('over admissions', '1,204'), ('1/60s first accepted ms', '–')]
    """
    for name, value in figures.items():
        words = f"{within} {name.replace('_', ' ')}".strip()
        if isinstance(value, Mapping):
            yield from figure_rows(value, words)
        else:
            yield words, number_format.MISSING if value is None else f"{value:,.10g}"
