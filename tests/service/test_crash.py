"""Answered calls survive kill -9 and other faults. benchmarks has the long versions; these tests run them briefly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.programs import require

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("victim", ["sqlite", "redis", "workers"])
def test_answered_calls_survive_a_kill_under_load(victim: str) -> None:
    if victim != "sqlite":
        require("redis-server")
    command = [sys.executable, str(BENCHMARKS / "crash.py"), victim, "--kills", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["images", "restores", "disk"])
def test_a_fault_does_no_damage(kind: str) -> None:
    if kind != "restores":
        require("cc", "gcc")
    command = [sys.executable, str(BENCHMARKS / "security.py"), "--hours", "0.01", "--only", kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
