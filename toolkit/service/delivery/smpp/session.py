"""An SMPP 3.4 session over one connection: requests out and their responses, requests in and their answers.

Knows the protocol's frame, and when a session is alive; what is submitted, and what a receipt means, it doesn't.
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

CONNECT_S, UNBIND_S = 5, 2
_HEADER = struct.Struct("!IIII")
_RESPONSE = 0x80000000
_MAX_OCTETS = 0x10000 + 1024  # the longest optional parameter, and room for the rest


class Pdu(NamedTuple):
    """A protocol data unit as it was read; ``octets`` are all of it."""

    command: int
    status: int
    sequence: int
    octets: bytes


class RefusedError(Exception):
    """The SMSC doesn't bind us. Its text is the status."""


def status_name(status: int) -> str:
    """Return the protocol's name of a status, or for a vendor's own its number."""
    try:
        return str(SmppCommandStatus(status).name)
    except ValueError:
        return f"0x{status:08X}"


@dataclass(frozen=True, slots=True)
class Account:
    """Where an SMSC listens, and as whom we bind.

    ``window``: requests that may be unanswered at a time. ``response_s``: how long one is waited for. ``enquire_s``:
    how often the SMSC is asked whether it is still there.
    """

    host: str
    port: int
    system_id: str
    password: str = field(repr=False)
    window: int = 16
    response_s: float = 10
    enquire_s: float = 30


@asynccontextmanager
async def bind(account: Account, answer: Callable[[Pdu], Awaitable[int]]) -> AsyncIterator[Session]:
    """Connect and bind as a transceiver; ``answer`` gets each deliver_sm and returns the status to answer it with.

    Raise RefusedError where the SMSC says no, OSError where it can't be reached or isn't one.
    """
    async with asyncio.timeout(CONNECT_S):
        reader, writer = await asyncio.open_connection(account.host, account.port)
    session = Session(reader, writer, account, answer)
    running = asyncio.create_task(session.run())
    try:
        await session.bind()
        yield session
    finally:
        await session.unbind()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


class Session:
    """A connection to an SMSC, from bind to unbind. ``closed`` is set when it is of no more use."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        account: Account,
        answer: Callable[[Pdu], Awaitable[int]],
    ) -> None:
        self.closed = asyncio.Event()
        self._reader, self._writer, self._account, self._answer = reader, writer, account, answer
        self._window = asyncio.Semaphore(account.window)
        self._sequence = 0
        self._waiting: dict[int, asyncio.Future[Pdu]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def bind(self) -> None:
        """Bind as a transceiver."""
        bound = await self.ask(BindTransceiver(system_id=self._account.system_id, password=self._account.password))
        if bound.status:
            raise RefusedError(status_name(bound.status))

    async def unbind(self) -> None:
        """Take leave, if the SMSC still listens."""
        with contextlib.suppress(OSError):
            async with asyncio.timeout(UNBIND_S):
                await self.ask(Unbind())

    async def ask(self, request: Any) -> Pdu:
        """Send a request and return its response; raise OSError where none comes: it may have been carried out."""
        async with self._window:
            if self.closed.is_set():
                raise ConnectionError("the session is closed")
            self._sequence = request.sequence_num = self._sequence % 0x7FFFFFFF + 1
            response: asyncio.Future[Pdu] = asyncio.get_running_loop().create_future()
            self._waiting[request.sequence_num] = response
            try:
                self._writer.write(request.pdu())
                async with asyncio.timeout(self._account.response_s):
                    return await response
            finally:
                del self._waiting[request.sequence_num]

    async def run(self) -> None:
        """Read until the connection ends, or the SMSC no longer answers."""
        enquiring = asyncio.create_task(self._enquire())
        try:
            while not self.closed.is_set():
                self._take(await self._read())
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever waits for a response is told below
        finally:
            enquiring.cancel()
            self._close()

    async def _enquire(self) -> None:
        """Ask from time to time whether the SMSC is there; without an answer let go of the connection."""
        with contextlib.suppress(OSError):
            while True:
                await asyncio.sleep(self._account.enquire_s)
                await self.ask(EnquireLink())
        self._writer.close()

    async def _read(self) -> Pdu:
        header = await self._reader.readexactly(_HEADER.size)
        length, command, status, sequence = _HEADER.unpack(header)
        if not _HEADER.size <= length <= _MAX_OCTETS:
            raise ConnectionError(f"a PDU of {length} octets: the peer doesn't speak SMPP")
        return Pdu(command, status, sequence, header + await self._reader.readexactly(length - _HEADER.size))

    def _take(self, pdu: Pdu) -> None:
        if pdu.command & _RESPONSE:
            waiting = self._waiting.get(pdu.sequence)
            if waiting and not waiting.done():
                waiting.set_result(pdu)
        elif pdu.command == SmppCommand.DELIVER_SM:
            task = asyncio.create_task(self._deliver(pdu))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            self._reply(pdu)

    def _reply(self, pdu: Pdu) -> None:
        if pdu.command == SmppCommand.ENQUIRE_LINK:
            self._writer.write(EnquireLinkResp(pdu.sequence).pdu())
        elif pdu.command == SmppCommand.UNBIND:
            self._writer.write(UnbindResp(pdu.sequence).pdu())
            self.closed.set()
        else:
            self._writer.write(
                GenericNack(sequence_num=pdu.sequence, command_status=SmppCommandStatus.ESME_RINVCMDID).pdu()
            )

    async def _deliver(self, pdu: Pdu) -> None:
        status = SmppCommandStatus(await self._answer(pdu))
        self._writer.write(DeliverSmResp(sequence_num=pdu.sequence, command_status=status).pdu())

    def _close(self) -> None:
        self.closed.set()
        self._writer.close()
        for task in self._answering:
            task.cancel()  # the SMSC sends again what wasn't answered
        for response in self._waiting.values():
            if not response.done():
                response.set_exception(ConnectionError("the connection ended"))
