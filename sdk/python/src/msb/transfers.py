"""Files of a guest that are read or written in pieces.

The protocol cannot cancel a transfer: one that is abandoned keeps its place in the guest until its connection closes.
So each transfer of a `Sandbox` has a connection of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ._frames import Message
from ._fs import FileStat, begin, check, stat_of
from ._payload import data, integer
from ._relay import Connection, Mailbox
from .errors import ProtocolError

__all__ = ["FileReader", "FileWriter"]

#: The most data in one message, and the most messages that are not acknowledged.
PIECE_BYTES = 128 * 1024
WINDOW_FRAMES = 8
#: The most transfers of one sandbox at the same time: the places in its guest.
TRANSFERS_MAX = 16


class Transfer:
    """A connection for one transfer."""

    def __init__(self, connection: Connection, *, own: bool, place: asyncio.Semaphore | None = None) -> None:
        self.connection = connection
        self._own = own
        self._place = place

    def end(self) -> None:
        """Closes the connection if it is the transfer's own; does nothing the second time."""
        if self._own:
            self.connection.abandon("the transfer has ended")
        place, self._place = self._place, None
        if place:
            place.release()


class _Session:
    """The session of a transfer, and what ends with it."""

    def __init__(self, transfer: Transfer, operation: str, request: dict[str, Any], path: str) -> None:
        self.path = path
        self.ended = False
        self._transfer = transfer
        try:
            self.mailbox = begin(transfer.connection, operation, request)
        except BaseException:
            transfer.end()
            raise

    async def next(self) -> Message:
        """Returns the next message; ends the transfer if there is none."""
        try:
            return (await self.mailbox.next_message())[1]
        except asyncio.CancelledError:
            raise
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Ends the transfer; does nothing the second time."""
        if not self.ended:
            self.ended = True
            _end(self.mailbox, self._transfer)

    def __del__(self) -> None:
        # A reader or writer that was dropped before its end, in any thread.
        if not self.ended and hasattr(self, "mailbox"):
            try:
                self.mailbox.connection.loop.call_soon_threadsafe(_end, self.mailbox, self._transfer)
            except RuntimeError:
                pass  # The loop is closed.


def _end(mailbox: Mailbox, transfer: Transfer) -> None:
    mailbox.close()
    transfer.end()


class FileReader:
    """A file that is read in pieces. Close it, or use `async with`, unless it is read to its end."""

    def __init__(self, transfer: Transfer, request: dict[str, Any], path: str) -> None:
        self._session = _Session(transfer, "read", request, path)
        self._frames = 0
        self._first: bytes | None = None
        #: The metadata, after the end.
        self.stat: FileStat | None = None

    async def _open(self) -> FileReader:
        """Receives the first piece, so that a missing file is an error of the opening."""
        try:
            self._first = await self._receive()
        except BaseException:
            self._session.end()
            raise
        return self

    async def read(self) -> bytes:
        """Returns the next piece, or b"" at the end."""
        first, self._first = self._first, None
        return first if first is not None else await self._receive()

    async def _receive(self) -> bytes:
        session = self._session
        while not session.ended:
            message = await session.next()
            try:
                if message.kind == "core.fs.data":
                    self._frames += 1
                    piece = data(message.payload)
                    session.mailbox.post("core.fs.data.ack", {"frames": self._frames})
                    if piece:
                        return piece
                    continue
                check(message, session.path)
                self.stat = FileStat(**stat_of(message.payload.get("stat")))
            except BaseException:
                session.end()
                raise
            session.end()
        return b""

    async def collect(self) -> bytes:
        """Returns all remaining bytes."""
        return b"".join([piece async for piece in self])

    async def close(self) -> None:
        """Ends the reading."""
        self._first = None
        self._session.end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece

    async def __aenter__(self) -> FileReader:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        await self.close()


class FileWriter:
    """A file that is written in pieces, and appears when the writer is closed."""

    def __init__(self, transfer: Transfer, request: dict[str, Any], path: str) -> None:
        self._session = _Session(transfer, "write", request, path)
        self._sent = 0
        self._taken = 0

    async def _open(self) -> FileWriter:
        """Waits until the guest has begun, or raises its refusal.

        It answers the messages of a connection in their order, so a refusal comes before the answer to a ping.
        """
        session = self._session
        ping = Mailbox(session.mailbox.connection)
        try:
            ping.id = ping.connection.register(ping)
            ping.post("core.ping", {})
            await ping.next_message()
            if session.mailbox.waits:
                check(await session.next(), session.path)
                raise ProtocolError(f"the guest completed {session.path} before its end")
        except BaseException:
            session.end()
            raise
        finally:
            ping.close()
        return self

    async def write(self, contents: bytes | bytearray | memoryview | str) -> None:
        """Writes bytes, or text as UTF-8."""
        if isinstance(contents, str):
            contents = contents.encode()
        if self._session.ended:
            raise ValueError(f"the writer of {self._session.path} is closed")
        view = memoryview(contents).cast("B")
        for at in range(0, len(view), PIECE_BYTES):
            await self._piece(bytes(view[at : at + PIECE_BYTES]))

    async def _piece(self, piece: bytes) -> None:
        session = self._session
        while self._sent - self._taken >= WINDOW_FRAMES:
            if await self._acknowledgement():
                raise ProtocolError(f"the guest completed {session.path} before its end")
        self._sent += 1
        session.mailbox.post("core.fs.data", {"data": piece})
        await session.mailbox.connection.drain()

    async def _acknowledgement(self) -> bool:
        """Waits for the next answer; returns whether it is the last one."""
        message = await self._session.next()
        if message.kind == "core.fs.data.ack":
            self._taken = max(self._taken, min(integer(message.payload, "frames"), self._sent))
            return False
        self._session.end()
        check(message, self._session.path)
        return True

    async def close(self) -> None:
        """Completes the file."""
        if self._session.ended:
            return
        try:
            await self._piece(b"")
            while not await self._acknowledgement():
                pass
        finally:
            self._session.end()

    async def abandon(self) -> None:
        """Ends the writing without the file."""
        self._session.end()

    async def __aenter__(self) -> FileWriter:
        return self

    async def __aexit__(self, kind: Any, *_exception: Any) -> None:
        await (self.close() if kind is None else self.abandon())
