"""Add to locust's page: the tab "Return codes", and the reason why a test may not start.

The tab has a table and a chart of the calls by return code. Locust draws the table: it takes a tab's columns from its
template and the rows from its own poll. The browser draws the chart with the scripts of ``toolkit.browser_charts``, so
the process that makes the load only sends numbers. The page loads nothing from other hosts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import gevent
from flask import Blueprint, Response, jsonify, request, send_file
from locust.env import Environment
from locust.runners import STATE_INIT, STATE_STOPPED, WORKER_REPORT_INTERVAL, MasterRunner

from toolkit.api.return_codes import find_published
from toolkit.api.wire import Endpoint
from toolkit.browser_charts import Axis, BrowserChart
from toolkit.browser_charts.outcome_panels import outcome_panels
from toolkit.browser_charts.scripts import STYLE, chart_script
from toolkit.load_test.generator.results.metrics import CallKind, History, Metrics
from toolkit.records.latency_histogram import Histogram

_TAB = "return-codes"
_SCRIPT = Path(__file__).with_name("web_ui.js")
_TAGS = f'<link rel="stylesheet" href="./{_TAB}/chart.css"><script src="./{_TAB}/chart.js" defer></script>'
_PERCENTILES = (50, 90, 99, 99.9)
_COLUMNS = {
    "endpoint": "Endpoint",
    "return_code": "Return code",
    "message": "Message",
    "kind": "Kind",
    "calls": "Calls",
    "share": "Share, %",
    **{f"p{percentile}": f"Caller p{percentile}, ms" for percentile in _PERCENTILES},
    "max": "Caller max, ms",
}
_SAMPLE_EVERY_S = 1.0
_MASTER_SAMPLES_EVERY_S = 2 * WORKER_REPORT_INTERVAL  # so that every worker has reported between two points

Row: TypeAlias = dict[str, str | int | float]


# The table and the chart.


def rows(caller_times: Mapping[CallKind, Histogram]) -> Iterator[Row]:
    """Yield the table's rows: for each endpoint its return codes and errors, then all its calls."""
    for endpoint in Endpoint:
        times = {kind[1]: caller_times[kind] for kind in sorted(caller_times, key=_order) if kind[0] is endpoint}
        total = sum(times.values(), Histogram())
        for code, of_code in times.items():
            yield _row(endpoint, code, of_code, len(total))
        if times:
            yield _row(endpoint, "all", total, len(total))


def _row(endpoint: Endpoint, code: int | str, times: Histogram, calls: int) -> Row:
    known = find_published(code) if isinstance(code, int) else None
    return {
        "endpoint": endpoint,
        "return_code": code,
        "message": known.message if known else "",
        "kind": (known and known.kind) or "",
        "calls": len(times),
        "share": round(100 * len(times) / calls, 3),
        **{f"p{percentile}": round(times.percentile(percentile), 3) for percentile in _PERCENTILES},
        "max": round(times.max(), 3),
    }


def chart(history: History) -> BrowserChart:
    """Chart the rate of each return code and error over the time of the test."""
    edges = history.times_s()
    panels = list(outcome_panels(edges, history.calls(), history.partial()))
    axis = Axis("time", min(edges, default=0), max(edges, default=0))
    return BrowserChart(panels, axis, "Rate of calls by return code, over time")


def _order(kind: CallKind) -> tuple[bool, str]:
    return isinstance(kind[1], str), str(kind[1])


# Locust's page.


def add_tab(environment: Environment, metrics: Callable[[], Metrics]) -> None:
    """Add the tab. ``metrics`` returns those of the test that is running, or was last."""
    web_ui: Any = environment.web_ui
    options: Any = environment.parsed_options
    history = _sample(environment, metrics)
    structure = [{"key": key, "title": title} for key, title in _COLUMNS.items()]
    web_ui.template_args["extended_tabs"] = [{"key": _TAB, "title": "Return codes"}]
    web_ui.template_args["extended_tables"] = [{"key": _TAB, "structure": structure}]

    def extend(response: Response) -> Response:
        if request.endpoint == "locust.index" and not response.direct_passthrough:
            response.set_data(response.get_data(as_text=True).replace("</body>", f"{_TAGS}</body>"))
        elif request.endpoint == "locust.request_stats" and response.is_json:
            table = {"key": _TAB, "data": list(rows(metrics().caller_times))}
            response.set_data(json.dumps({**response.get_json(), "extended_stats": [table]}))
        return response

    routes = Blueprint(_TAB, __name__, url_prefix=f"{(options and options.web_base_path) or ''}/{_TAB}")
    guarded = web_ui.auth_required_if_enabled
    script = chart_script(_SCRIPT.read_text(encoding="utf-8"))
    routes.add_url_rule("/chart.js", "script", guarded(lambda: Response(script, mimetype="text/javascript")))
    routes.add_url_rule("/chart.css", "style", guarded(lambda: send_file(STYLE)))
    routes.add_url_rule("/chart.json", "chart", guarded(lambda: chart(history).as_json()))
    web_ui.app.after_request(extend)
    web_ui.app.register_blueprint(routes)


def _sample(environment: Environment, metrics: Callable[[], Metrics]) -> History:
    """Return a history that is sampled for as long as the process lives."""
    on_master = isinstance(environment.runner, MasterRunner)
    history = History(_MASTER_SAMPLES_EVERY_S if on_master else _SAMPLE_EVERY_S, is_late=on_master)
    hooks: Any = environment.events
    hooks.test_start.add_listener(lambda **_: history.begin(time.time()))
    hooks.test_stop.add_listener(lambda **_: history.end(time.time(), metrics().calls))

    def sample() -> None:
        while True:
            if environment.runner:
                has_ended = environment.runner.state in (STATE_INIT, STATE_STOPPED)
                (history.end if has_ended else history.add)(time.time(), metrics().calls)
            gevent.sleep(_SAMPLE_EVERY_S)

    gevent.spawn(sample)
    return history


def refuse_tests(environment: Environment, refusal: Callable[[Mapping[str, list[str]]], str | None]) -> None:
    """Refuse a test that is started from the page if ``refusal`` returns a reason, and show the reason.

    ``refusal`` takes the fields of the page's form, each with its values.
    """
    web_ui: Any = environment.web_ui
    log_in = web_ui.auth_required_if_enabled(lambda: None)

    def check() -> Any:
        if request.endpoint != "locust.swarm":
            return None
        if (response := log_in()) is not None:
            return response
        reason = refusal(request.form.to_dict(flat=False))
        return jsonify({"success": False, "message": reason, "host": environment.host}) if reason else None

    web_ui.app.before_request(check)
