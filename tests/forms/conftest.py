"""What the forms are tried with: no browser, no kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ipywidgets
import pytest
from support.service import Running

from toolkit.forms import Sandbox
from toolkit.settings import Target


class Shared(Sandbox):
    """The sandbox of all tests, in place of a form's own."""

    def __init__(self, service: Running) -> None:
        super().__init__()
        self._target = Target(service.url, service.app_key, service.master_secret, service.temp_id)

    def close(self) -> None:
        pass


@pytest.fixture
def shared(sandbox: Running) -> Sandbox:
    return Shared(sandbox)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of this machine's user, and runs go nowhere else."""
    monkeypatch.chdir(tmp_path)
    for name in ("BASE_URL", "APP_KEY", "MASTER_SECRET", "TEMP_ID", "PRICE_PER_SEND", "CURRENCY"):
        monkeypatch.delenv(f"SMSCODE_{name}", raising=False)


@pytest.fixture(autouse=True)
def _no_widgets_left() -> Iterator[None]:
    yield
    ipywidgets.Widget.close_all()


@pytest.fixture
def configured(sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A target that is configured, at which a message has a price."""
    monkeypatch.setenv("SMSCODE_BASE_URL", sandbox.url)
    monkeypatch.setenv("SMSCODE_APP_KEY", sandbox.app_key)
    monkeypatch.setenv("SMSCODE_MASTER_SECRET", sandbox.master_secret)
    monkeypatch.setenv("SMSCODE_PRICE_PER_SEND", "0.045")
    return sandbox
