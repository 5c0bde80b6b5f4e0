"""The chart's module as a widget manager runs it: JupyterLab, VS Code, Colab and Voilà call the same ``render``."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Browser, expect

from toolkit.browser_charts import Axis, BrowserChart, Panel, Series, Span
from toolkit.forms.widgets.chart import Chart
from toolkit.outcome_colours import PRIMARY, SECONDARY

BARS = Panel("bars", "calls", [Series("one", PRIMARY, values=[3, 1, 2])], edges=[0, 1, 2, 3])
LANE = Panel(
    "lane",
    "",
    [Series("accepted", PRIMARY, points=[(0.5, 0.7)]), Series("refused", SECONDARY, points=[(1.5, 0.3)], mark="cross")],
    36,
    label="138…",
    spans=[Span("1/60s is full", SECONDARY, 0.5, 2.5)],
)
# A model as anywidget describes it, and the range that the chart saved in it.
MODEL = """
const values = SPEC, listeners = {};
window.saved = [];
const model = {
  get: (name) => values[name],
  set: (name, value) => { values[name] = value; },
  save_changes: () => window.saved.push(values.selection),
  on: (name, listener) => { listeners[name] = listener; },
  off: (name) => { delete listeners[name]; },
};
window.change = (name, value) => { values[name] = value; listeners[`change:${name}`](); };
const { default: widget } = await import(URL.createObjectURL(new Blob([MODULE], { type: "text/javascript" })));
window.end = widget.render({ model, el: document.getElementById("here") });
window.listeners = listeners;
"""


def test_a_widget_is_drawn_redrawn_selected_in_and_removed(browser: Browser, tmp_path: Path) -> None:
    bars, lane = (BrowserChart([it], Axis("seconds", 0, 3), "calls", selectable=True) for it in (BARS, LANE))
    values = {"spec": bars.as_json(), "selection": []}
    script = MODEL.replace("SPEC", json.dumps(values)).replace("MODULE", json.dumps(Chart._esm))
    file = tmp_path / "page.html"
    file.write_text(f"<meta charset='utf-8'><div id='here'></div><script type='module'>{script}</script>", "utf-8")
    with browser.new_page() as page:
        broken: list[str] = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(file.as_uri())
        chart = page.get_by_role("application", name="calls")
        chart.focus()
        for key in ("Home", "Shift+ArrowRight", "Enter"):
            page.keyboard.press(key)
        assert page.evaluate("() => window.saved") == [[0.5, 1.5]]
        expect(chart.get_by_role("status")).to_contain_text("one1")
        page.evaluate("spec => window.change('spec', spec)", lane.as_json())
        expect(page.locator(".sms-legend")).to_contain_text("1/60s is full")
        page.evaluate("() => window.change('spec', {})")
        expect(chart).to_be_hidden()
        page.evaluate("() => window.end()")
        assert page.evaluate("() => Object.keys(window.listeners)") == []
        assert broken == []
