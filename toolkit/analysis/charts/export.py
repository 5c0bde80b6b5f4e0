"""Export charts as SVG, PNG or HTML without a network, and show them as pictures in notebooks."""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from itertools import count, product
from secrets import token_hex
from struct import unpack
from typing import Any
from zlib import crc32

import altair as alt
import vl_convert

from toolkit.analysis.charts.base import RENDERER
from toolkit.browser_charts.scripts import output_html
from toolkit.outcome_colours import TILE_PX

_ACTIONS = {"export": True, "source": False, "compiled": False, "editor": False}  # the editor needs another host
_LESS_THAN = "\ue000"  # replaces "<", which the converter does not escape, so that no text can end the page's script
# Vega describes marks for screen readers: <path aria-label="..." role="graphics-symbol" aria-roledescription="bar" />
_MARK = re.compile(
    r'<(?P<tag>path|line) aria-label="(?P<label>[^"]*)" role="graphics-symbol" aria-roledescription="'
    r'(?:bar|point|rule mark|tick|circle|square|area mark)"(?P<rest>[^>]*)/>'
)
# Bars and the squares of a legend: <g class="mark-rect ..."><path d="M1,2h3v4h-3Z" fill="#8fb4dc" opacity="1"/></g>
_MARKS = re.compile(r'(?P<content><g class="mark-(?:rect|symbol)\b.*?)</g>', re.DOTALL)
_AREA = re.compile(r'<path\b[^>]* d="(?P<d>[^"]*)"[^>]*>')
_NUMBER = r"(-?[\d.]+(?:e-?\d+)?)"
_RECTANGLE = re.compile(rf"M{_NUMBER},{_NUMBER}h{_NUMBER}v{_NUMBER}h")
_PLACING = re.compile(r'(?<= )(?:transform|opacity)="[^"]*"')
_LINE = re.compile(r"M(-?\d+) (-?\d+)([^M]*)")
_ARIA = re.compile(r' (?:aria-[a-z]+|role)="[^"]*"')
_LAYOUT_FIELDS = {"place", "order", "spread", "stretch", "opacity"}
_NOTEBOOK_SCALE = 2  # for screens with a high resolution
_VEGA_LITE_VERSION = "_".join(alt.SCHEMA_VERSION.split(".")[:2])


def to_svg(chart: alt.TopLevelMixin, *, validate: bool = True) -> str:
    """Return a chart as one SVG element.

    Args:
        chart: The chart.
        validate: Check the chart first, for errors that are easier to read. That takes a third of Altair's time.

    Raises:
        ValueError: The chart's data is at a URL.
    """
    return _to_svg(chart.to_dict(validate=validate))


def to_png(chart: alt.TopLevelMixin, scale: float = 2) -> bytes:
    """Return a chart as PNG.

    Args:
        chart: The chart.
        scale: The pixels of the PNG per pixel of the chart.

    Raises:
        ValueError: The chart's data is at a URL.
    """
    return vl_convert.svg_to_png(_to_svg(chart.to_dict()), scale=scale)


def to_html(chart: alt.TopLevelMixin) -> str:
    """Return a chart as an HTML page of about 1 MB that contains all of its scripts."""
    spec = json.dumps(chart.to_dict() | {"usermeta": {"embedOptions": {"actions": _ACTIONS}}})
    page = vl_convert.vegalite_to_html(spec.replace("<", _LESS_THAN), vl_version=_VEGA_LITE_VERSION, bundle=True)
    return page.replace(_LESS_THAN, r"\u003c")


def offline() -> None:
    """Show charts in notebooks without a network: with tooltips where scripts may run, else as pictures.

    Outcomes and latencies can be explored. Where a notebook is not trusted, and on a code host, its pictures are shown.
    JupyterChart works without a network, too.
    """
    alt.renderers.register(RENDERER, _render)
    alt.renderers.enable(RENDERER)
    if find_spec("anywidget"):
        alt.JupyterChart.enable_offline()


def _to_svg(spec: dict[str, Any]) -> str:
    svg = vl_convert.vegalite_to_svg(spec, vl_version=_VEGA_LITE_VERSION, allowed_base_urls=[])
    patterns: dict[str, tuple[str, str]] = spec.get("usermeta", {}).get("patterns", {})
    return _with_patterns(svg, patterns) if patterns else svg


def _with_tooltips(spec: dict[str, Any]) -> str:
    """Return a chart as SVG whose marks have their values as title, which browsers show as a tooltip."""
    svg = _to_svg(spec | {"config": spec["config"] | {"aria": True}})
    svg = _MARK.sub(lambda it: f"<{it['tag']}{it['rest']}>{_title(it['label'])}</{it['tag']}>", svg)
    return _ARIA.sub("", svg)


def _title(label: str) -> str:
    """Return the title of a mark with the fields that have a name for people; others are places in the layout."""
    fields = [it for it in label.split("; ") if it.split(":")[0] not in _LAYOUT_FIELDS]
    return f"<title>{'; '.join(fields)}</title>"


def _with_patterns(svg: str, patterns: Mapping[str, tuple[str, str]]) -> str:
    """Draw patterns over the areas of some colours.

    The pattern of all areas of a colour is one path, clipped by them. SVG's own patterns look the same on a screen,
    but Chromium prints each area with one as a bitmap: 112 MB for the report of a month, instead of 1 MB.
    """
    picture = crc32(svg.encode())  # ids are those of this picture: a page has several
    ids = count()

    def draw(marks: re.Match[str]) -> str:
        drawn = []
        for colour, (path, ink) in patterns.items():
            areas = defaultdict(list)
            for area in _AREA.finditer(marks[0]):
                if f'fill="{colour}"' in area[0]:
                    areas[" ".join(_PLACING.findall(area[0]))].append(area["d"])
            for placing, outlines in areas.items():
                name = f"p{picture:x}-{next(ids)}"
                drawn.append(
                    f'<clipPath id="{name}"><path d="{"".join(outlines)}"/></clipPath>'
                    f'<path d="{_tiled(path, outlines)}" {placing} clip-path="url(#{name})" fill="none" stroke="{ink}"'
                    ' stroke-width="1.5" stroke-linecap="round" pointer-events="none"/>'
                )
        return marks["content"] + "".join(drawn) + "</g>"

    return _MARKS.sub(draw, svg)


def _tiled(path: str, outlines: Iterable[str]) -> str:
    """Return the lines of a pattern in all tiles that rectangles touch."""
    tiles = set()
    for outline in outlines:
        x, y, width, height = map(float, _RECTANGLE.findall(outline)[0])
        tiles |= set(
            product(
                *(range(int(at // TILE_PX), int((at + size) // TILE_PX) + 1) for at, size in ((x, width), (y, height)))
            )
        )
    lines = [(int(x), int(y), rest) for x, y, rest in _LINE.findall(path)]
    return "".join(
        f"M{x + TILE_PX * column} {y + TILE_PX * row}{rest}" for column, row in sorted(tiles) for x, y, rest in lines
    )


def _render(spec: dict[str, Any], **_: Any) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    svg = _with_tooltips(spec)
    picture = vl_convert.svg_to_png(svg, scale=_NOTEBOOK_SCALE)
    width, height = (size // _NOTEBOOK_SCALE for size in unpack(">II", picture[16:24]))
    image = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    explored = spec.get("usermeta", {}).get("explored")
    bundle = {
        "text/html": output_html(f"chart-{token_hex(6)}", image, explored),
        "image/png": base64.b64encode(picture).decode(),
        "text/plain": "<a chart>",
    }
    return bundle, {"image/png": {"width": width, "height": height}}
