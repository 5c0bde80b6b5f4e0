"""Chooser: which API a form calls: a sandbox started in place, the configured target, or one that is typed in."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import ipywidgets as widgets

from toolkit.api.errors import InputError, SettingsError
from toolkit.api.wire import Credentials, parse_base_url
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.parts.templates import render
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions
from toolkit.forms.widgets.text_field import TextField
from toolkit.load_test.plan.target_guard import is_this_machine
from toolkit.settings import Target, find_target

SANDBOX, CONFIGURED, ANOTHER = "sandbox", "configured", "another"


class TargetChooser:
    """The chooser; ``target`` is what was chosen, ``on_change`` is called when that is something else."""

    def __init__(self, sandbox: Sandbox, on_change: Callable[[], object] = lambda: None) -> None:
        self.sandbox = sandbox
        self._on_change = on_change
        self._configured, self._trouble = _configured()
        self._another: Target | None = None
        self.choice = widgets.Dropdown(description="API", options=self._options())
        self.base_url = TextField("Base URL", hint="https://api.example.com")
        self.app_key = TextField("App key")
        self.secret = TextField("Master secret", kind="password", help="Kept in this process only, and never shown.")
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
        """Whether a call may cost money or reach somebody: any target but the sandbox started here."""
        return bool(self.choice.value != SANDBOX)

    @property
    def may_tell_codes(self) -> bool:
        """Whether it may be a sandbox, which tells the codes that it sent: this machine's own may."""
        return not self.is_real or (self.chosen is not None and is_this_machine(self.chosen.base_url))

    @property
    def chosen(self) -> Target | None:
        """The real target that was chosen; None: the sandbox, or nothing that can be called yet."""
        return {CONFIGURED: self._configured, ANOTHER: self._another}.get(self.choice.value)

    def target(self) -> Target:
        """Return what was chosen; starts the sandbox where that's it. Raises InputError where nothing is yet."""
        if not self.is_real:
            return self.sandbox.target()
        if self.chosen is None:
            raise InputError("say first which API: its base URL, app key and master secret")
        return self.chosen

    def use_typed(self) -> None:
        """Take what was typed as the target, and forget the secret's field."""
        base_url = self.base_url.read(parse_base_url)
        app_key = self.app_key.read(lambda key: Credentials(key, "").app_key)
        secret = self.secret.take()
        self.secret.error = "" if secret else "type the app's master secret"
        if base_url and app_key and secret:
            self._another = Target(base_url, app_key, secret)
            self._change()

    def enable(self, is_enabled: bool) -> None:
        """Let another target be chosen, or not."""
        for part in (self.choice, self.base_url, self.app_key, self.secret, self.use):
            part.disabled = not is_enabled

    def show(self) -> None:
        """Show what is known of the chosen target."""
        self._typed.layout.display = "" if self.choice.value == ANOTHER else "none"
        self._status.html = render(
            "target",
            choice=self.choice.value,
            host=urlsplit(self.chosen.base_url).netloc if self.chosen else "",
            is_here=self.chosen is not None and is_this_machine(self.chosen.base_url),
            runs=self.sandbox.runs,
            trouble=self._trouble,
        )

    def _options(self) -> list[tuple[str, str]]:
        configured = [(urlsplit(self._configured.base_url).netloc, CONFIGURED)] if self._configured else []
        return [("Sandbox on this machine", SANDBOX), *configured, ("Another API …", ANOTHER)]

    def _change(self) -> None:
        self.show()
        self._on_change()


def _configured() -> tuple[Target | None, str]:
    """Return the configured target, and what is wrong with the settings where they can't be used."""
    try:
        return find_target(), ""
    except SettingsError as problem:
        return None, str(problem)
