"""What npm installs for the tests, once for all runs."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from support.programs import require


def install(folder: Path, *packages: str) -> Path:
    """Install packages once and return their node_modules folder. Skip the test if node or npm is not installed."""
    require("node", "nodejs")
    require("npm")
    modules = folder / "node_modules"
    if not modules.exists():
        with TemporaryDirectory(dir=folder) as fresh:
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", fresh, *packages]
            subprocess.run(command, check=True, timeout=240)
            with suppress(OSError):  # another process of the tests was first
                (Path(fresh) / "node_modules").rename(modules)
    return modules
