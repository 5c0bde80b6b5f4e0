"""The files of a run's folder, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.api.errors import InputError
from toolkit.runs.run_folder import read_expected, read_settings

SETTINGS = {"ended": "finished", "users": 2, "duration_s": 10, "warm_up_s": 0.5, "pacing": {"due": 3, "dropped": None}}


def write(folder: Path, settings: object) -> None:
    (folder / "run.json").write_text(json.dumps({"schema": 2, "settings": settings}))


def test_the_settings_of_a_load_test_are_read_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, SETTINGS)
    assert read_settings(tmp_path) == SETTINGS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ended", {"a": [1]}),
        ("users", True),
        ("users", {}),
        ("duration_s", "x"),
        ("duration_s", float("nan")),
        ("rate_per_s", []),
        ("warm_up_s", "5"),
        ("warm_up_s", 1e308),
        ("pacing", "x"),
        ("pacing", {"due": "x"}),
        ("generator", {"elapsed_s": [1]}),
        ("unrecorded", {"send": "x"}),
        ("unrecorded", {"send": -5}),
    ],
)
def test_a_setting_of_the_wrong_type_is_named(name: str, value: object, tmp_path: Path) -> None:
    write(tmp_path, SETTINGS | {name: value})
    with pytest.raises(InputError, match=rf"run\.json: settings: .*{name}.*; correct or remove the file"):
        read_settings(tmp_path)


def test_settings_of_other_tools_may_have_any_type(tmp_path: Path) -> None:
    write(tmp_path, {"users": "20", "duration_s": "10s"})
    assert read_settings(tmp_path)["users"] == "20"


@pytest.mark.parametrize("text", ['{"a": 1}', '"RATE"', "1", "null"])
def test_expected_outcomes_are_a_list(text: str, tmp_path: Path) -> None:
    (tmp_path / "expected.json").write_text(text)
    with pytest.raises(InputError, match=r"expected\.json is not a JSON array: .*; correct or remove the file"):
        read_expected(tmp_path)
