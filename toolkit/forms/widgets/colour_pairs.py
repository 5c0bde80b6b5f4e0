"""Pair the colours of outcomes: one for a light background and one for a dark one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from toolkit.outcome_colours import ERROR, KIND_COLOURS, outcome_kind, outcome_name, shades

Outcome: TypeAlias = int | str
"""A return code, or the name of the error if no response was read."""

# Colours with too little contrast on a dark background; the others are used on both.
_ON_DARK = {KIND_COLOURS["REQUEST"]: "#a78bd8", KIND_COLOURS["SERVER"]: "#e0566b", KIND_COLOURS[ERROR]: "#dcdce4"}


@dataclass(frozen=True, slots=True)
class ColourPair:
    """The colours of an item on a light and on a dark background, as #rrggbb."""

    light: str
    dark: str


PRIMARY = ColourPair("#1d5ea8", "#7db0f0")
SECONDARY = ColourPair("#d5761f", "#f0a35c")
MUTED = ColourPair("#c9ccd6", "#4a4e5c")


def colours_of(outcome: Outcome) -> ColourPair:
    """Return the colours of an outcome's kind."""
    return pair_of(KIND_COLOURS[outcome_kind(outcome)])


def pair_of(colour: str) -> ColourPair:
    """Return a colour for light backgrounds together with its counterpart for dark ones."""
    return ColourPair(colour, _ON_DARK.get(colour, colour))


def colours_by_outcome(outcomes: Iterable[Outcome]) -> dict[Outcome, ColourPair]:
    """Return distinct colours for outcomes, in reading order; outcomes of one kind get shades of its colour."""
    ordered = sorted(outcomes, key=lambda it: (isinstance(it, str), str(it)))
    light = shades({outcome_name(it): colours_of(it).light for it in ordered})
    dark = shades({outcome_name(it): colours_of(it).dark for it in ordered})
    return {it: ColourPair(light[outcome_name(it)], dark[outcome_name(it)]) for it in ordered}
