"""Name the outcomes of calls and colour them alike in every chart, table and form.

An outcome is a return code, or the name of the error of a call that ended without an answer of the API. Its colour is
that of its kind. Outcomes of one kind differ in shade and pattern.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import TypeAlias

from toolkit.api.return_codes import Kind, find_published, kind_of

Outcome: TypeAlias = int | str
"""A return code, or the name of the error if no response was read."""

ERROR = "ERROR"
CODE_UNKNOWN = "code unknown"
"""The kind shown for a call that ended without an answer of the API."""
UNKNOWN = "UNKNOWN"
"""The kind shown for a return code that the API's table doesn't list."""

KIND_COLOURS = {
    # The colours differ in lightness, L* 61, 83, 72, 39, 51, 31 and 15. So they can be distinguished by people who see
    # red and green alike, and in a print in grey.
    Kind.OK.value: "#3fa585",
    Kind.RATE.value: "#f6c84c",
    Kind.VERDICT.value: "#8fb4dc",
    Kind.REQUEST.value: "#6a4c9c",
    Kind.ACCOUNT.value: "#bf5f1b",
    Kind.SERVER.value: "#8f1424",
    ERROR: "#26262a",
    UNKNOWN: "#9b9ba3",
}
# Colours with too little contrast on a dark background; the others are used on both.
_ON_DARK = {KIND_COLOURS["REQUEST"]: "#a78bd8", KIND_COLOURS["SERVER"]: "#e0566b", KIND_COLOURS[ERROR]: "#dcdce4"}


def status_outcome(http_status: int | None) -> str:
    """Return the outcome of a response whose return code is not known.

    >>> status_outcome(403)
    'HTTP 403, code unknown'
    """
    return CODE_UNKNOWN if http_status is None else f"HTTP {http_status}, {CODE_UNKNOWN}"


def outcome_name(outcome: Outcome) -> str:
    """Return the label of an outcome.

    >>> outcome_name(50009), outcome_name("timeout")
    ('50009 out of freq', 'timeout')
    """
    known = find_published(outcome) if isinstance(outcome, int) else None
    return f"{outcome:d} {known.message}".rstrip() if known else str(outcome)


def outcome_kind(outcome: Outcome) -> str:
    """Return the name of an outcome's kind, ``ERROR`` or ``UNKNOWN``."""
    if isinstance(outcome, str):
        is_answered = outcome.endswith(CODE_UNKNOWN)
        return (Kind.SERVER.value if outcome.startswith("HTTP 5") else UNKNOWN) if is_answered else ERROR
    return kind_of(outcome) or UNKNOWN


MAX_OUTCOMES = 12  # of a chart; more can't be distinguished
OTHER = "other"
"""The name that sums up all but the most frequent outcomes."""


@dataclass(frozen=True, slots=True)
class Fill:
    """The colour of an area, ``#rrggbb``, and the pattern drawn over it in ``ink``: a name of ``PATTERNS``."""

    colour: str
    pattern: str = "solid"

    @property
    def ink(self) -> str:
        """The colour of the pattern's lines: white or nearly black, whichever has more contrast."""
        return "#ffffff" if luminance(self.colour) < _INK_THRESHOLD else "#1b1d24"

    @property
    def path(self) -> str:
        """The pattern's lines as SVG path data, "" for a solid area."""
        return PATTERNS[self.pattern]


TILE_PX = 8
PATTERNS = {
    # SVG path data of a square tile of TILE_PX, for lines of 1.5 pixels with round ends. Only the starts of lines are
    # absolute, so that a tile can be drawn at another place.
    "solid": "",
    "rising": "M-2 2l4-4M-2 10l12-12M6 10l4-4",
    "dots": "M2 2h.01M6 6h.01",
    "falling": "M-2 6l4 4M-2 -2l12 12M6 -2l4 4",
    "rows": "M0 4h8",
    "columns": "M4 0v8",
    "grid": "M0 4h8M4 0v8",
}
# Each kind begins with another pattern, so that shades of two kinds that look alike to some people differ in it.
_SKIPPED_PATTERNS = {
    KIND_COLOURS[kind]: skipped for kind, skipped in {"VERDICT": 5, "REQUEST": 4, "ACCOUNT": 2, ERROR: 1}.items()
}
_INK_THRESHOLD = 0.18  # of the luminance: there white and black have the same contrast
_DARKENED_FROM = 0.4  # kinds that are lighter get darker shades, because lighter ones would hardly differ from white
_MIX_RATIO = 0.6


def fills(base: Mapping[str, str]) -> dict[str, Fill]:
    """Return a colour and a pattern for each name; names with the same base colour get different shades and patterns.

    The first name has the base colour without a pattern. No two of the first seven names have the same pattern, so
    that they can be distinguished without colours.

    Args:
        base: The base colour, ``#rrggbb``, of each name.

    >>> list(fills({"50010": "#8fb4dc", "50011": "#8fb4dc"}).values())
    [Fill(colour='#8fb4dc', pattern='solid'), Fill(colour='#647e9a', pattern='grid')]
    """
    found: dict[str, Fill] = {}
    for colour in dict.fromkeys(base.values()):
        names = [name for name in base if base[name] == colour]
        towards = 0 if luminance(colour) > _DARKENED_FROM else 255
        solid, *others = PATTERNS
        skipped = _SKIPPED_PATTERNS.get(colour, 0)
        order = cycle([solid, *others[skipped:], *others[:skipped]])
        for (place, name), pattern in zip(enumerate(names), order, strict=False):
            found[name] = Fill(_mix(colour, towards, place / len(names) * _MIX_RATIO), pattern)
    return {name: found[name] for name in base}


@dataclass(frozen=True, slots=True)
class ColourPair:
    """The colours of an item on a light and on a dark background, as #rrggbb, and the pattern on both."""

    light: str
    dark: str
    pattern: str = "solid"


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
    """Return distinct colours and patterns for outcomes, in reading order: those of ``fills``."""
    ordered = sorted(outcomes, key=lambda it: (isinstance(it, str), str(it)))
    light = fills({outcome_name(it): colours_of(it).light for it in ordered})
    dark = fills({outcome_name(it): colours_of(it).dark for it in ordered})
    return {
        it: ColourPair(light[name].colour, dark[name].colour, light[name].pattern)
        for it, name in zip(ordered, map(outcome_name, ordered), strict=True)
    }


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour ``#rrggbb``, 0..1, as WCAG 2.2 defines it.

    >>> luminance("#000000"), luminance("#ffffff")
    (0.0, 1.0)
    """
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mix(colour: str, towards: int, ratio: float) -> str:
    """Return a colour mixed with a grey, 0 for black and 255 for white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + (towards - part) * ratio):02x}" for part in parts)
