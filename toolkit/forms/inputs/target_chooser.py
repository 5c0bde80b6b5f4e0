"""Choose the API that a form calls: a sandbox started here, the configured target, or one that the user enters."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import ipywidgets as widgets

from toolkit.api.basic_auth import Credentials
from toolkit.api.errors import InputError, SettingsError
from toolkit.api.wire import parse_base_url
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions
from toolkit.forms.widgets.templates import render
from toolkit.forms.widgets.text_field import TextField
from toolkit.load_test.plan.target_guard import is_this_machine
from toolkit.settings import Target, find_target

_MAX_SPEED = 100_000
SANDBOX, CONFIGURED, ANOTHER = "sandbox", "configured", "another"
MISSING_TARGET = "no target: enter the base URL, app key and master secret of an API"


class TargetChooser:
    """A dropdown of targets. ``target`` returns the chosen one; ``on_change`` is called when the choice changed."""

    def __init__(self, sandbox: Sandbox, on_change: Callable[[], object] = lambda: None) -> None:
        self.sandbox = sandbox
        self._on_change = on_change
        self._configured, self._problem = _configured()
        self._another: Target | None = None
        configured = [(urlsplit(self._configured.base_url).netloc, CONFIGURED)] if self._configured else []
        options = [("Sandbox on this machine", SANDBOX), *configured, ("Another API …", ANOTHER)]
        self.choice = widgets.Dropdown(description="API", options=options)
        self.base_url = TextField("Base URL", hint="https://api.example.com")
        self.app_key = TextField("App key")
        self.secret = TextField("Master secret", kind="password", help="Kept in this process only, never shown.")
        self.use = widgets.Button(description="Use this API")
        self._status = HtmlPanel()
        self._typed = widgets.VBox([self.base_url, self.app_key, self.secret, actions(self.use)]).add_class("sms-typed")
        self.widget = widgets.VBox([self.choice, self._status, self._typed])
        self.choice.observe(lambda _: self._change(), "value")
        self.use.on_click(lambda _: self.use_typed())
        self.secret.on_enter(self.use_typed)
        self.show()

    @property
    def is_real(self) -> bool:
        """Whether a call may cost money or reach a person: true for all targets except the sandbox started here."""
        return bool(self.choice.value != SANDBOX)

    @property
    def may_have_codes(self) -> bool:
        """Whether the target may be a sandbox that can return sent codes: true for targets on this machine."""
        return not self.is_real or (self.chosen is not None and is_this_machine(self.chosen.base_url))

    @property
    def chosen(self) -> Target | None:
        """The chosen real target; None for the sandbox, and if the target's data is incomplete."""
        return {CONFIGURED: self._configured, ANOTHER: self._another}.get(self.choice.value)

    def target(self) -> Target:
        """Return the chosen target, and start the sandbox if needed. Raises InputError without a target."""
        if not self.is_real:
            return self.sandbox.target()
        if self.chosen is None:
            raise InputError(MISSING_TARGET)
        return self.chosen

    def use_typed(self) -> None:
        """Use the entered target, and clear the field of the secret."""
        base_url = self.base_url.read(parse_base_url)
        app_key = self.app_key.read(lambda key: Credentials(key, "").app_key)
        secret = self.secret.take()
        self.secret.error = "" if secret else "enter the master secret of the app"
        if base_url and app_key and secret:
            self._another = Target(base_url, app_key, secret)
            self._change()

    def enable(self, is_enabled: bool) -> None:
        """Enable or disable the choice of a target."""
        for part in (self.choice, self.base_url, self.app_key, self.secret, self.use):
            part.disabled = not is_enabled

    def show(self) -> None:
        """Show the state of the chosen target."""
        self._typed.layout.display = "" if self.choice.value == ANOTHER else "none"
        self._status.html = render(
            "target",
            choice=self.choice.value,
            host=urlsplit(self.chosen.base_url).netloc if self.chosen else "",
            is_here=self.chosen is not None and is_this_machine(self.chosen.base_url),
            is_running=self.sandbox.is_running,
            problem=self._problem,
        )

    def _change(self) -> None:
        self.show()
        self._on_change()


def _configured() -> tuple[Target | None, str]:
    """Return the configured target, and the problem if the settings are invalid."""
    try:
        return find_target(), ""
    except SettingsError as problem:
        return None, str(problem)


def parse_speed(text: str) -> float:
    """Parse how many times faster the clock of a sandbox runs; raise InputError for an invalid number.

    >>> parse_speed("60")
    60.0
    """
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= _MAX_SPEED:
        raise InputError(f"expected a number above 0 and at most {_MAX_SPEED:,}, e.g. 60")
    return speed
