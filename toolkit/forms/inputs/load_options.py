"""The fields of a form that describe a load test, generated from ``load_test.plan.options``."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlsplit

import ipywidgets as widgets

from toolkit.api.errors import InputError
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, columns
from toolkit.forms.widgets.templates import render
from toolkit.forms.widgets.text_field import TextField
from toolkit.load_and_report import LoadTest
from toolkit.load_test.launch.scenarios import describe, scenarios
from toolkit.load_test.plan.options import LoadOptions, declared, is_repeatable, parse_option
from toolkit.load_test.plan.target_guard import cap_messages, doubt_of, is_this_machine
from toolkit.settings import Price, Target, load_price

USERS, RATE, STAGES = "users", "rate_per_s", "stages"  # the ways to give the load, fields of LoadOptions
_SCENARIO = "throughput"


class LoadFields:
    """Fields for the scenario, the load, the thresholds and the budget; further options are folded away."""

    def __init__(self) -> None:
        price = load_price()
        cost = f"At {price.per_send:f} {price.currency} a send." if price else "Needs SMSCODE_PRICE_PER_SEND."
        self.scenario = widgets.Dropdown(description="Scenario", options=sorted(scenarios()), value=_SCENARIO)
        ways = [("Users", USERS), ("Arrival rate", RATE), ("Stages", STAGES)]
        self.pace = widgets.Dropdown(description="Load", options=ways)
        self.amount = option_field(USERS)
        self.duration = option_field("duration_s")
        self.thresholds = option_field("thresholds", kind="lines", help="One per line.")
        self.messages = option_field("max_messages", kind="number", hint="unlimited")
        self.cost = option_field("max_cost", kind="number", hint="unlimited", help=cost)
        self.more = {name: option_field(name) for name in ("arrivals", "max_connections", "workers", "rules", "speed")}
        self.more |= {name: option_field(name) for name in ("mobiles", "seed", "label")}
        self._description = HtmlPanel()
        self.scenario.observe(lambda _: self._describe(), "value")
        self.pace.observe(lambda _: self._choose_load(), "value")
        self._describe()
        further = list(self.more.values())
        self.fold = widgets.Button()
        self._further = widgets.VBox([columns(*pair) for pair in zip(further[::2], further[1::2], strict=True)])
        self.fold.on_click(lambda _: self._show_further(self._further.layout.display == "none"))
        self._show_further(False)
        self.widget = widgets.VBox(
            [
                self.scenario,
                self._description,
                columns(self.pace, self.amount, self.duration),
                self.thresholds,
                columns(self.messages, self.cost),
                actions(self.fold),
                self._further,
            ]
        )

    def read(self, real: Target | None) -> LoadTest | None:
        """Return the load test, or None if a field is invalid; the field then shows the error.

        Args:
            real: The target if its messages may cost money; this allows the load test to use it. None for a sandbox.
        """
        price = load_price()
        fields = {self.pace.value: self.amount, "thresholds": self.thresholds, "max_messages": self.messages}
        fields |= {"max_cost": self.cost} | self.more
        if self.pace.value != STAGES:
            fields["duration_s"] = self.duration
        texts = {name: field.read(partial(check_field, name, real, price)) for name, field in fields.items()}
        if None in texts.values():
            if any(field.error for field in self.more.values()):
                self._show_further(True)
            return None
        values: dict[str, Any] = {name: parse_option(name, text) for name, text in texts.items() if text}
        if real:
            values |= {"allow_target": (urlsplit(real.base_url).hostname or "",), "i_pay_for_this": True}
        return LoadTest(self.scenario.value, LoadOptions(**values), price)

    def enable(self, is_enabled: bool) -> None:
        """Enable or disable all fields."""
        fields: list[Any] = [self.scenario, self.pace, self.amount, self.duration, self.thresholds]
        for field in [*fields, self.messages, self.cost, *self.more.values()]:
            field.disabled = not is_enabled

    def _show_further(self, is_shown: bool) -> None:
        self._further.layout.display = "" if is_shown else "none"
        self.fold.description = "Fewer options" if is_shown else "More options"

    def _choose_load(self) -> None:
        option = declared()[self.pace.value]
        self.amount.label, self.amount.value, self.amount.help = option.label, option.suggestion, option.help
        self.amount.error = ""
        self.duration.layout.display = "none" if self.pace.value == STAGES else ""

    def _describe(self) -> None:
        self._description.html = render("note", text=describe(self.scenario.value))


def option_field(name: str, **traits: Any) -> TextField:
    """Return the field of an option, as its declaration describes it."""
    option = declared()[name]
    default = LoadOptions.model_fields[name].get_default()
    hint = option.default or ("" if default is None or is_repeatable(name) else str(default))
    if option.suggestion and not is_repeatable(name):  # an empty field is an error here, not the default
        hint = ""
    return TextField(option.label, option.suggestion, **{"help": option.help, "hint": hint, **traits})


def check_field(name: str, real: Target | None, price: Price | None, text: str) -> str:
    """Return the text of a field if it is valid, "" for an option that is not given; raise ValueError."""
    if not text and name == "max_messages" and real and not (is_this_machine(real.base_url) and not doubt_of(real)):
        raise InputError("expected a maximum: each message costs money there and may reach a stranger")
    if not text and declared()[name].suggestion and not is_repeatable(name):
        raise InputError(f"expected {declared()[name].expects}")
    if text:
        parse_option(name, text)
    if text and name == "mobiles":
        LoadOptions(users=1, mobiles=text).check_data()
    if text and name in ("max_messages", "max_cost"):
        cap_messages(**{"max_messages": None, "max_cost": None, name: parse_option(name, text)}, price=price)
    return text
