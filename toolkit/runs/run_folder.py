"""Name the files of a run's folder, read run.json, and write the settings of a run that begins.

A load test writes the folder, its parent process and the report read it. The calls are in files that
``toolkit.records`` names.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from glob import glob
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from toolkit.api.errors import InputError
from toolkit.atomic_write import write_atomically
from toolkit.json_numbers import exact
from toolkit.masking import mask
from toolkit.validation import explain, load_json

# Files of a run's folder.
SUMMARY_NAME, SCHEMA = "run.json", 2  # settings, results and verdicts, and the number of the file's schema
ENDED_NAME = "ended.txt"  # first line: a Cause, a blank and the reason; only in a run that ended itself
NOTES_NAME = "notes.txt"  # notes for the user, one a line
EXPECTED_NAME = "expected.json"  # kinds and return codes that do not count as failures in the run
ARRIVALS_STEM = "arrivals"  # arrivals-N.json: arrival counts of worker N, in an open loop
GENERATOR_STEM = "generator"  # generator-N.json: scheduling lag, CPU and calls in flight of process N
BEGUN_STEM = "begun"  # begun-N.bin: calls that process N has begun, see toolkit.runs.begun_calls
CAPACITY_NAME = "capacity.json"  # result of a search for the capacity, whose folder has a run for each trial
PROBE_NAME = "probe.json"  # findings of a probe, whose folder has nothing else
CHECKS_NAME = "checks.json"  # results of the scenario's checks, if it has any; without data until the run has ended
LOG_NAME = "locust.log"  # locust's stderr
STATS_STEM = "locust"  # locust's own statistics; locust adds .json


_MAX_NUMBER = 1e15  # of a setting, so that a time in ns is finite

ANSWERED = "answered"  # the setting target_at_end, if the target answered after the run


class Cause(StrEnum):
    """The reason why a load test ended."""

    INCOMPLETE = "incomplete"  # it is still running, or was killed
    FINISHED = "finished"  # its duration was over
    INTERRUPTED = "interrupted"  # it was stopped from outside
    REFUSED = "refused"  # the API refused calls for a reason that further calls would meet too
    MISSED = "missed"  # a threshold with "abort after" was missed
    BUDGET = "budget"  # the cap on messages or cost was reached


def write_settings(folder: Path, settings: Mapping[str, object]) -> None:
    """Write the masked settings of a run that begins to run.json. A run that is killed keeps them."""
    content = {"schema": SCHEMA, "settings": mask({**settings, "ended": Cause.INCOMPLETE.value})}
    write_atomically(folder / SUMMARY_NAME, json.dumps(exact(content), indent=2, ensure_ascii=False) + "\n")


class _RunFile(BaseModel):
    number: int = Field(SCHEMA, alias="schema")
    settings: dict[str, object] = {}
    checks: list[object] = []


_Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-_MAX_NUMBER, le=_MAX_NUMBER)] | None


class _LoadTestSettings(BaseModel):
    """The settings of a load test that a report computes with."""

    ended: str
    duration_s: _Number = None
    warm_up_s: _Number = None
    rate_per_s: _Number = None
    users: Annotated[int, Field(strict=True)] | None = None
    pacing: dict[str, _Number] | None = None
    generator: dict[str, _Number] | None = None
    unrecorded: dict[str, Annotated[int, Field(strict=True, ge=0)]] | None = None


_EXPECTED_SETTINGS = {
    "": {
        "ended": "a text",
        **dict.fromkeys(("duration_s", "warm_up_s", "rate_per_s"), "a number or null"),
        "users": "a whole number or null",
        **dict.fromkeys(("pacing", "generator"), "an object of numbers, or null"),
        "unrecorded": "an object of whole numbers, or null",
    }
}
_EXPECTED = {"": {"schema": f"the number {SCHEMA}", "settings": "an object", "checks": "a list"}}


def read_settings(folder: Path) -> Mapping[str, object]:
    """Return the settings in a folder's run.json, or an empty mapping if there is no such file.

    Raises InputError if the file isn't JSON, has another form or another schema.
    """
    run = _read(folder)
    return run.settings if run else {}


def has_checks(folder: Path) -> bool:
    """Return whether run.json has results of checks. Raises InputError as ``read_settings``."""
    run = _read(folder)
    return bool(run and run.checks)


def _read(folder: Path) -> _RunFile | None:
    path = folder / SUMMARY_NAME
    if not path.exists():
        return None
    try:
        run = _RunFile.model_validate(load_json(path))
    except ValidationError as error:
        raise InputError(f"{path} is not a run.json: {explain(error, _EXPECTED)}; correct or remove the file") from None
    if "ended" in run.settings:
        try:
            _LoadTestSettings.model_validate(run.settings)
        except ValidationError as error:
            problem = explain(error, _EXPECTED_SETTINGS)
            raise InputError(f"{path}: settings: {problem}; correct or remove the file") from None
    if run.number != SCHEMA:
        raise InputError(f"{path} has schema {run.number}: expected {SCHEMA}; another version wrote it: run it again")
    return run


def read_each_settings(source: Path) -> list[Mapping[str, object]]:
    """Return the settings of the run of a folder or a file; of a folder of runs or a pattern, those of each run.

    They are empty if calls belong to no run.
    """
    found = [source] if source.exists() else map(Path, glob(str(source), recursive=True))
    each: list[Mapping[str, object]] = []
    for folder in dict.fromkeys(it if it.is_dir() else it.parent for it in found):
        inner = [] if (folder / SUMMARY_NAME).exists() else sorted(folder.glob(f"*/{SUMMARY_NAME}"))
        each += [read_settings(it.parent) for it in inner] or [read_settings(folder)]
    return each


def read_expected(folder: Path) -> list[str] | None:
    """Return the kinds and return codes that do not count as failures in a run; None if none were written."""
    path = folder / EXPECTED_NAME
    if not path.exists():
        return None
    outcomes = load_json(path)
    if not isinstance(outcomes, list):
        raise InputError(f"{path} is not a JSON array: {str(outcomes)[:40]!r}; correct or remove the file")
    return [str(it) for it in outcomes]
