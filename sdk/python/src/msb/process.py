"""A command that runs in a guest: its streams, its events, and its end."""

from __future__ import annotations

import asyncio
import signal as signals
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from ._frames import FLAG_SESSION_START, Frame, encode_body
from ._payload import data, integer, optional_integer, optional_text, text
from ._relay import (
    FRAME_OVERHEAD_BYTES,
    QUEUE_BYTES_MAX,
    Connection,
    Session,
    copy_error,
    sleep_until_woken,
    wake,
)
from ._request import check_size, check_timeout
from .errors import ExecFailed, MsbError, ProtocolError, TimedOut, Unresponsive
from .streams import ProcessInput, ProcessOutput

__all__ = ["ExecEvent", "ExecOutput", "ExitStatus", "Process"]

#: The time between SIGTERM and SIGKILL, in seconds.
GRACE = 0.5
#: The longest wait for the end of a killed command, in seconds.
END_TIMEOUT = 5.0
#: The output that is acknowledged at once, in bytes: a quarter of the guest's window.
ACK_BYTES = 256 * 1024


@dataclass(frozen=True)
class ExitStatus:
    """The end of a command.

    Attributes:
        exit_code: its exit code, or 128 + the number of the signal that ended it.
        signal: the number of that signal, or None.
    """

    exit_code: int
    signal: int | None = None

    @property
    def success(self) -> bool:
        """Whether the exit code is 0."""
        return self.exit_code == 0


@dataclass(frozen=True)
class ExecOutput(ExitStatus):
    """The end of a command with all its output, as bytes."""

    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def stdout_text(self) -> str:
        """The standard output as UTF-8; invalid bytes become U+FFFD."""
        return self.stdout.decode(errors="replace")

    @property
    def stderr_text(self) -> str:
        """The standard error as UTF-8; invalid bytes become U+FFFD."""
        return self.stderr.decode(errors="replace")


@dataclass(frozen=True)
class ExecEvent:
    """An event of a command.

    Attributes:
        kind: `started`, `stdout`, `stderr`, `stdin_error` or `exited`.
        pid: the process id in the guest (`started`).
        data: the bytes (`stdout`, `stderr`).
        exit_code, signal: the end (`exited`), as in `ExitStatus`.
        message: the reason (`stdin_error`).
    """

    kind: str
    pid: int | None = None
    data: bytes = b""
    exit_code: int | None = None
    signal: int | None = None
    message: str | None = None


class Process(Session):
    """A command that runs in a guest.

    Read its output from `stdout` and `stderr`, or iterate over its events with `async for`; both take from the same
    queue. Output that is not read stops the command, as a full pipe does; a stream that nothing reads while the other
    one is read does so after 8 MiB. `wait` discards the output if nothing has ever been read, and drops what exceeds
    8 MiB of a stream that nothing reads.

    `async with` ends the command at the end of the block unless it has ended: SIGTERM, then SIGKILL. When the
    connection closes, the relay ends it, even after `detach`.
    """

    def __init__(self, connection: Connection, request: dict[str, Any], *, pipe: bool, grace: float = GRACE) -> None:
        self.pid = 0
        self.tty: bool = request["tty"]
        self.status: ExitStatus | None = None
        self.stdin: ProcessInput | None = ProcessInput(self) if pipe else None
        self.stdout = ProcessOutput(self, "stdout")
        self.stderr = ProcessOutput(self, "stderr")
        self._connection = connection
        self._request = request
        self._grace = grace
        self._id = 0
        self._events: deque[ExecEvent] = deque()
        self._queued = 0
        self._consumed = 0
        self._acked = 0
        self._observed = False
        #: Whether the last reader was that of a stream, rather than of the events.
        self._sorts = False
        self._discarding = False
        self._detached = False
        self._started = False
        self._error: MsbError | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._killer: asyncio.TimerHandle | None = None

    @property
    def id(self) -> int:
        """The number of the session in its connection."""
        return self._id

    async def _start(self) -> Process:
        async with self._connection.starting:
            return await self._start_now()

    async def _start_now(self) -> Process:
        self._id = self._connection.register(self)
        try:
            self._post("core.exec.request", self._request, FLAG_SESSION_START)
            if self.stdin is None:
                self._post("core.exec.stdin", {"data": b""})
            await self._connection.while_alive(self._until_started())
        except Unresponsive:
            self._end_soon()
            raise
        except MsbError:
            self._connection.forget(self._id)
            raise
        except BaseException:
            self._end_soon()
            raise
        return self

    async def _until_started(self) -> None:
        while not self._started and self.status is None:
            if self._error:
                raise copy_error(self._error)
            await sleep_until_woken(self._waiters)

    # Frames.

    def on_frame(self, frame: Frame) -> None:
        try:
            self._handle(frame)
        except MsbError as error:
            self._connection.forget(self._id)
            self._fail(error)
        wake(self._waiters)

    def on_lost(self, error: MsbError) -> None:
        self._fail(error)
        wake(self._waiters)

    def _fail(self, error: MsbError) -> None:
        if self._error is None and self.status is None:
            self._error = error
        if self._killer:
            self._killer.cancel()

    def _handle(self, frame: Frame) -> None:
        message = frame.message()
        kind, payload = message.kind, message.payload
        if kind in ("core.exec.stdout", "core.exec.stderr"):
            self._queue(ExecEvent(kind.rpartition(".")[2], data=data(payload)))
        elif kind == "core.exec.started":
            self.pid = integer(payload, "pid")
            self._started = True
            self._queue(ExecEvent("started", pid=self.pid))
        elif kind == "core.exec.exited":
            code, signal = integer(payload, "code"), optional_integer(payload, "signal")
            self._queue(ExecEvent("exited", exit_code=code, signal=signal))
            self.status = ExitStatus(code, signal)
            self._connection.forget(self._id)
            if self._killer:
                self._killer.cancel()
        elif kind == "core.exec.failed":
            raise ExecFailed(
                text(payload, "message") or "the command could not be started",
                kind=_known_kind(payload.get("kind")),
                errno=optional_integer(payload, "errno"),
                errno_name=optional_text(payload, "errno_name"),
                stage=optional_text(payload, "stage"),
            )
        elif kind == "core.exec.stdin.ack":
            if self.stdin:
                self.stdin._on_ack(integer(payload, "bytes"))
        elif kind == "core.exec.stdin.error":
            reason = text(payload, "message")
            if self.stdin:
                self.stdin._on_error(reason)
            self._queue(ExecEvent("stdin_error", message=reason))
        elif kind == "core.error" and (not self._started or frame.flags & 1):
            raise MsbError(f"the guest refused: {text(payload, 'message')}", code=_refusal(payload.get("kind")))

    def _queue(self, event: ExecEvent) -> None:
        if self._discarding:
            self._consume(len(event.data))
            return
        stream = self._stream(event.kind)
        if stream and not event.data:
            return
        if stream and self._sorts and not stream._claimed:
            # The reader of the other stream may not come back to sort it.
            stream._push(event.data)
            return
        self._events.append(event)
        self._queued += len(event.data) + FRAME_OVERHEAD_BYTES
        if self._queued > QUEUE_BYTES_MAX:
            self._flood()

    def _flood(self) -> None:
        self._send_signal(signals.SIGKILL)
        raise ProtocolError("the guest sent more output than its window allows")

    def _stream(self, kind: str) -> ProcessOutput | None:
        return self.stdout if kind == "stdout" else self.stderr if kind == "stderr" else None

    def _take(self) -> ExecEvent:
        event = self._events.popleft()
        self._queued -= len(event.data) + FRAME_OVERHEAD_BYTES
        return event

    def _consume(self, count: int) -> None:
        """Counts output that has reached the caller, and lets the guest send as much again."""
        self._consumed += count
        if self._consumed - self._acked >= ACK_BYTES and self.status is None and not self._error:
            self._acked = self._consumed
            self._try_post("core.exec.output.ack", {"bytes": self._acked})

    def _post(self, kind: str, payload: dict[str, Any], flags: int = 0) -> None:
        self._connection.post(self._id, flags, encode_body(kind, payload))

    def _try_post(self, kind: str, payload: dict[str, Any]) -> None:
        try:
            self._post(kind, payload)
        except MsbError:
            pass  # The connection has ended, which the waiters learn from `on_lost`.

    # The public side.

    async def wait(self, timeout: float | None = None) -> ExitStatus:
        """Waits for the end of the command, and returns its exit code and signal.

        Raises `TimedOut` after `timeout` seconds; the command runs on. Raises `ConnectionLost` if the connection ends
        before the command has reported its end.
        """
        if not self._observed:
            self._discard()
        elif self._sorts:
            self.stdout._drop()
            self.stderr._drop()
        try:
            return await asyncio.wait_for(self._wait(), check_timeout(timeout))
        except asyncio.TimeoutError:
            raise TimedOut(f"the command did not end within {timeout:g} s") from None

    async def _wait(self) -> ExitStatus:
        while self.status is None:
            if self._error:
                raise copy_error(self._error)
            await sleep_until_woken(self._waiters)
        return self.status

    async def signal(self, number: int) -> None:
        """Sends a signal, 1 to 64, to the process group of the command. One that has ended is no error."""
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError("a signal must be an int, such as signal.SIGINT")
        if not 1 <= number <= 64:
            raise ValueError("a signal must be from 1 to 64")
        if self.status is None:
            if self._error:
                raise copy_error(self._error)
            self._post("core.exec.signal", {"signal": int(number)})
            await self._connection.drain()

    async def terminate(self) -> None:
        """Sends SIGTERM."""
        await self.signal(signals.SIGTERM)

    async def kill(self) -> None:
        """Sends SIGKILL."""
        await self.signal(signals.SIGKILL)

    async def resize(self, rows: int, cols: int) -> None:
        """Sets the size of the terminal; raises ValueError if the command has none."""
        if not self.tty:
            raise ValueError("the command has no terminal to resize; start it with tty=True")
        size = {"rows": check_size(rows, "rows"), "cols": check_size(cols, "cols")}
        if self.status is None:
            self._post("core.exec.resize", size)
            await self._connection.drain()

    async def collect(self, *, max_output: int | None = None) -> ExecOutput:
        """Reads all remaining output, waits for the end, and returns both.

        Raises `MsbError` with the code `too-large`, and ends the command, if the output exceeds `max_output` bytes.
        """
        stdout, stderr = bytearray(), bytearray()
        await self._collect_into(stdout, stderr, max_output)
        status = await self._wait()
        return ExecOutput(status.exit_code, status.signal, bytes(stdout), bytes(stderr))

    async def _collect_into(self, stdout: bytearray, stderr: bytearray, max_output: int | None) -> None:
        self._sorts = False
        stdout += self.stdout._take_buffer()
        stderr += self.stderr._take_buffer()
        async for event in self:
            if event.kind == "stdout":
                stdout += event.data
            elif event.kind == "stderr":
                stderr += event.data
            if max_output is not None and len(stdout) + len(stderr) > max_output:
                self._end_soon()
                raise MsbError(f"the command wrote more than {max_output} bytes", code="too-large")

    def detach(self) -> None:
        """Lets the command run on at the end of `async with`; output that is not read is discarded."""
        self._detached = True
        self._discard()

    def __aiter__(self) -> AsyncIterator[ExecEvent]:
        self._observed, self._sorts = True, False
        return self

    async def __anext__(self) -> ExecEvent:
        self._observed, self._sorts = True, False
        while not self._events:
            if self._error:
                raise copy_error(self._error)
            if self.status is not None:
                raise StopAsyncIteration
            await sleep_until_woken(self._waiters)
        event = self._take()
        self._consume(len(event.data))
        return event

    async def __aenter__(self) -> Process:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        if not self._detached and self.status is None and self._error is None:
            await self.end()

    async def end(self) -> ExitStatus | None:
        """Ends the command: SIGTERM, then SIGKILL after a grace period. Returns None if it does not end even then.

        If the call is cancelled, the command is ended all the same.
        """
        self._end_soon()
        try:
            return await asyncio.wait_for(self._wait(), self._grace + END_TIMEOUT)
        except (asyncio.TimeoutError, MsbError):
            return None

    def _end_soon(self) -> None:
        """Sends SIGTERM now and SIGKILL after the grace period, without waiting; output is discarded from now on."""
        self._discard()
        if self.status is not None or self._error or self._killer:
            return
        self._send_signal(signals.SIGTERM)
        self._killer = self._connection.loop.call_later(self._grace, self._send_signal, signals.SIGKILL)

    def _send_signal(self, number: int) -> None:
        if self.status is None and not self._error:
            self._try_post("core.exec.signal", {"signal": int(number)})

    def _discard(self) -> None:
        if not self._discarding:
            self._discarding = True
            while self._events:
                self._consume(len(self._take().data))
            self.stdout._take_buffer()
            self.stderr._take_buffer()


_KINDS = frozenset(
    "not_found permission_denied not_executable bad_cwd bad_args resource_limit user_setup_failed out_of_memory "
    "pty_setup_failed".split()
)


def _known_kind(kind: Any) -> str:
    return kind if isinstance(kind, str) and kind in _KINDS else "other"


def _refusal(kind: Any) -> str:
    return {"unsupported_type": "unsupported", "unavailable": "unresponsive"}.get(str(kind), "failed")
