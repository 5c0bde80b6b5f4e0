"""Export charts as SVG, PNG or HTML without a network, and show them as pictures in notebooks."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib.util import find_spec
from struct import unpack
from typing import Any
from zlib import crc32

import altair as alt
import vl_convert

_RENDERER = "toolkit_picture"
_ACTIONS = {"export": True, "source": False, "compiled": False, "editor": False}  # the editor needs another host
_LESS_THAN = "\ue000"  # replaces "<", which the converter does not escape, so that no text can end the page's script
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
    return _to_png(chart.to_dict(), scale)


def to_html(chart: alt.TopLevelMixin) -> str:
    """Return a chart as an HTML page of about 1 MB that contains all of its scripts."""
    spec = json.dumps(chart.to_dict() | {"usermeta": {"embedOptions": {"actions": _ACTIONS}}})
    page = vl_convert.vegalite_to_html(spec.replace("<", _LESS_THAN), vl_version=_VEGA_LITE_VERSION, bundle=True)
    return page.replace(_LESS_THAN, r"\u003c")


def offline() -> None:
    """Show charts in notebooks as PNG, and let JupyterChart work without a network.

    The pictures are stored in the notebook, without scripts. The notebook stays small and is displayed everywhere.
    """
    alt.renderers.register(_RENDERER, _render)
    alt.renderers.enable(_RENDERER)
    if find_spec("anywidget"):
        alt.JupyterChart.enable_offline()


def _to_png(spec: dict[str, Any], scale: float) -> bytes:
    return vl_convert.svg_to_png(_to_svg(spec), scale=scale)


def _to_svg(spec: dict[str, Any]) -> str:
    svg = vl_convert.vegalite_to_svg(spec, vl_version=_VEGA_LITE_VERSION, allowed_base_urls=[])
    patterns: dict[str, tuple[str, str]] = spec.get("usermeta", {}).get("patterns", {})
    return _with_patterns(svg, patterns) if patterns else svg


def _with_patterns(svg: str, patterns: Mapping[str, tuple[str, str]]) -> str:
    """Draw patterns over the areas of some colours. Their ids are those of this picture: a page has several."""
    picture = f"{crc32(svg.encode()):x}"
    drawn = []
    for number, (colour, (path, ink)) in enumerate(patterns.items()):
        name = f"p{picture}-{number}"
        svg = svg.replace(f'fill="{colour}"', f'fill="url(#{name})"')
        drawn.append(
            f'<pattern id="{name}" width="8" height="8" patternUnits="userSpaceOnUse"><path d="M0 0H8V8H0Z"'
            f' fill="{colour}"/><path d="{path}" fill="none" stroke="{ink}" stroke-width="1.5"'
            ' stroke-linecap="round"/></pattern>'
        )
    head, end, rest = svg.partition(">")
    return f"{head}{end}<defs>{''.join(drawn)}</defs>{rest}"


def _render(spec: dict[str, Any], **_: Any) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    picture = _to_png(spec, _NOTEBOOK_SCALE)
    width, height = (size // _NOTEBOOK_SCALE for size in unpack(">II", picture[16:24]))
    bundle = {"image/png": base64.b64encode(picture).decode(), "text/plain": "<a chart>"}
    return bundle, {"image/png": {"width": width, "height": height}}
