"""Colours: what an outcome looks like, in every chart and table."""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.api.return_codes import Kind

# Told apart without telling red from green, and in grey: their lightness is 61, 83, 72, 38, 50 and 31 of 100.
KIND_COLOURS = {
    Kind.OK: "#3fa585",
    Kind.RATE: "#f6c84c",
    Kind.VERDICT: "#8fb4dc",
    Kind.REQUEST: "#6a4c9c",
    Kind.ACCOUNT: "#bf5f1b",
    Kind.SERVER: "#8f1424",
}
ERROR_COLOUR = "#26262a"
UNKNOWN_COLOUR = "#9b9ba3"
# For what has no kind: from light to dark, so that their order shows in grey.
GROUP_COLOURS = ("#dfe39a", "#a3d08c", "#58b08b", "#2f8797", "#1f5f90", "#1b3a68")


def shades(base: Mapping[str, str]) -> dict[str, str]:
    """Return the colour of each name; names of one base colour get shades of it, lighter from one to the next."""
    colours: dict[str, str] = {}
    for colour in dict.fromkeys(base.values()):
        names = [name for name in base if base[name] == colour]
        colours |= {name: _lighter(colour, place / len(names) * 0.55) for place, name in enumerate(names)}
    return {name: colours[name] for name in base}


def _lighter(colour: str, ratio: float) -> str:
    """Mix a colour with white; ``ratio`` is white's part, 0..1."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * ratio):02x}" for part in parts)
