"""Administer a store, whoever owns it: directly, or through the running service that does.

Nobody owns a Redis: any process may write. The owner of a file listens on loopback for one JSON line in, one JSON line
out; where, and with which token, stands in the lock file that only the store's user can read. So what an operation
changes is in force at once, and one process writes.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

from toolkit.api.errors import InputError, RunError, ToolkitError
from toolkit.service.admin.operations import Admin
from toolkit.service.core.policy import Policy
from toolkit.service.stores.open import is_shared, open_store, read_path
from toolkit.service.stores.sqlite.lock_file import OwnedError

OPERATIONS = (
    "create_app",
    "list_apps",
    "top_up",
    "change_app",
    "add_template",
    "list_templates",
    "disable_template",
    "show_message",
)
MAX_QUESTION_BYTES = 1 << 20  # an answer, such as the list of all apps, has no limit: it ends with the connection
_TIMEOUT_S = 10.0


def administer(store_url: str, key_file: Path, operation: str, **arguments: Any) -> Any:
    """Carry out one of OPERATIONS on a store and return what it returns."""
    return asyncio.run(_administer(store_url, key_file, operation, arguments))


async def _administer(store_url: str, key_file: Path, operation: str, arguments: dict[str, Any]) -> Any:
    if not is_shared(store_url) and operation != "create_app" and not (path := read_path(store_url)).exists():
        raise InputError(f"{path}: there is no store; `smscode app create` makes one, and an app in it")
    try:
        store = await open_store(store_url, Policy(), key_file)
    except OwnedError as owned:
        if "port" not in owned.owner:
            raise
        return await _ask(owned.owner, operation, arguments)
    try:
        return await getattr(Admin(store), operation)(**arguments)
    finally:
        await store.close()


async def _ask(owner: dict[str, Any], operation: str, arguments: dict[str, Any]) -> Any:
    """Have the service that owns the store carry out an operation."""
    question = {"token": owner["token"], "operation": operation, "arguments": arguments}
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", owner["port"])
            with closing(writer):
                writer.write(json.dumps(question).encode() + b"\n")
                answer = json.loads(await reader.read())
    except (OSError, ValueError) as problem:
        raise RunError(f"the service that owns the store (pid {owner['pid']}) did not answer: {problem}") from None
    if "error" in answer:
        raise InputError(answer["error"])
    return answer["result"]


@asynccontextmanager
async def listen(admin: Admin) -> AsyncIterator[dict[str, Any]]:
    """Carry out what other processes ask for; yield the port and the token that they need."""
    token = secrets.token_hex(16)
    asking: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):  # whoever asked may have gone
            writer.write(json.dumps(await _carry_out(admin, token, reader)).encode() + b"\n")
            await writer.drain()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(answer(reader, writer))
        asking.add(task)
        task.add_done_callback(asking.discard)

    async with await asyncio.start_server(take, "127.0.0.1", 0, limit=MAX_QUESTION_BYTES) as server:
        try:
            yield {"port": server.sockets[0].getsockname()[1], "token": token}
        finally:
            server.close()
            await _end(asking)


async def _end(asking: set[asyncio.Task[None]]) -> None:
    """Wait no longer for those who asked nothing."""
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def _carry_out(admin: Admin, token: str, reader: asyncio.StreamReader) -> dict[str, Any]:
    try:
        question = json.loads(await reader.readline())
        if not hmac.compare_digest(str(question["token"]).encode(), token.encode()):
            return {"error": "wrong token"}
        if question["operation"] not in OPERATIONS:
            return {"error": f"unknown operation {question['operation']!r}"}
        return {"result": await getattr(admin, question["operation"])(**question["arguments"])}
    except ToolkitError as problem:
        return {"error": str(problem)}
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        return {"error": f"not understood: {problem!r}"}
