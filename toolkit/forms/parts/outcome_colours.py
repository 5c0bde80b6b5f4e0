"""Looks: the name of an outcome, and its colours on a light and on a dark ground."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from toolkit.analysis.colours import ERROR_COLOUR, KIND_COLOURS, UNKNOWN_COLOUR, shades
from toolkit.api.return_codes import Kind, find, kind_of

Outcome: TypeAlias = int | str
"""A return code, or the error's name where no answer was read."""

# A colour that a dark ground would swallow; the others stand out on both.
_ON_DARK = {KIND_COLOURS[Kind.REQUEST]: "#a78bd8", KIND_COLOURS[Kind.SERVER]: "#e0566b", ERROR_COLOUR: "#dcdce4"}


@dataclass(frozen=True, slots=True)
class Look:
    """The colours of one thing, as #rrggbb."""

    light: str
    dark: str


PLAIN = Look("#1d5ea8", "#7db0f0")
SECOND = Look("#d5761f", "#f0a35c")
FAINT = Look("#c9ccd6", "#4a4e5c")


def name_of(outcome: Outcome) -> str:
    """Return what an outcome is called."""
    known = find(outcome) if isinstance(outcome, int) else None
    return f"{known:d} {known.message}" if known else str(outcome)


def look_of(outcome: Outcome) -> Look:
    """Return the colours of an outcome's kind."""
    return on_both(_base(outcome))


def on_both(colour: str) -> Look:
    """Return a colour of a light ground with the one that stands for it on a dark one."""
    return Look(colour, _ON_DARK.get(colour, colour))


def looks_of(outcomes: Iterable[Outcome]) -> dict[Outcome, Look]:
    """Return the colours of outcomes beside one another: those of one kind get shades; in reading order."""
    ordered = sorted(outcomes, key=lambda it: (isinstance(it, str), str(it)))
    light = shades({name_of(it): look_of(it).light for it in ordered})
    dark = shades({name_of(it): look_of(it).dark for it in ordered})
    return {it: Look(light[name_of(it)], dark[name_of(it)]) for it in ordered}


def by_name(looks: Mapping[Outcome, Look]) -> dict[str, Look]:
    """Return looks by the names of their outcomes."""
    return {name_of(outcome): look for outcome, look in looks.items()}


def _base(outcome: Outcome) -> str:
    if isinstance(outcome, str):
        return ERROR_COLOUR
    kind = kind_of(outcome)
    return KIND_COLOURS[kind] if kind else UNKNOWN_COLOUR
