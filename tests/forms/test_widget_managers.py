"""Charts and forms in other hosts' widget managers, as far as npm has them: ipywidgets' for pages, VS Code's, Colab's.

Here the managers have no kernel: they show a stored state. The scripts that they load from a CDN come from npm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anywidget
import pytest
from ipywidgets.embed import dependency_state, embed_data, embed_snippet
from playwright.sync_api import Browser, Page, Route, expect
from support import outage
from support.npm import install
from support.pages import Watched, watched

from toolkit import analysis
from toolkit.analysis import interactive_charts
from toolkit.forms import CallForm, CapacityForm, LimitsForm, LoadForm, Overview, ProbeForm, RunPicker
from toolkit.forms.widgets.chart import Chart
from toolkit.forms.widgets.html_panel import HtmlPanel

FORMS = [CallForm, CapacityForm, LimitsForm, LoadForm, Overview, ProbeForm, partial(RunPicker, "runs")]
CDN = re.compile(r"https://cdn\.jsdelivr\.net/npm/(?P<name>(?:@[^/]+/)?[^/@]+)@[^/]+/(?P<file>.+?)(?:\.js)?$")
EMBED_URL = "https://cdn.jsdelivr.net/npm/@jupyter-widgets/html-manager@1/dist/embed-amd.js"
PAGE = "http://host.test/"  # no secure context: it has no clipboard
VS_CODE = """async ({manager_state, view_specs: [{model_id}]}) => {
  const {activate} = await import("/ipywidgets.js");
  activate();
  window.vscIPyWidgets8.load();
  const signal = {connect() {}}, loader = {
    widgetsRegisteredInRequireJs: new Set(), successHandler() {}, errorHandler() {},
    async loadWidgetScript(name, version) {
      requirejs.config({paths: {[name]: `https://cdn.jsdelivr.net/npm/${name}@${version}/dist/index`}});
    },
  };
  const kernel = {
    id: "", clientId: "", username: "", handleComms: true, statusChanged: signal, connectionStatusChanged: signal,
    disposed: signal, registerCommTarget() {},
  };
  const manager = new window.vscIPyWidgets.WidgetManager(kernel, document.body, loader, () => {}, {});
  await manager.set_state(manager_state);
  const view = await manager.create_view(await manager.get_model(model_id));
  await manager.display_view(undefined, view, {node: document.body});
}"""


@pytest.fixture(scope="module")
def modules(request: pytest.FixtureRequest) -> Path:
    assert request.config.cache
    packages = ["@jupyter-widgets/html-manager@1.0.15", "@vscode/jupyter-ipywidgets8@1.0.9", "requirejs@2.3.4"]
    folder = request.config.cache.mkdir(f"widget-managers-{anywidget.__version__}")
    return install(Path(folder), f"anywidget@{anywidget.__version__}", *packages)


@pytest.fixture
def it(browser: Browser, modules: Path) -> Iterator[Watched]:
    """A page of a host with require.js."""

    def answer(route: Route) -> None:
        url = route.request.url
        if url == PAGE:
            route.fulfill(body="<!doctype html><meta charset=utf-8><body>", content_type="text/html")
        elif url == f"{PAGE}ipywidgets.js":
            route.fulfill(path=modules / "@vscode/jupyter-ipywidgets8/dist/ipywidgets.js")
        elif found := CDN.match(url):
            file = modules / found["name"] / f"{found['file']}.js"
            route.fulfill(path=file, headers={"access-control-allow-origin": "*", "content-type": "text/javascript"})
        else:
            route.abort()

    with watched(browser) as page:
        page.page.route("**/*", answer)
        page.page.goto(PAGE)
        page.page.add_script_tag(path=modules / "requirejs/require.js")
        yield page


@pytest.fixture
def chart() -> Chart:
    chart = Chart()
    chart.draw(interactive_charts.over_time(analysis.over_time(analysis.from_records(outage.records()))))
    return chart


def show_stored(page: Page, widget: Any) -> None:
    """Show a widget's state by ipywidgets' own manager for pages."""
    options = {"state": dependency_state([widget], drop_defaults=False), "drop_defaults": False}
    snippet = embed_snippet([widget], requirejs=False, embed_url=EMBED_URL, **options)
    parts = re.findall(r'<script type="([^"]+)">(.*?)</script>', snippet, re.DOTALL)
    page.evaluate(
        """parts => parts.forEach(([type, textContent]) =>
          document.body.append(Object.assign(document.createElement("script"), {type, textContent})))""",
        parts,
    )
    page.add_script_tag(url=EMBED_URL)


def expect_off(page: Page) -> None:
    """Wait until a form that no kernel answers is switched off, and says so."""
    expect(page.locator(".sms-form")).to_have_attribute("inert", "")
    expect(page.locator(".sms-banner")).to_contain_text("stored state")


def test_a_stored_chart_can_be_explored_without_a_kernel(it: Watched, chart: Chart) -> None:
    show_stored(it.page, chart)
    shown = it.page.get_by_role("application")
    shown.focus()
    it.page.keyboard.press("Home")
    expect(shown.get_by_role("status")).to_contain_text("50000 success")
    assert it.errors == []


def test_a_stored_form_is_off_and_says_that_it_has_no_kernel(it: Watched) -> None:
    show_stored(it.page, CallForm().widget)
    expect_off(it.page)
    assert it.errors == []


def test_a_page_without_a_clipboard_and_a_server_selects_the_text_and_has_no_dead_links(it: Watched) -> None:
    show_stored(
        it.page,
        HtmlPanel('<a href="/files/report.html">Report</a><button data-copy="pre">Copy</button><pre>curl</pre>'),
    )
    it.page.get_by_role("button", name="Copy").click()
    expect(it.page.get_by_role("button", name="Press Ctrl+C")).to_be_visible()
    assert it.page.evaluate("() => getSelection().toString()") == "curl"
    assert it.page.get_by_role("link").count() == 0
    assert it.errors == []


@pytest.mark.parametrize("form", [CallForm, LoadForm])
def test_a_form_is_drawn_by_the_manager_of_vs_code(it: Watched, form: Any) -> None:
    widget = form().widget
    state = embed_data([widget], state=dependency_state([widget], drop_defaults=False), drop_defaults=False)
    it.page.evaluate(VS_CODE, state)
    expect_off(it.page)
    assert it.errors == []


@pytest.mark.parametrize("form", FORMS)
def test_a_form_uses_only_models_that_the_manager_of_colab_has(request: pytest.FixtureRequest, form: Any) -> None:
    assert request.config.cache
    controls = (
        "@jupyter-widgets/controls@4.0.0-alpha.3"  # which Colab's manager is built with, as its package-lock.json says
    )
    installed = install(Path(request.config.cache.mkdir("colab-controls")), controls)
    sources = [*installed.glob("@jupyter-widgets/controls/lib/*.js"), *installed.glob("@jupyter-widgets/base/lib/*.js")]
    known = {name for it in sources for name in re.findall(r"class (\w+Model)\b", it.read_text(encoding="utf-8"))}
    assert "LayoutModel" in known
    used = {it["model_name"] for it in dependency_state([form().widget], drop_defaults=False).values()}
    assert used - known == {"AnyModel"}
