"""Charts as SVG, PNG and pages, and in notebooks."""

import base64
import subprocess
import sys
from html.parser import HTMLParser
from struct import unpack

import altair as alt
import pytest

from toolkit.analysis import charts
from toolkit.analysis.charts.base import empty_chart

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ELSEWHERE = alt.Chart(alt.UrlData("http://127.0.0.1:9/calls.csv")).mark_point().encode(x="a:Q")


def _size(picture):
    return unpack(">II", picture[16:24])


@pytest.fixture
def chart():
    return empty_chart("No calls</script><script>alert(1)", 300)


class Loads(HTMLParser):
    """Collects the tags of a page, and what they load."""

    def __init__(self):
        super().__init__()
        self.tags, self.loaded = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_a_png_has_the_requested_scale(chart):
    once, twice = charts.to_png(chart, scale=1), charts.to_png(chart)
    assert once.startswith(SIGNATURE)
    assert _size(twice) == tuple(2 * size for size in _size(once))


def test_a_page_loads_no_resources(chart):
    page = Loads()
    page.feed(charts.to_html(chart))
    assert page.loaded == []
    assert "link" not in page.tags


def test_a_text_cannot_end_the_script_of_a_page(chart):
    page = charts.to_html(chart)
    assert r"No calls\u003c/script>\u003cscript>alert(1)" in page
    assert "<script>alert(1)" not in page


@pytest.mark.parametrize("draw", [charts.to_svg, charts.to_png])
def test_a_chart_with_data_at_a_url_is_refused(draw):
    with pytest.raises(ValueError, match="not allowed"):
        draw(ELSEWHERE)


def test_a_notebook_shows_a_png_and_stores_no_script(chart):
    active, options = alt.renderers.active, alt.renderers.options
    try:
        charts.offline()
        bundle, metadata = chart._repr_mimebundle_()
    finally:
        alt.renderers.enable(active, **options)
    picture = base64.b64decode(bundle["image/png"])
    assert set(bundle) == {"image/png", "text/plain"}
    shown = metadata["image/png"]
    assert _size(picture) == (2 * shown["width"], 2 * shown["height"])


def test_the_analysis_does_not_import_altair():
    code = "import sys, toolkit.analysis; sys.exit('altair' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
