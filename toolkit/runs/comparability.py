"""Decide whether the figures of a run can be compared with those of another run.

Two runs of one service differ for many reasons that are not the service: another load, a load generator that was the
bottleneck, an early end. The target's address, the machine and the seed are not compared: a new version often has
another address, and CI runs each job on another machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.runs.run_folder import ANSWERED, Cause

LOAD_SETTINGS = (
    *("scenario", "users", "rate_per_s", "stages", "arrivals", "duration_s", "max_connections", "workers"),
    *("warm_up_s", "timeout_s", "connect_timeout_s", "cut_off_timeout_s", "mobiles", "recording", "own_options"),
    *("rules", "speed", "tries", "ttl_s", "expected"),
)
"""The settings of run.json that must be equal: the load, its data, and the expected service."""


def unusable_reason(settings: Mapping[str, object]) -> str:
    """Return why a run's figures cannot be compared with any other run's; "" if they can.

    Args:
        settings: the settings of run.json. Calls that are not of a load test have none, and are complete.

    >>> unusable_reason({"ended": "finished", "bottleneck": "late: 30 % of the arrivals"})
    'the load generator was the bottleneck'
    """
    ended = settings.get("ended")
    if ended == Cause.INCOMPLETE:
        return "incomplete: it was killed or is still running"
    if ended not in (None, Cause.FINISHED):
        because = settings.get("ended_because")
        return f"ended early ({ended}{f': {because}' if because else ''})"
    if settings.get("bottleneck"):
        return "the load generator was the bottleneck"
    if settings.get("unrecorded"):
        return "a killed process has left calls without a record"
    if settings.get("saturation"):
        return "saturated: arrivals waited for a connection"
    if (at_end := settings.get("target_at_end")) not in (None, ANSWERED):
        return f"the target could not be reached at the end: {at_end}"
    return ""


def different_settings(settings: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Return the settings of the load in which two runs differ, each with both values.

    >>> different_settings({"scenario": "soak", "rate_per_s": 50.0}, {"scenario": "soak", "rate_per_s": 100.0})
    ['rate_per_s 50.0, not 100.0']
    """
    pairs = [(name, settings.get(name), other.get(name)) for name in LOAD_SETTINGS]
    return [f"{name} {_text(value)}, not {_text(its)}" for name, value, its in pairs if _text(value) != _text(its)]


def _text(value: object) -> str:
    """Return the text of a setting, the same for a setting that an older version did not write and an unset one."""
    if not value:  # also 0, as a warm-up of no seconds is none
        return "unset"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
