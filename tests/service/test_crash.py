"""What was answered survives kill -9. The full-length version is benchmarks/crash.py, which this runs briefly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "crash.py"
LEFT_OUT = 3


@pytest.mark.parametrize("victim", ["sqlite", "redis", "workers"])
def test_what_was_answered_survives_a_kill_under_load(victim: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), victim, "--kills", "2"], capture_output=True, text=True, timeout=100, check=False
    )
    if done.returncode == LEFT_OUT and "CI" not in os.environ:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
