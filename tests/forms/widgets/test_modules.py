"""The modules of the widgets: whole in a notebook, a line in the console."""

from __future__ import annotations

import subprocess
import sys

import pytest

from toolkit.forms.widgets import modules


def test_a_notebook_gets_the_whole_module_and_the_console_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "function render" in modules.module("text_field.js")
    monkeypatch.setenv(modules.URL_VARIABLE, "/assets/1/widgets/")
    assert '"/assets/1/widgets/text_field.js"' in modules.module("text_field.js")
    assert modules.style(modules._FOLDER / "style.css") == ""


@pytest.mark.parametrize("name", modules.names())
def test_every_module_can_be_served(name: str) -> None:
    assert len(modules.read(name)) > 100


def test_a_file_that_is_no_module_is_not_read() -> None:
    with pytest.raises(KeyError):
        modules.read("../overview.py")


def test_the_widgets_of_a_console_have_no_module_in_their_state() -> None:
    script = (
        f"import os; os.environ[{modules.URL_VARIABLE!r}] = '/w/'\n"
        "from toolkit.forms import LoadForm\n"
        "import ipywidgets\n"
        "LoadForm(out='none')\n"
        "print(len(repr(ipywidgets.Widget.get_manager_state())))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150_000
