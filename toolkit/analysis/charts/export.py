"""Files: a chart as text or bytes that need no network, and as what a notebook shows."""

from __future__ import annotations

import base64
import json
from importlib.util import find_spec
from struct import unpack
from typing import Any

import altair as alt
import vl_convert

_RENDERER = "toolkit_picture"
_ACTIONS = {"export": True, "source": False, "compiled": False, "editor": False}  # the editor is on another host
_LESS = "\ue000"  # in place of <, which the converter leaves as it is: a text could end the page's script
_NOTEBOOK_SCALE = 2  # a picture as sharp as text on a screen of today


def to_svg(chart: alt.TopLevelMixin) -> str:
    """Return a chart as one SVG element, drawn without a network; raise ValueError for data that is elsewhere."""
    return vl_convert.vegalite_to_svg(chart.to_dict(validate=False), vl_version=_version(), allowed_base_urls=[])


def to_png(chart: alt.TopLevelMixin, scale: float = 2) -> bytes:
    """Return a chart as PNG, ``scale`` of its pixels for one of the chart's, drawn as ``to_svg`` draws."""
    return _draw(chart.to_dict(), scale)


def to_html(chart: alt.TopLevelMixin) -> str:
    """Return a chart as a page with all of its scripts inside, about 1 MB, which needs no network."""
    spec = json.dumps(chart.to_dict() | {"usermeta": {"embedOptions": {"actions": _ACTIONS}}})
    page = vl_convert.vegalite_to_html(spec.replace("<", _LESS), vl_version=_version(), bundle=True)
    return page.replace(_LESS, r"\u003c")


def offline() -> None:
    """Let notebooks show charts as pictures, which stay in the notebook, and JupyterChart work without a network.

    No script is stored with them, so a notebook is small, and shows wherever pictures do.
    """
    alt.renderers.register(_RENDERER, _render)
    alt.renderers.enable(_RENDERER)
    if find_spec("anywidget"):
        alt.JupyterChart.enable_offline()


def _draw(spec: dict[str, Any], scale: float) -> bytes:
    return vl_convert.vegalite_to_png(spec, vl_version=_version(), scale=scale, allowed_base_urls=[])


def _render(spec: dict[str, Any], **_: Any) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    picture = _draw(spec, _NOTEBOOK_SCALE)
    width, height = (size // _NOTEBOOK_SCALE for size in unpack(">II", picture[16:24]))
    bundle = {"image/png": base64.b64encode(picture).decode(), "text/plain": "<a chart>"}
    return bundle, {"image/png": {"width": width, "height": height}}


def _version() -> str:
    return "_".join(alt.SCHEMA_VERSION.split(".")[:2])
