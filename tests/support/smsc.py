"""A real SMSC that nobody here wrote: npm's smpp, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

PACKAGE = "smpp@0.5.1"
PASSWORD = "secret"
SCRIPT = Path(__file__).with_name("smsc.js")


def install(folder: Path) -> Path:
    """Install the package once, and return where; skip without node, but not in CI."""
    if not (shutil.which("node") and shutil.which("npm")):
        assert not os.environ.get("CI"), "CI needs node and npm"
        pytest.skip("needs node and npm")
    modules = folder / "node_modules"
    if not modules.exists():
        with TemporaryDirectory(dir=folder) as fresh:
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", fresh, PACKAGE]
            subprocess.run(command, check=True, timeout=100)
            with suppress(OSError):  # another process of the tests was first
                (Path(fresh) / "node_modules").rename(modules)
    return modules


@dataclass
class Smsc:
    """An SMSC that runs."""

    process: asyncio.subprocess.Process
    port: int = 0

    async def tell(self, **commands: Any) -> None:
        """Have it do something, and return when it has."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(commands).encode() + b"\n")
        await self.process.stdin.drain()
        await self.expect("done")

    async def expect(self, event: str) -> dict[str, Any]:
        """Return the next event of a name; those before it are forgotten."""
        assert self.process.stdout
        async with asyncio.timeout(20):
            while line := await self.process.stdout.readline():
                told: dict[str, Any] = json.loads(line)
                if told.pop("event") == event:
                    return told
        raise AssertionError(f"the SMSC ended before {event}")


@asynccontextmanager
async def smsc(modules: Path, port: int = 0) -> AsyncIterator[Smsc]:
    """Run an SMSC until the block ends."""
    pipe = asyncio.subprocess.PIPE
    environment = os.environ | {"NODE_PATH": str(modules)}
    process = await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), str(port), stdin=pipe, stdout=pipe, env=environment
    )
    try:
        running = Smsc(process)
        running.port = (await running.expect("listening"))["port"]
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
