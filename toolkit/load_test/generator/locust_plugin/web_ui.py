"""Web UI: the tab "Return codes" of locust's own page: a table of what calls came to, and above it a chart of when.

The table is locust's, which takes a tab's columns from its template and the rows from its own poll. The chart is drawn
in the browser, by ``return_codes.js``: the process that makes the load only gives numbers. No other host is asked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import gevent
from flask import Blueprint, Response, request, send_file
from locust import events
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, WORKER_REPORT_INTERVAL, MasterRunner

from toolkit.api.return_codes import find
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.results.history import History
from toolkit.load_test.generator.results.metrics import Outcome, statistics_of
from toolkit.outcome_colours import KIND_COLOURS, outcome_kind, outcome_name, shades
from toolkit.records.histogram import Histogram

_TAB = "return-codes"
_SCRIPT = Path(__file__).with_name("return_codes.js")
_SCRIPT_TAG = f'<script src="./{_TAB}/chart.js" defer></script>'
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
_MASTER_SAMPLES_EVERY_S = 2 * WORKER_REPORT_INTERVAL  # so that each point has heard every worker

Row: TypeAlias = dict[str, str | int | float]


# What is shown.


def rows(waited: Mapping[Outcome, Histogram]) -> Iterator[Row]:
    """Yield the table's rows, times being what callers waited: for each endpoint its outcomes, then all its calls."""
    for endpoint in Endpoint:
        times = {outcome: waited[endpoint, outcome] for of, outcome in sorted(waited, key=_place) if of is endpoint}
        every = sum(times.values(), Histogram())
        for outcome, of_outcome in times.items():
            yield _row(endpoint, outcome, of_outcome, len(every))
        if times:
            yield _row(endpoint, "all", every, len(every))


def _row(endpoint: Endpoint, outcome: int | str, times: Histogram, calls: int) -> Row:
    known = find(outcome) if isinstance(outcome, int) else None
    return {
        "endpoint": endpoint,
        "return_code": outcome,
        "message": known.message if known else "",
        "kind": known.kind if known else "",
        "calls": len(times),
        "share": round(100 * len(times) / calls, 3),
        **{f"p{percentile}": round(times.percentile(percentile), 3) for percentile in _PERCENTILES},
        "max": round(times.max(), 3),
    }


def chart(history: History) -> dict[str, Any]:
    """Return what the chart is drawn from: points in time, and a panel for each endpoint with its outcomes' rates."""
    rates = history.calls_per_s()
    colours = shades({outcome_name(it): KIND_COLOURS[outcome_kind(it)] for _, it in sorted(rates, key=_place)})
    return {
        "times_s": history.times_s(),
        "panels": {
            endpoint: [
                {"name": name, "colour": colour, "calls_per_s": rates[of]}
                for name, colour in colours.items()
                for of in rates
                if of[0] is endpoint and outcome_name(of[1]) == name
            ]
            for endpoint in Endpoint
        },
    }


def _place(of: Outcome) -> tuple[bool, str]:
    return isinstance(of[1], str), str(of[1])


# How locust's page comes to show it.


def _extend(environment: Environment, **_: object) -> None:
    """Give this process's web UI the tab, where it has a web UI."""
    web_ui: Any = environment.web_ui
    if web_ui is None:
        return
    structure = [{"key": key, "title": title} for key, title in _COLUMNS.items()]
    web_ui.template_args["extended_tabs"] = [{"key": _TAB, "title": "Return codes"}]
    web_ui.template_args["extended_tables"] = [{"key": _TAB, "structure": structure}]
    web_ui.app.after_request(lambda response: _add_rows(environment, _add_script(response)))
    web_ui.app.register_blueprint(_routes(environment, _keep_history(environment)))


def _add_script(response: Response) -> Response:
    if request.endpoint == "locust.index" and not response.direct_passthrough:
        response.set_data(response.get_data(as_text=True).replace("</body>", f"{_SCRIPT_TAG}</body>"))
    return response


def _add_rows(environment: Environment, response: Response) -> Response:
    if request.endpoint == "locust.request_stats" and response.is_json:
        table = {"key": _TAB, "data": list(rows(statistics_of(environment).waited))}
        response.set_data(json.dumps({**response.get_json(), "extended_stats": [table]}))
    return response


def _routes(environment: Environment, history: History) -> Blueprint:
    web_ui: Any = environment.web_ui
    options: Any = environment.parsed_options
    routes = Blueprint(_TAB, __name__, url_prefix=f"{(options and options.web_base_path) or ''}/{_TAB}")
    guarded = web_ui.auth_required_if_enabled
    routes.add_url_rule("/chart.js", "script", guarded(lambda: send_file(_SCRIPT)))
    routes.add_url_rule("/chart.json", "chart", guarded(lambda: chart(history)))
    return routes


def _keep_history(environment: Environment) -> History:
    on_master = isinstance(environment.runner, MasterRunner)
    history = History(_MASTER_SAMPLES_EVERY_S if on_master else _SAMPLE_EVERY_S)
    hooks: Any = environment.events
    hooks.test_start.add_listener(lambda **_: history.begin(time.time()))
    gevent.spawn(_sample_often, environment, history)
    return history


def _sample_often(environment: Environment, history: History) -> None:
    while True:
        if environment.runner and environment.runner.state in (STATE_SPAWNING, STATE_RUNNING):
            history.add(time.time(), statistics_of(environment).outcomes)
        gevent.sleep(_SAMPLE_EVERY_S)


_hooks: Any = events
_hooks.init.add_listener(_extend)
