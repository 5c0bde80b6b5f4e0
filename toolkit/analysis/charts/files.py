"""Files: a chart as text or bytes that need no network."""

from __future__ import annotations

import altair as alt
import vl_convert


def to_svg(chart: alt.TopLevelMixin) -> str:
    """Return a chart as one SVG element, drawn without a network; raise ValueError for data that is elsewhere."""
    return vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=_version(), allowed_base_urls=[])


def _version() -> str:
    return "_".join(alt.SCHEMA_VERSION.split(".")[:2])
