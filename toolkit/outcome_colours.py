"""Name the outcomes of calls and colour them alike in every chart, table and form.

An outcome is a return code, or the name of the error of a call that ended without an answer of the API. Its colour is
that of its kind.
"""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.api.return_codes import Kind, find_published, kind_of

ERROR = "ERROR"
CODE_UNKNOWN = "code unknown"
"""The kind shown for a call that ended without an answer of the API."""
UNKNOWN = "UNKNOWN"
"""The kind shown for a return code that the API's table doesn't list."""

KIND_COLOURS = {
    # The colours differ in lightness, L* 61, 83, 72, 39, 51, 31 and 15. They can be told apart without seeing red and
    # green as different colours, and in a print in grey.
    Kind.OK.value: "#3fa585",
    Kind.RATE.value: "#f6c84c",
    Kind.VERDICT.value: "#8fb4dc",
    Kind.REQUEST.value: "#6a4c9c",
    Kind.ACCOUNT.value: "#bf5f1b",
    Kind.SERVER.value: "#8f1424",
    ERROR: "#26262a",
    UNKNOWN: "#9b9ba3",
}


def status_outcome(http_status: int | None) -> str:
    """Return the outcome of a response whose return code is not known.

    >>> status_outcome(403)
    'HTTP 403, code unknown'
    """
    return CODE_UNKNOWN if http_status is None else f"HTTP {http_status}, {CODE_UNKNOWN}"


def outcome_name(outcome: int | str) -> str:
    """Return the label of an outcome.

    >>> outcome_name(50009), outcome_name("timeout")
    ('50009 out of freq', 'timeout')
    """
    known = find_published(outcome) if isinstance(outcome, int) else None
    return f"{outcome:d} {known.message}".rstrip() if known else str(outcome)


def outcome_kind(outcome: int | str) -> str:
    """Return the name of an outcome's kind, ``ERROR`` or ``UNKNOWN``."""
    if isinstance(outcome, str):
        is_answered = outcome.endswith(CODE_UNKNOWN)
        return (Kind.SERVER.value if outcome.startswith("HTTP 5") else UNKNOWN) if is_answered else ERROR
    return kind_of(outcome) or UNKNOWN


def shades(base: Mapping[str, str]) -> dict[str, str]:
    """Return a colour for each name; names with the same base colour get shades from dark to light.

    Args:
        base: The base colour, ``#rrggbb``, of each name.
    """
    colours: dict[str, str] = {}
    for colour in dict.fromkeys(base.values()):
        names = [name for name in base if base[name] == colour]
        colours |= {name: _mix_with_white(colour, place / len(names) * 0.55) for place, name in enumerate(names)}
    return {name: colours[name] for name in base}


def _mix_with_white(colour: str, white_ratio: float) -> str:
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * white_ratio):02x}" for part in parts)
