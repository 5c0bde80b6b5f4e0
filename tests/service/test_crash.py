"""Answered calls survive kill -9. benchmarks/crash.py is the long version; these tests run it briefly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.programs import require

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "crash.py"


@pytest.mark.parametrize("victim", ["sqlite", "redis", "workers"])
def test_answered_calls_survive_a_kill_under_load(victim: str) -> None:
    if victim != "sqlite":
        require("redis-server")
    command = [sys.executable, str(SCRIPT), victim, "--kills", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
