"""Order: the fields that say what a load test is to do, and what of them makes a trial."""

from __future__ import annotations

import ast
import secrets
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlsplit

import ipywidgets as widgets

from toolkit.api.durations import EXAMPLES, parse_duration
from toolkit.api.errors import InputError
from toolkit.api.wire import parse_whole
from toolkit.forms.parts.templates import render
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import columns
from toolkit.forms.widgets.text_field import TextField
from toolkit.load_and_report import Trial, read_plan
from toolkit.load_test.launch import locust_process
from toolkit.load_test.launch.locust_process import Bounds, Expectations
from toolkit.load_test.plan.schedule import parse_stages, steady
from toolkit.load_test.plan.target_guard import cap_messages, is_this_machine
from toolkit.runs.thresholds import parse
from toolkit.settings import Price, Target, load_price

USERS, RATE, STAGES = "users", "rate", "stages"
_SCENARIO = "throughput"
_PACES = {
    USERS: ("Users", "20", "People at once; each waits for his answers."),
    RATE: ("Rate", "50", "Journeys begun a second, whatever the answers do."),
    STAGES: ("Stages", "10s@100,20s=100,5s@0", "Ramp with @, hold with =; commas between."),
}
_THRESHOLDS = "p99(send.caller_ms) < 250\nok_ratio(send) >= 95%"

T = TypeVar("T")


class Order:
    """The fields."""

    def __init__(self) -> None:
        self.scenario = widgets.Dropdown(
            description="Scenario", options=sorted(locust_process.scenarios()), value=_SCENARIO
        )
        self.pace = widgets.Dropdown(
            description="Pace", options=[("Users at once", USERS), ("A rate", RATE), ("Stages", STAGES)]
        )
        self.hard = TextField(*_PACES[USERS][:2], kind="text", help=_PACES[USERS][2])
        self.duration = TextField("Duration", "10s", help=f"{EXAMPLES[0].upper()}{EXAMPLES[1:]}.")
        self.thresholds = TextField("Thresholds", _THRESHOLDS, kind="lines", help="What it must keep to, one a line.")
        self.messages = TextField("Most messages", kind="number", hint="any number", help="Never one more is sent.")
        self.cost = TextField("Most cost", kind="number", hint="any amount", help=_tell_price())
        self._says = HtmlPanel()
        self.scenario.observe(lambda _: self._tell(), "value")
        self.pace.observe(lambda _: self._choose_pace(), "value")
        self._tell()
        self.widget = widgets.VBox(
            [
                self.scenario,
                self._says,
                columns(self.pace, self.hard, self.duration),
                self.thresholds,
                columns(self.messages, self.cost),
            ]
        )

    def read(self, real: Target | None) -> Trial | None:
        """Return the trial that was asked for; where a field can't be used that is shown beside it: None.

        ``real``: the target, where messages may cost money.
        """
        price = load_price()
        read = [
            self.hard.read(self._check_pace),
            self.duration.read(self._read_duration),
            self.thresholds.read(_read_thresholds),
            self.messages.read(lambda text: _read_cap(text, real)),
            self.cost.read(lambda text: _check_cost(text, price)),
        ]
        return None if None in read else self._trial(real, price)

    def enable(self, is_enabled: bool) -> None:
        """Let the fields be changed, or not."""
        fields: list[Any] = [
            self.scenario,
            self.pace,
            self.hard,
            self.duration,
            self.thresholds,
            self.messages,
            self.cost,
        ]
        for field in fields:
            field.disabled = not is_enabled

    def _trial(self, real: Target | None, price: Price | None) -> Trial:
        pace = {self.pace.value: self.hard.value.strip()}
        users, rate = pace.get(USERS), pace.get(RATE)
        duration = None if self.pace.value == STAGES else self.duration.value
        allowed = (urlsplit(real.base_url).hostname or "",) if real else ()
        messages = parse_whole(self.messages.value.strip())
        return Trial(
            self.scenario.value,
            read_plan(int(users) if users else None, float(rate) if rate else None, pace.get(STAGES), duration),
            Bounds(
                _read_thresholds(self.thresholds.value), messages, self.cost.value.strip() or None, allowed, bool(real)
            ),
            Expectations(),
            price,
            secrets.randbelow(1 << 32),
        )

    def _check_pace(self, text: str) -> str:
        _CHECKS[self.pace.value](text)
        return text

    def _read_duration(self, text: str) -> float:
        return 0 if self.pace.value == STAGES else parse_duration(text)

    def _choose_pace(self) -> None:
        self.hard.label, self.hard.value, self.hard.help = _PACES[self.pace.value]
        self.hard.error = ""
        self.duration.layout.display = "none" if self.pace.value == STAGES else ""

    def _tell(self) -> None:
        self._says.html = render("says", text=_says(self.scenario.value))


def _says(scenario: str) -> str:
    """Return the first line of a scenario's own words."""
    text = locust_process.find_scenario(scenario).read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def _tell_price() -> str:
    price = load_price()
    return f"At {price.per_send:f} {price.currency} a send." if price else "Needs SMSCODE_PRICE_PER_SEND."


def _check_users(text: str) -> None:
    users = parse_whole(text)
    if users is None or users < 1:
        raise InputError("a whole number of people, at least 1")


def _check_rate(text: str) -> None:
    try:
        rate = float(text)
    except ValueError:
        raise InputError("a number of journeys a second, such as 50") from None
    steady(rate)


_CHECKS: dict[str, Callable[[str], object]] = {USERS: _check_users, RATE: _check_rate, STAGES: parse_stages}


def _read_thresholds(text: str) -> tuple[str, ...]:
    return tuple(str(parse(line)) for line in text.splitlines() if line.strip())


def _read_cap(text: str, real: Target | None) -> int:
    """Read the cap on messages, 0 for none, which a target that isn't this machine must have."""
    if not text:
        if real and not is_this_machine(real.base_url):
            raise InputError("say how many messages may be sent: each costs money, and reaches a stranger")
        return 0
    cap = parse_whole(text)
    if cap is None or cap < 1:
        raise InputError("a whole number of messages, at least 1")
    return cap


def _check_cost(text: str, price: Price | None) -> Decimal:
    if text:
        cap_messages(None, text, price)
    return Decimal(0)
