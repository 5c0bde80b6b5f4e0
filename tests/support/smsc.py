"""A real SMSC that nobody here wrote: npm's smpp, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = "smpp@0.5.1"
PASSWORD = "secret"
SCRIPT = Path(__file__).with_name("smsc.js")


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
        async with asyncio.timeout(240):
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
