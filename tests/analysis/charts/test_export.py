"""Charts as SVG, PNG and pages, and in notebooks."""

import base64
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from io import BytesIO
from struct import unpack

import altair as alt
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from toolkit import analysis
from toolkit.analysis import charts
from toolkit.analysis.charts.base import empty_chart
from toolkit.api.wire import Endpoint

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


@pytest.fixture
def bundle_of(call):
    """Return how a notebook shows a chart that ``make`` draws, while pictures are offline."""
    active, options = alt.renderers.active, alt.renderers.options

    def show(make):
        charts.offline()
        return make()._repr_mimebundle_()

    yield show
    alt.renderers.enable(active, **options)


def test_a_notebook_has_a_png_for_those_who_run_no_scripts(chart, bundle_of):
    bundle, metadata = bundle_of(lambda: chart)
    picture = base64.b64decode(bundle["image/png"])
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    shown = metadata["image/png"]
    assert _size(picture) == (2 * shown["width"], 2 * shown["height"])


def _calls(call):
    start_ns = 1_793_966_400 * 10**9
    records = [call(code=code, started_ns=start_ns + i * 10**9) for i, code in enumerate([50000, 50009, 50000, 50009])]
    return analysis.from_records(records)


@pytest.mark.parametrize("scripts", [True, False])
def test_a_notebook_s_picture_has_tooltips_or_is_an_image(call, bundle_of, browser, scripts):
    frame = _calls(call)
    bundle, _ = bundle_of(lambda: charts.return_codes(analysis.return_codes(frame)))
    with browser.new_page(java_script_enabled=scripts) as page:
        page.set_content(bundle["text/html"])
        titles = page.locator("svg title").all_text_contents()
        assert titles == (["send 50000 success: 50.00 %", "send 50009 out of freq: 50.00 %"] if scripts else [])
        assert page.locator("img").is_visible() is not scripts
        if not scripts:
            assert page.locator("img").evaluate("it => it.naturalWidth") > 300


def test_patterns_are_printed_as_lines_in_their_areas_only(call, browser):
    """A PDF with a bitmap for each of the 200 areas has 10 MB."""
    start_ns = 1_793_966_400 * 10**9
    codes = (50010, 50011, 50012, 50012)
    records = [call(Endpoint.VERIFY, codes[i % 4], started_ns=start_ns + i * 10**8) for i in range(4000)]
    chart = charts.over_time(analysis.over_time(analysis.from_records(records), "4s"))
    with browser.new_page() as page:
        page.set_content(charts.to_svg(chart))
        assert len(page.pdf()) < 100_000
    plain, patterned = (
        np.asarray(Image.open(BytesIO(charts.to_png(it, scale=1))).convert("RGB")).astype(int)
        for it in (chart.properties(usermeta={}), chart)
    )
    drawn = (plain != patterned).any(axis=2)
    areas = np.zeros_like(drawn)
    for colour in chart.to_dict()["usermeta"]["patterns"]:
        area = (abs(plain - [int(colour[i : i + 2], 16) for i in (1, 3, 5)]) < 2).all(axis=2)
        assert 0.1 < drawn[area].mean() < 0.6, colour
        areas |= area
    shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]  # pixels of an edge have mixed colours
    assert not (drawn & ~np.any([np.roll(areas, it, (0, 1)) for it in shifts], axis=0)).any()


def test_two_charts_of_one_notebook_can_be_explored(call, bundle_of, browser):
    frame = _calls(call)
    bundles = [
        bundle_of(lambda: charts.over_time(analysis.over_time(frame)))[0],
        bundle_of(lambda: charts.latency(analysis.latency(frame)))[0],
    ]
    with browser.new_page() as page:
        broken = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.set_content("".join(it["text/html"] for it in bundles))
        shown = page.get_by_role("application")
        assert shown.count() == 2
        shown.first.focus()
        page.keyboard.press("Home")
        expect(shown.first.get_by_role("status")).to_contain_text("50000 success")
        assert broken == []


def test_the_analysis_does_not_import_altair():
    code = "import sys, toolkit.analysis; sys.exit('altair' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_charts_import_altair_without_the_grammars_of_its_validator():
    code = "import sys, toolkit.analysis.charts; sys.exit('rfc3987_syntax' in sys.modules)"
    assert find_spec("rfc3987_syntax")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
