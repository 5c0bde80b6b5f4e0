"""A target that is no sandbox is probed only with permission, a cap and mobiles that may be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toolkit.api.errors import InputError
from toolkit.probe.permission import permit
from toolkit.settings import Target

HERE, ELSEWHERE = (Target(url, "key", "secret") for url in ("http://127.0.0.1:8018", "https://api.example.com"))


def test_a_sandbox_needs_nothing() -> None:
    plan = permit(HERE, mobiles=None, max_messages=None, speed=60, find_doubt=lambda _: "")
    assert (len(set(plan.mobiles)), plan.max_messages, plan.seeks_app) == (20, 100, True)


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({}, "--allow-target api.example.com, and a limit, e.g. --max-messages 100"),
        ({"allowed": ["api.example.com"]}, "--max-messages"),
        ({"allowed": ["api.example.com"], "max_messages": 9}, "--mobiles file:PATH"),
        ({"allowed": ["api.example.com"], "max_messages": 9, "mobiles": "uniform"}, "--mobiles file:PATH"),
        ({"allowed": ["api.example.com"], "max_messages": 9, "mobiles": "file:FILE", "speed": 60.0}, "leave it out"),
    ],
)
def test_another_target_needs_permission_cap_and_mobiles(tmp_path: Path, options: dict[str, Any], missing: str) -> None:
    (tmp_path / "mine.txt").write_text("13800138000\n", encoding="utf-8")
    given = {"mobiles": None, "max_messages": None} | options
    given["mobiles"] = given["mobiles"] and given["mobiles"].replace("FILE", str(tmp_path / "mine.txt"))
    with pytest.raises(InputError, match=missing):
        permit(ELSEWHERE, **given)


def test_a_target_here_that_is_no_sandbox_needs_them_too() -> None:
    with pytest.raises(InputError, match="not known to be a sandbox"):
        permit(HERE, mobiles=None, max_messages=None, find_doubt=lambda _: "HTTP 404")


def test_only_the_listed_mobiles_are_used(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("13800138000\n13900139000\n13800138000\n", encoding="utf-8")
    mobiles = f"file:{tmp_path / 'mine.txt'}"
    plan = permit(ELSEWHERE, mobiles=mobiles, max_messages=9, allowed=["api.example.com"], scope="mobile")
    assert (plan.mobiles, plan.seeks_app) == (("13800138000", "13900139000"), False)


@pytest.mark.parametrize("speed", [0.0, -1.0, 1e9, float("nan")])
def test_a_speed_is_a_positive_number(speed: float) -> None:
    with pytest.raises(InputError, match="invalid speed"):
        permit(HERE, mobiles=None, max_messages=None, speed=speed, find_doubt=lambda _: "")


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(InputError, match="choose from both, mobile"):
        permit(HERE, mobiles=None, max_messages=None, scope="app", find_doubt=lambda _: "")
