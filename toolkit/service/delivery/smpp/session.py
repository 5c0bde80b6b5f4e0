"""An SMPP 3.4 session over one TCP connection, in both directions: requests and their responses.

This module implements the protocol's framing and keep-alive. ``provider`` builds the messages, ``receipts`` parses
them.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiosmpplib.protocol import (
    BindTransceiver,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    GenericNack,
    Unbind,
    UnbindResp,
)
from aiosmpplib.state import SmppCommand, SmppCommandStatus

CONNECT_TIMEOUT_S, UNBIND_TIMEOUT_S = 5, 2
_HEADER = struct.Struct("!IIII")
_RESPONSE = 0x80000000
_MAX_PDU_OCTETS = 0x10000 + 1024  # the longest optional parameter, and room for the rest


class Pdu(NamedTuple):
    """A received protocol data unit. ``octets`` holds the whole PDU with its header."""

    command: int
    status: int
    sequence: int
    octets: bytes


DeliverHandler = Callable[[Pdu], Awaitable[int]]
"""Handles a deliver_sm and returns the status of its response."""


class BindRefusedError(Exception):
    """The SMSC refused to bind. The text is the status's name."""


def status_name(status: int) -> str:
    """Return the SMPP name of a command status; a vendor's own status as a hexadecimal number.

    >>> status_name(0x58), status_name(0x427)
    ('ESME_RTHROTTLED', '0x00000427')
    """
    try:
        return str(SmppCommandStatus(status).name)
    except ValueError:
        return f"0x{status:08X}"


@dataclass(frozen=True, slots=True)
class SmppAccount:
    """The address of an SMSC, the credentials, and the session's limits.

    ``window`` limits the requests that await a response. ``response_timeout_s`` limits the wait for one, in seconds.
    ``enquire_interval_s`` is the time between keep-alive requests, in seconds.
    """

    host: str
    port: int
    system_id: str
    password: str = field(repr=False)
    window: int = 16
    response_timeout_s: float = 10
    enquire_interval_s: float = 30


@asynccontextmanager
async def open_session(account: SmppAccount, handle_deliver: DeliverHandler) -> AsyncIterator[Session]:
    """Connect, bind as a transceiver, and unbind when the block ends.

    Raise BindRefusedError if the SMSC refuses, OSError if it can't be reached or its responses are not SMPP.
    """
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(account.host, account.port)
    session = Session(reader, writer, account, handle_deliver)
    running = asyncio.create_task(session.run())
    try:
        response = await session.request(
            BindTransceiver(system_id=account.system_id, password=account.password),
        )
        if response.status:
            raise BindRefusedError(status_name(response.status))
        yield session
    finally:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(UNBIND_TIMEOUT_S):
                await session.request(Unbind())
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


class Session:
    """A connection to an SMSC. The event ``closed`` is set once it can no longer be used."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        account: SmppAccount,
        handle_deliver: DeliverHandler,
    ) -> None:
        self.closed = asyncio.Event()
        self._reader, self._writer, self._account, self._handle_deliver = reader, writer, account, handle_deliver
        self._window = asyncio.Semaphore(account.window)
        self._sequence = 0
        self._pending: dict[int, asyncio.Future[Pdu]] = {}  # responses that are awaited, by sequence number
        self._handling: set[asyncio.Task[None]] = set()

    async def request(self, pdu: Any) -> Pdu:
        """Send a request and return its response.

        Raise OSError if no response arrives. The SMSC may have carried out the request all the same.
        """
        async with self._window:
            if self.closed.is_set():
                raise ConnectionError("the session is closed")
            self._sequence = pdu.sequence_num = self._sequence % 0x7FFFFFFF + 1
            response: asyncio.Future[Pdu] = asyncio.get_running_loop().create_future()
            self._pending[pdu.sequence_num] = response
            try:
                self._writer.write(pdu.pdu())
                async with asyncio.timeout(self._account.response_timeout_s):
                    return await response
            finally:
                del self._pending[pdu.sequence_num]

    async def run(self) -> None:
        """Read PDUs until the connection ends or the SMSC no longer responds."""
        keep_alive = asyncio.create_task(self._keep_alive())
        try:
            while not self.closed.is_set():
                header = await self._reader.readexactly(_HEADER.size)
                length, command, status, sequence = _HEADER.unpack(header)
                if not _HEADER.size <= length <= _MAX_PDU_OCTETS:
                    raise ConnectionError(f"a PDU of {length} octets: the peer doesn't speak SMPP")
                body = await self._reader.readexactly(length - _HEADER.size)
                self._dispatch(Pdu(command, status, sequence, header + body))
        except (OSError, asyncio.IncompleteReadError):
            pass  # _close() reports it to everyone who awaits a response
        finally:
            keep_alive.cancel()
            self._close()

    async def _keep_alive(self) -> None:
        """Send enquire_link at intervals; close the connection if there is no response."""
        with contextlib.suppress(OSError):
            while True:
                await asyncio.sleep(self._account.enquire_interval_s)
                await self.request(EnquireLink())
        self._writer.close()

    def _dispatch(self, pdu: Pdu) -> None:
        """Pass a response to its request, and answer a request."""
        if pdu.command & _RESPONSE:
            response = self._pending.get(pdu.sequence)
            if response and not response.done():
                response.set_result(pdu)
        elif pdu.command == SmppCommand.DELIVER_SM:
            task = asyncio.create_task(self._answer_deliver(pdu))
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)
        elif pdu.command == SmppCommand.ENQUIRE_LINK:
            self._writer.write(EnquireLinkResp(pdu.sequence).pdu())
        elif pdu.command == SmppCommand.UNBIND:
            self._writer.write(UnbindResp(pdu.sequence).pdu())
            self.closed.set()
        else:
            unknown = GenericNack(sequence_num=pdu.sequence, command_status=SmppCommandStatus.ESME_RINVCMDID)
            self._writer.write(unknown.pdu())

    async def _answer_deliver(self, pdu: Pdu) -> None:
        status = SmppCommandStatus(await self._handle_deliver(pdu))
        self._writer.write(DeliverSmResp(sequence_num=pdu.sequence, command_status=status).pdu())

    def _close(self) -> None:
        self.closed.set()
        self._writer.close()
        for task in self._handling:
            task.cancel()  # the SMSC repeats a deliver_sm that got no response
        for response in self._pending.values():
            if not response.done():
                response.set_exception(ConnectionError("the connection ended"))
