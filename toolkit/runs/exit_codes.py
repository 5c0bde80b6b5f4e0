"""The exit codes of the command line, in order of precedence."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """An exit code. If several apply, the first one of this list is used. ``description`` is the condition."""

    description: str

    def __new__(cls, value: int, description: str = "") -> Self:
        """Make a member of a row of the list below."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.description = description
        return code

    DEFECT = 70, "a defect in the toolkit"
    USAGE = 2, "invalid usage or settings"
    NO_ANSWER = 3, "the target never answered: no call got a response from the API"
    REFUSED = 1, "the API refused the call; of a load test, every further call"
    FAILED = (
        99,
        "a threshold or a check failed or had no data, a report has no calls, a search for the capacity did not settle,"
        " a probe was cut off, the run is incomplete, or the target was gone at its end",
    )
    BOTTLENECK = 98, "the load generator was the bottleneck, so nothing passes"
    BUDGET = 97, "the budget ended the run"
    INTERRUPTED = 130, "interrupted by Ctrl-C (SIGINT)"
    TERMINATED = 143, "terminated (SIGTERM)"
    DONE = 0, "none of the above: all thresholds were met and all checks passed"


def worst(codes: Iterable[int | None]) -> ExitCode:
    """Return the exit code that has precedence over the others; None counts as DONE.

    >>> worst([0, ExitCode.BOTTLENECK, ExitCode.FAILED, None])
    <ExitCode.FAILED: 99>
    """
    found = {ExitCode(code or 0) for code in codes}
    return next(code for code in ExitCode if code in found or code is ExitCode.DONE)
