"""WhatIfForm, without a browser: a log, rules, and the table and picture of what they would have done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.forms import press, type_into
from support.priced import MIDNIGHT_NS, SECOND_NS, send, verify

from toolkit.analysis import from_frame, from_records
from toolkit.forms import WhatIfForm
from toolkit.forms.what_if_form import SWEEP
from toolkit.records.parquet import write_parquet

FIRST, SECOND = (send(MIDNIGHT_NS + second * SECOND_NS, 1, 50000) for second in (0, 70))
CALLS = [FIRST, SECOND, verify(SECOND, 50000)]


def cells(html: str, figure: str) -> list[str]:
    (row,) = re.findall(rf'<th scope="row">{figure}</th>(.*?)</tr>', html, re.DOTALL)
    return re.findall(r">([^<]*)</td>", row)


def test_each_line_of_rules_is_a_column(tmp_path: Path) -> None:
    write_parquet(CALLS, tmp_path / "calls.parquet")
    form = WhatIfForm()
    type_into(form.log, str(tmp_path))
    type_into(form.rules, "1/60s\n1/90s 5/1h\n")
    press(form.start)
    form.wait()
    assert cells(form._result.html, "newly refused") == ["0", "0", "1"]
    assert cells(form._result.html, "users lost") == ["0", "0", "1"]
    assert "<svg" in form._result.html
    assert "No price is known" in form._result.html
    assert not form.start.disabled


def test_a_sweep_shows_the_best_rules_of_the_given_calls() -> None:
    form = WhatIfForm(from_frame(from_records(CALLS)))
    form.mode.value = SWEEP
    assert form.rules.layout.display == "none"
    press(form.start)
    form.wait()
    assert cells(form._result.html, "1/300s")[0] == "1"


def test_blocked_prefixes_alone_are_a_column() -> None:
    form = WhatIfForm(from_frame(from_records(CALLS)))
    type_into(form.rules, "")
    type_into(form.blocked, "138")
    press(form.start)
    form.wait()
    assert cells(form._result.html, "messages") == ["2", "0"]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("log", ""),
        ("rules", ""),
        ("rules", "often"),
        ("rules", "1/1s\n" * 7),
        ("blocked", "x"),
        ("prices", "none.toml"),
    ],
)
def test_what_cannot_be_used_is_refused_beside_its_field(field: str, text: str) -> None:
    form = WhatIfForm()
    type_into(form.log, "runs")
    type_into(getattr(form, field), text)
    press(form.start)
    assert getattr(form, field).error
    assert not form._work.is_busy


def test_a_log_that_cannot_be_read_is_a_problem_in_the_form(tmp_path: Path) -> None:
    form = WhatIfForm()
    type_into(form.log, str(tmp_path / "missing"))
    press(form.start)
    form.wait()
    assert "missing" in form._result.html
    assert not form.start.disabled
