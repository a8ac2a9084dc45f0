"""The streams of a command that runs in a guest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from ._relay import QUEUE_BYTES_MAX, copy_error, sleep_until_woken
from .errors import MsbError

if TYPE_CHECKING:
    from .process import Process

__all__ = ["ProcessInput", "ProcessOutput"]

#: The most unacknowledged input, and the size of its pieces, in bytes.
STDIN_WINDOW_BYTES = 1024 * 1024
PIECE_BYTES = 128 * 1024
#: The longest line of `readline`, in bytes.
LINE_BYTES_MAX = 16 * 1024 * 1024
#: The most output of a stream that nothing reads that is kept before the command has to wait, in bytes.
UNREAD_BYTES = 8 * 1024 * 1024


class ProcessInput:
    """The standard input of a command. Writing waits while the command does not read."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._sent = 0
        self._taken = 0
        self._error: str | None = None
        self._closed = False
        self._lock = asyncio.Lock()

    def _on_ack(self, count: int) -> None:
        self._taken = max(self._taken, min(count, self._sent))

    def _on_error(self, reason: str) -> None:
        self._error = reason or "the command has closed its input"

    async def write(self, data: bytes | bytearray | memoryview | str) -> None:
        """Writes bytes, or text as UTF-8.

        Raises `BrokenPipeError` if the command has closed its input or has ended, and ValueError after `close`.
        """
        if isinstance(data, str):
            data = data.encode()
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be bytes or str, not {type(data).__name__}")
        view = memoryview(data).cast("B")
        process = self._process
        async with self._lock:
            if self._closed:
                raise ValueError("the input of the command is closed")
            for at in range(0, len(view), PIECE_BYTES):
                piece = bytes(view[at : at + PIECE_BYTES])
                while self._sent - self._taken + len(piece) > STDIN_WINDOW_BYTES:
                    self._check()
                    await sleep_until_woken(process._waiters)
                self._check()
                self._sent += len(piece)
                process._post("core.exec.stdin", {"data": piece})
                await process._connection.drain()

    def _check(self) -> None:
        if self._process._error:
            raise copy_error(self._process._error)
        if self._error is not None:
            raise BrokenPipeError(self._error)
        if self._process.status is not None:
            raise BrokenPipeError("the command has ended")

    async def close(self) -> None:
        """Ends the input; with a terminal it sends the end-of-file character, and the input stays open."""
        if self._closed:
            return
        async with self._lock:
            self._closed = not self._process.tty
            if self._process.status is None and not self._process._error:
                self._process._post("core.exec.stdin", {"data": b""})
                await self._process._connection.drain()

    async def __aenter__(self) -> ProcessInput:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        await self.close()


class ProcessOutput:
    """An output stream of a command. `async for` iterates over its lines."""

    def __init__(self, process: Process, name: str) -> None:
        self._process = process
        self._name = name
        self._buffer = bytearray()
        #: The bytes of the buffer that the guest counts in its window.
        self._unacknowledged = 0
        #: Whether it has a reader.
        self._claimed = False
        #: Whether output beyond `UNREAD_BYTES` is dropped, and whether some has been.
        self._drops = False
        self._dropped = False

    def _push(self, data: bytes) -> None:
        """Adds output to the buffer.

        A stream without a reader takes a while to fill up, so that reading only the other one rarely stops the command.
        """
        full = len(self._buffer) + len(data) > UNREAD_BYTES
        if full and self._drops and not self._claimed:
            self._dropped = True
            self._process._consume(len(data))
            return
        self._buffer += data
        self._unacknowledged += len(data)
        if not self._claimed and (self._drops or not full):
            self._settle()
        if len(self._buffer) > UNREAD_BYTES + QUEUE_BYTES_MAX:
            self._process._flood()

    def _settle(self) -> None:
        settled, self._unacknowledged = self._unacknowledged, 0
        self._process._consume(settled)

    def _drop(self) -> None:
        """Has the command never wait for a reader of this stream, unless it has one."""
        self._drops = True
        if not self._claimed:
            self._settle()

    def _take_buffer(self) -> bytes:
        taken = bytes(self._buffer)
        self._buffer.clear()
        self._settle()
        return taken

    def _pump(self) -> bool:
        """Moves queued output into the buffers of the streams until this one has more; returns whether it has."""
        process = self._process
        while process._events:
            event = process._take()
            stream = process._stream(event.kind)
            if stream:
                stream._push(event.data)
            if stream is self:
                return True
        return False

    async def _fill(self) -> bool:
        """Waits for more bytes in the buffer; returns False at the end."""
        process = self._process
        process._observed = process._sorts = self._claimed = True
        while not self._pump():
            if process._error:
                raise copy_error(process._error)
            if process.status is not None:
                if self._dropped:
                    raise MsbError(f"more than {UNREAD_BYTES} bytes were not read, and dropped", code="too-large")
                return False
            await sleep_until_woken(process._waiters)
        return True

    def _cut(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        settled = min(len(taken), self._unacknowledged)
        self._unacknowledged -= settled
        self._process._consume(settled)
        return taken

    async def read(self, size: int = -1) -> bytes:
        """Returns at least one and at most `size` bytes, or b"" at the end; all up to the end for -1.

        Raises `ConnectionLost` if the connection ends before the command has reported its end, and `MsbError` with the
        code `too-large` at the end if `wait` has dropped output.
        """
        if size == 0:
            return b""
        if size < 0:
            parts = []
            while part := await self.read(PIECE_BYTES):
                parts.append(part)
            return b"".join(parts)
        self._claimed = True
        if not self._buffer:
            await self._fill()
        return self._cut(size)

    async def readline(self) -> bytes:
        """Returns the next line with its newline; the last one may lack it. b"" is the end.

        Raises ValueError for a line of more than 16 MiB.
        """
        line = bytearray()
        self._claimed = True
        try:
            while True:
                end = self._buffer.find(b"\n")
                if end >= 0:
                    return bytes(line) + self._cut(end + 1)
                line += self._cut(len(self._buffer))
                if len(line) > LINE_BYTES_MAX:
                    raise ValueError("a line of the command is longer than 16 MiB")
                if not await self._fill():
                    return bytes(line)
        except asyncio.CancelledError:
            # The beginning of the line is for the next call.
            self._buffer[:0] = line
            raise

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line
