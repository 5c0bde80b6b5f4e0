"""What forms are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolkit import forms

FORMS: dict[str, Callable[[Path], Any]] = {
    "CallForm(0 calls)": lambda _: forms.CallForm(),
    "CapacityForm(0 searches)": lambda out: forms.CapacityForm(out=out),
    "LimitsForm()": lambda out: forms.LimitsForm(out=out),
    "LoadForm(0 runs)": lambda out: forms.LoadForm(out=out),
    "Overview(0 runs)": lambda out: forms.Overview(out=out),
    "ProbeForm(0 probes)": lambda out: forms.ProbeForm(out=out),
    "ReportView()": lambda _: forms.ReportView(),
    "RunPicker(0 runs)": lambda out: forms.RunPicker(out),
    "WhatIfForm()": lambda _: forms.WhatIfForm(),
}


@pytest.mark.parametrize("name", FORMS)
def test_where_no_kernel_can_show_a_form_its_name_stands_in_its_place_and_no_path(name: str, tmp_path: Path) -> None:
    shown = FORMS[name](tmp_path)._repr_mimebundle_()
    assert shown["text/plain"] == name
    assert "application/vnd.jupyter.widget-view+json" in shown


def test_every_form_is_among_these() -> None:
    assert {name.partition("(")[0] for name in FORMS} == set(forms.__all__) - {"Sandbox"}
