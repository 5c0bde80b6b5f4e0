"""What npm installs for the tests, once for all runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


def install(folder: Path, package: str) -> Path:
    """Install a package once, and return where; skip without node, but not in CI."""
    if not (shutil.which("node") and shutil.which("npm")):
        assert not os.environ.get("CI"), "CI needs node and npm"
        pytest.skip("needs node and npm")
    modules = folder / "node_modules"
    if not modules.exists():
        with TemporaryDirectory(dir=folder) as fresh:
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", fresh, package]
            subprocess.run(command, check=True, timeout=100)
            with suppress(OSError):  # another process of the tests was first
                (Path(fresh) / "node_modules").rename(modules)
    return modules
