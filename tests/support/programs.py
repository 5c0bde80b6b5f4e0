"""Programs that some tests start and that pip does not install."""

from __future__ import annotations

import os
import shutil

import pytest

NEEDS = "needs "
"""How the reason of such a skip begins; the summary at the end of a test run lists these."""


def require(program: str, package: str | None = None) -> str:
    """Return the path of a program.

    Skip the test if it is not installed. In CI, fail instead: a check that is always skipped is no check.
    """
    path = shutil.which(program)
    if path is None:
        reason = f"{NEEDS}{program}: apt-get install {package or program}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path
