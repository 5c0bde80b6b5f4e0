"""Run an administrative operation on a store: directly, or through the running service that owns the store.

A Redis store has no owner: any process may write to it. A SQLite store belongs to the process that opened it. That
process listens on a loopback port for one request, answers it and closes the connection::

    -> {"token": "…", "user": "…", "operation": "top_up", "arguments": {"app_key": "…", "messages": 5}}\\n
    <- {"result": [{…}]}\\n      or      {"error": "…"}\\n

The port and the token are in the store's lock file, which only its user can read. So a change takes effect at once,
and a single process writes to the file. The service logs each operation with its arguments, and with the user that the
client names.
"""

from __future__ import annotations

import asyncio
import getpass
import hmac
import inspect
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from toolkit.api.errors import InputError, RunError, ToolkitError
from toolkit.service.admin.operations import Admin
from toolkit.service.core.policy import Policy
from toolkit.service.metrics.call_log import LOG_FIELDS
from toolkit.service.stores.open_store import is_shared, open_store, read_path
from toolkit.service.stores.sqlite.lock_file import OwnedError

log = logging.getLogger(__name__)

OPERATIONS = (
    "create_app",
    "list_apps",
    "top_up",
    "change_app",
    "rotate_secret",
    "add_template",
    "list_templates",
    "change_template",
    "show_message",
)
MAX_REQUEST_BYTES = 1 << 20  # a response has no limit: it ends with the connection
MAX_CLIENTS = 16
_TIMEOUT_S = 10.0
_NOT_LOGGED = frozenset({"master_secret"})


def administer(store_url: str, key_file: Path, operation: str, **arguments: Any) -> Any:
    """Run one of OPERATIONS on a store and return its result.

    ``key_file`` holds the key of a Redis store; a SQLite store has its own. Only ``create_app`` creates a store. Raise
    InputError if the operation refuses its arguments, RunError if the store's owner does not respond.
    """
    return asyncio.run(_administer(store_url, key_file, operation, arguments))


async def _administer(store_url: str, key_file: Path, operation: str, arguments: dict[str, Any]) -> Any:
    if not is_shared(store_url) and operation != "create_app" and not (path := read_path(store_url)).exists():
        raise InputError(f"{path}: no such store; `smscode app create` creates it with a first app")
    try:
        store = await open_store(store_url, Policy(), key_file)
    except OwnedError as owned:
        if "port" not in owned.owner:
            raise
        return await _request(owned.owner, operation, arguments)
    try:
        return await getattr(Admin(store), operation)(**arguments)
    finally:
        await store.close()


async def _request(owner: dict[str, Any], operation: str, arguments: dict[str, Any]) -> Any:
    """Send an operation to the service that owns the store."""
    request = {"token": owner["token"], "user": _user(), "operation": operation, "arguments": arguments}
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", owner["port"])
            with closing(writer):
                writer.write(json.dumps(request).encode() + b"\n")
                response = json.loads(await reader.read())
    except (OSError, ValueError) as problem:
        raise RunError(f"the service that owns the store (pid {owner['pid']}) did not answer: {problem}") from None
    if "error" in response:
        raise InputError(response["error"])
    return response["result"]


def _user() -> str:
    """Return the person's user name; behind sudo, the one that ran it."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (ImportError, KeyError, OSError):  # for example in a container without a list of users
        return "unknown"


@asynccontextmanager
async def listen(admin: Admin, timeout_s: float = _TIMEOUT_S) -> AsyncIterator[dict[str, Any]]:
    """Run operations for other processes until the block ends; yield the port and the token that they need.

    A client has ``timeout_s`` for its request. Beyond MAX_CLIENTS at a time, connections are closed at once.
    """
    log.setLevel(logging.INFO)  # even if calls are not logged
    token = secrets.token_hex(16)
    tasks: set[asyncio.Task[None]] = set()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):  # the client may have gone
            writer.write(json.dumps(await _handle(admin, token, reader, timeout_s)).encode() + b"\n")
            await writer.drain()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(tasks) >= MAX_CLIENTS:
            return writer.close()
        task = asyncio.create_task(respond(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return None

    async with await asyncio.start_server(accept, "127.0.0.1", 0, limit=MAX_REQUEST_BYTES) as server:
        try:
            yield {"port": server.sockets[0].getsockname()[1], "token": token}
        finally:
            server.close()
            for task in tasks:  # a client that sends nothing must not delay the end
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _handle(admin: Admin, token: str, reader: asyncio.StreamReader, timeout_s: float) -> dict[str, Any]:
    """Read a request, run its operation, log it and return the response."""
    try:
        async with asyncio.timeout(timeout_s):
            request = json.loads(await reader.readline())
        if not hmac.compare_digest(str(request["token"]).encode(), token.encode()):
            return {"error": "wrong token"}
        operation, arguments = request["operation"], request["arguments"]
        if operation not in OPERATIONS:
            return {"error": f"unknown operation {operation!r} (choose from {', '.join(OPERATIONS)})"}
        checked = msgspec.to_builtins(msgspec.convert(arguments, _arguments_type(operation)))
    except TimeoutError:
        return {"error": f"no request arrived within {timeout_s:g} s"}
    except (ValueError, TypeError, KeyError, RecursionError, msgspec.MsgspecError) as problem:
        return {"error": f"invalid request: {problem!r}"}
    try:
        response = {"result": await getattr(admin, operation)(**checked)}
    except ToolkitError as problem:
        response = {"error": str(problem)}
    known = {name: value for name, value in arguments.items() if name not in _NOT_LOGGED}
    outcome = {"error": response["error"]} if "error" in response else {}
    fields = {"operation": operation, "user": str(request.get("user", "unknown")), **known, **outcome}
    log.info("admin: %s", operation, extra={LOG_FIELDS: fields})
    return response


@cache
def _arguments_type(operation: str) -> type[msgspec.Struct]:
    """Return a type that has the keyword arguments of an operation as fields, with their types and defaults."""
    method = getattr(Admin, operation)
    types, parameters = get_type_hints(method), list(inspect.signature(method).parameters.values())[1:]
    fields = [
        (it.name, types[it.name]) if it.default is it.empty else (it.name, types[it.name], it.default)
        for it in parameters
    ]
    return msgspec.defstruct(operation, fields, kw_only=True, forbid_unknown_fields=True)
