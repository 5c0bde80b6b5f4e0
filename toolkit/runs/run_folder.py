"""Name the files of a run's folder, its environment variables and exit codes, and read run.json.

A load test writes the folder, its parent process and the report read it. The calls are in files that
``toolkit.records`` names.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from toolkit.api.errors import InputError
from toolkit.validation import explain

# Environment variables that a parent process sets for the load test.
PREFIX = "SMSCODE_"  # of every variable that the toolkit reads
RUN_DIR = "SMSCODE_RUN_DIR"  # the run's folder; unset: nothing is recorded
MOBILES = "SMSCODE_MOBILES"  # pool of mobiles, see toolkit.load_test.plan.mobile_pools
MAX_MESSAGES = "SMSCODE_MAX_MESSAGES"  # cap on messages, all workers together
MAX_COST = "SMSCODE_MAX_COST"  # cap on cost, a decimal in the price's currency
ALLOW_TARGET = "SMSCODE_ALLOW_TARGET"  # hosts that may be loaded: [a,b]
I_PAY_FOR_THIS = "SMSCODE_I_PAY_FOR_THIS"  # true: the vendor's host may be loaded too
THRESHOLD = "SMSCODE_THRESHOLD"  # thresholds of the run: [a,b]
RATE = "SMSCODE_RATE"  # arrival rate of journeys per second, in an open loop
STAGES = "SMSCODE_STAGES"  # arrival rate over time, see toolkit.load_test.plan.schedule
ARRIVALS = "SMSCODE_ARRIVALS"  # constant or poisson
MAX_CONNECTIONS = "SMSCODE_MAX_CONNECTIONS"  # of each worker, in an open loop
SEED = "SMSCODE_SEED"  # seed of the run's random numbers
RULES = "SMSCODE_RULES"  # rate rules expected of the service, see toolkit.api.rate_rules
SPEED = "SMSCODE_SPEED"  # speed of the sandbox's clock
TRIES = "SMSCODE_TRIES"  # wrong codes allowed per message
FAILURES_PER_HOUR = "SMSCODE_FAILURES_PER_HOUR"  # wrong codes allowed per mobile and hour
TTL_S = "SMSCODE_TTL_S"  # lifetime of a code
LIMIT = "SMSCODE_LIMIT"  # thresholds that define a sustainable rate: [a,b]
RECORDING = "SMSCODE_RECORDING"  # folder of the run whose arrivals are replayed
LIFELINE_FD = "SMSCODE_LIFELINE_FD"  # read end of a pipe whose write end only the parent holds

# Files of a run's folder.
SUMMARY_NAME, SCHEMA = "run.json", 1  # settings, results and verdicts, and the number of the file's schema
ENDED_NAME = "ended.txt"  # first line: a Cause, a blank and the reason; only in a run that ended itself
NOTES_NAME = "notes.txt"  # notes for the user, one a line
ARRIVALS_STEM = "arrivals"  # arrivals-N.json: arrival counts of worker N, in an open loop
CHECKS_NAME = "claims.json"  # results of the scenario's checks, if it has any
LOG_NAME = "locust.log"  # locust's stderr
STATS_STEM = "locust"  # locust's own statistics; locust adds .json

# Exit codes of `smscode load`.
THRESHOLD_MISSED = 99  # a threshold was missed or a check failed
BOTTLENECK = 98  # the load generator was the bottleneck
BUDGET_SPENT = 97  # the cap on messages or cost was reached


class Cause(StrEnum):
    """The reason why a load test ended."""

    FINISHED = "finished"  # its duration was over
    INTERRUPTED = "interrupted"  # it was stopped from outside
    REFUSED = "refused"  # the API refused calls for a reason that further calls would meet too
    MISSED = "missed"  # a threshold with "abort after" was missed
    BUDGET = "budget"  # the cap on messages or cost was reached


class _RunFile(BaseModel):
    number: int = Field(SCHEMA, alias="schema")
    settings: dict[str, object] = {}


_EXPECTED = {"": {"schema": f"the number {SCHEMA}", "settings": "an object"}}


def read_settings(folder: Path) -> Mapping[str, object]:
    """Return the settings in a folder's run.json, or an empty mapping if there is no such file.

    Raises InputError if the file isn't JSON, has another form or another schema.
    """
    path = folder / SUMMARY_NAME
    if not path.exists():
        return {}
    try:
        run = _RunFile.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise InputError(f"{path} is not a run.json: {explain(error, _EXPECTED)}; correct or remove the file") from None
    except ValueError as problem:
        raise InputError(f"{path} is not JSON: {problem}; correct or remove the file") from problem
    if run.number != SCHEMA:
        raise InputError(f"{path} has schema {run.number}: expected {SCHEMA}; it was written by another version")
    return run.settings
