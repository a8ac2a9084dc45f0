"""A connection to a sandbox's relay: the handshake, and sessions by id.

On accept the relay sends `id_start u32 BE | id_end_exclusive u32 BE | the cached core.ready frame`; then both sides
send frames. Frames are handled in the callbacks of the transport, so that there is no reader task that could die
unnoticed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ._frames import FLAG_TERMINAL, Frame, FrameDecoder, Message, encode_body
from ._payload import integer, text
from .errors import (
    Closed,
    ConnectionLost,
    FrameError,
    HandshakeFailed,
    IdsExhausted,
    MsbError,
    ProtocolError,
    SandboxNotRunning,
    TimedOut,
    Unresponsive,
    Unsupported,
)

T = TypeVar("T")

__all__ = [
    "CONNECT_TIMEOUT",
    "FRAME_OVERHEAD_BYTES",
    "QUEUE_BYTES_MAX",
    "Connection",
    "Mailbox",
    "Ready",
    "Session",
    "copy_error",
    "sleep_until_woken",
    "wake",
]

#: The default timeout of connecting and the handshake, in seconds.
CONNECT_TIMEOUT = 10.0
#: The longest path of a Unix socket on Linux, in bytes.
_SOCKET_PATH_MAX = 107
#: The time between pings of a guest that is waited for, and the longest silence, in seconds.
PING_INTERVAL = 5.0
ANSWER_TIMEOUT = 20.0
#: The most commands that are being started at the same time.
STARTING_MAX = 64
#: The most bytes of frames that one session may queue, and the overhead that is counted for each frame.
QUEUE_BYTES_MAX = 16 * 1024 * 1024
FRAME_OVERHEAD_BYTES = 128


@dataclass(frozen=True)
class Ready:
    """The guest's `core.ready`.

    Attributes:
        boot_time_ns: from the start of the guest's kernel to its agent, in nanoseconds.
        init_time_ns: from the agent's start until the root was mounted, in nanoseconds.
        ready_time_ns: from the start of the guest's kernel to this message, in nanoseconds.
        agent_version: the version of the agent, if it reports one.
        features: what the agent supports besides commands, such as `fs`.
    """

    boot_time_ns: int
    init_time_ns: int
    ready_time_ns: int
    agent_version: str | None = None
    features: tuple[str, ...] = ()
    fields: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, payload: dict[Any, Any]) -> Ready:
        version, features = payload.get("agent_version"), payload.get("features")
        return cls(
            integer(payload, "boot_time_ns"),
            integer(payload, "init_time_ns"),
            integer(payload, "ready_time_ns"),
            agent_version=version if isinstance(version, str) else None,
            features=tuple(str(word) for word in features) if isinstance(features, list) else (),
            fields=payload,
        )


class Session:
    """The receiver of one session's frames. Its methods are called by the connection, and must not raise."""

    def on_frame(self, frame: Frame) -> None:
        raise NotImplementedError

    def on_lost(self, error: MsbError) -> None:
        raise NotImplementedError


class Mailbox(Session):
    """A session whose frames are taken one by one.

    With `pause`, a full queue stops the reading of the whole connection, as the raw tier has no other flow control.
    Without it, a full queue ends the session: the guest sends more than it may.
    """

    def __init__(self, connection: Connection, *, pause: bool = False) -> None:
        self.connection = connection
        self.id = 0
        self.ended = False
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._error: MsbError | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._pause = pause

    def on_frame(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._bytes += len(frame.body) + FRAME_OVERHEAD_BYTES
        if self._bytes > QUEUE_BYTES_MAX:
            if self._pause:
                self.connection.pause(self)
            else:
                self.connection.forget(self.id)
                self._error = ProtocolError("the guest sent more than was asked for")
        wake(self._waiters)

    def on_lost(self, error: MsbError) -> None:
        self._error = self._error or error
        wake(self._waiters)

    async def next_frame(self) -> Frame | None:
        """Returns the next frame, or None after the TERMINAL one; raises the connection's error if it ends before."""
        while not (frame := self._take()):
            if self.ended:
                return None
            if self._error:
                raise copy_error(self._error)
            await sleep_until_woken(self._waiters)
        return frame

    def _take(self) -> Frame | None:
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._bytes -= len(frame.body) + FRAME_OVERHEAD_BYTES
        if self._pause and self._bytes <= QUEUE_BYTES_MAX // 2:
            self.connection.resume(self)
        if frame.flags & FLAG_TERMINAL:
            self.ended = True
        return frame

    async def next_message(self) -> tuple[int, Message]:
        """Returns flags and message of the next frame; raises `Unresponsive` if the guest is silent."""
        frame = self._take() or await self.connection.while_alive(self.next_frame())
        if frame is None:
            raise ProtocolError("the guest ended the operation without an answer")
        return frame.flags, frame.message()

    def post(self, kind: str, payload: dict[str, Any], flags: int = 0) -> None:
        self.connection.post(self.id, flags, encode_body(kind, payload))

    @property
    def waits(self) -> bool:
        """Whether a frame has been received that was not taken."""
        return bool(self._frames)

    def close(self) -> None:
        """Ends the receiving; later frames are dropped."""
        self.ended = True
        self._frames.clear()
        self.connection.forget(self.id)
        self.connection.resume(self)
        wake(self._waiters)


class Connection(asyncio.Protocol):
    """A connection to a relay. Use `open`; all methods belong to the event loop that it was opened in."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.error: MsbError | None = None
        self.ready_bytes = b""
        self.ready = Ready(0, 0, 0)
        self.ids = range(0)
        self._next_id = 0
        self._reason: str | None = None
        self._sessions: dict[int, Session] = {}
        self._paused: set[Session] = set()
        self._transport: asyncio.Transport | None = None
        self._hello: bytearray | None = bytearray()
        self._shaken: asyncio.Future[None] = loop.create_future()
        self._decoder = FrameDecoder()
        #: The same socket again, to read what has arrived before a failed write ends the transport.
        self._spare: socket.socket | None = None
        self._writable = True
        self._drained: list[asyncio.Future[None]] = []
        self._ended: asyncio.Future[None] = loop.create_future()
        self._heard = loop.time()
        #: Limits the commands that are being started, each of which takes memory of the guest.
        self.starting = asyncio.Semaphore(STARTING_MAX)

    @classmethod
    async def open(cls, path: str | os.PathLike[str], timeout: float | None = CONNECT_TIMEOUT) -> Connection:
        """Connects and waits for the handshake, within a timeout in seconds.

        Raises `SandboxNotRunning` if there is no relay, `HandshakeFailed` if it refuses, and `TimedOut`.
        """
        loop = asyncio.get_running_loop()
        connection = cls(loop)
        # Not `wait_for`, which loses a cancellation at the moment of success before Python 3.12.
        task = asyncio.ensure_future(connection._open(os.fspath(path)))
        try:
            done, _ = await asyncio.wait([task], timeout=timeout)
            if not done:
                raise TimedOut(f"the relay {os.fspath(path)} did not answer within {timeout:g} s")
            task.result()
        except BaseException:
            task.cancel()
            connection.abandon()
            raise
        return connection

    async def _open(self, path: str) -> None:
        folder = None
        try:
            target = path
            if len(os.fsencode(path)) > _SOCKET_PATH_MAX:
                folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
                target = f"/proc/self/fd/{folder}/{os.path.basename(path)}"
            await self.loop.create_unix_connection(lambda: self, target)
            assert self._transport
            self._spare = self._transport.get_extra_info("socket").dup()
        except (FileNotFoundError, ConnectionRefusedError):
            raise SandboxNotRunning(f"the sandbox does not run: there is no relay at {path}") from None
        except OSError as error:
            raise HandshakeFailed(f"cannot connect to the relay {path}: {error.strerror or error}") from error
        finally:
            if folder is not None:
                os.close(folder)
        await self._shaken

    # The sending side.

    def register(self, session: Session) -> int:
        """Allots an id for a session; raises `IdsExhausted`, or the error that ended the connection."""
        if self.error:
            raise copy_error(self.error)
        if self._next_id >= self.ids.stop:
            raise IdsExhausted("this connection has used all its session ids; open another one")
        id = self._next_id
        self._next_id += 1
        self._sessions[id] = session
        return id

    def forget(self, id: int) -> None:
        """Drops all further frames of a session."""
        self._sessions.pop(id, None)

    def post(self, id: int, flags: int, body: bytes) -> None:
        """Queues a frame; raises the error that ended the connection, or `FrameError` for a body that is too large."""
        data = Frame(flags, body, id).encode()
        if self.error:
            raise copy_error(self.error)
        assert self._transport
        if not self._transport.is_closing():  # Otherwise the sessions learn of the end in a moment.
            self._transport.write(data)

    async def send(self, id: int, flags: int, body: bytes) -> None:
        """Sends a frame, and waits while the relay does not read."""
        self.post(id, flags, body)
        await self.drain()

    async def drain(self) -> None:
        """Waits until the relay has read most of what was sent."""
        while not self._writable and not self.error:
            await sleep_until_woken(self._drained)
        if self.error:
            raise copy_error(self.error)

    async def while_alive(self, waited: Awaitable[T], timeout: float | None = None) -> T:
        """Waits for an answer that may take long, as long as the guest answers pings meanwhile.

        Raises `Unresponsive` if it does not, or after `timeout` seconds.
        """
        task = asyncio.ensure_future(waited)
        began, pinged = self.loop.time(), False
        try:
            while True:
                done, _ = await asyncio.wait([task], timeout=PING_INTERVAL)
                if done:
                    return task.result()
                now = self.loop.time()
                if timeout is not None and now - began > timeout:
                    raise Unresponsive(f"the guest did not answer within {timeout:g} s")
                silent = now - max(self._heard, began)
                if pinged and silent > ANSWER_TIMEOUT:
                    raise Unresponsive(f"the guest has not answered for {silent:.0f} s")
                self._ping()
                pinged = True
        finally:
            task.cancel()

    def _ping(self) -> None:
        """Sends a ping, whose answer only counts as a sign of life."""
        try:
            ping = Mailbox(self)
            self.post(self.register(ping), 0, encode_body("core.ping", {}))
        except MsbError:
            pass  # The waiter learns of the end of the connection from its session.

    def require(self, feature: str, operation: str) -> None:
        """Raises `Unsupported` if the guest's agent has not reported a feature."""
        if feature not in self.ready.features:
            version = f" {self.ready.agent_version[:64]}" if self.ready.agent_version else ""
            raise Unsupported(f"the sandbox's agent{version} cannot {operation}")

    def pause(self, session: Session) -> None:
        """Stops reading until every session that asked for it has resumed."""
        self._paused.add(session)
        if self._transport and not self.error:
            self._transport.pause_reading()

    def resume(self, session: Session) -> None:
        if session in self._paused:
            self._paused.discard(session)
            if not self._paused and self._transport and not self.error:
                self._transport.resume_reading()

    def abandon(self, reason: str = "this client has been closed") -> None:
        """Ends the connection, and with it every session, without a wait: the relay ends their commands."""
        self._end(Closed(reason))

    async def close(self) -> None:
        """Ends the connection as `abandon` does, and waits for its end."""
        self.abandon()
        if self._transport:
            await asyncio.wait([self._ended], timeout=5)

    # The callbacks of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self.error:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.error:
            return
        self._heard = self.loop.time()
        try:
            if self._hello is not None:
                self._hello += data
                if len(self._hello) < 8:
                    return
                start, end = struct.unpack_from(">II", self._hello)
                self.ids, self._next_id = range(start, end), start
                data = bytes(self._hello[8:])
                self._hello = None
            self._decoder.feed(data)
            while not self.error and (frame := self._decoder.next()):
                self._dispatch(frame)
        except MsbError as error:
            self._end(error)
        except Exception as error:  # A defect here must not leave the waiters without an answer.
            self._end(ProtocolError(f"a frame could not be handled: {error!r}"))

    def _dispatch(self, frame: Frame) -> None:
        if not self._shaken.done():
            self._shake(frame)
        elif frame.id == 0:
            self._on_link(frame)
        else:
            session = self._sessions.get(frame.id)
            if session is None:
                return
            if frame.flags & FLAG_TERMINAL:
                del self._sessions[frame.id]
            session.on_frame(frame)

    def _shake(self, frame: Frame) -> None:
        try:
            message = frame.message()
        except ProtocolError as error:
            raise HandshakeFailed(f"the relay began with a malformed message: {error}") from error
        if message.kind == "core.error":
            raise HandshakeFailed(f"the relay refused the connection: {text(message.payload, 'message')}")
        if message.kind != "core.ready" or frame.id != 0:
            raise HandshakeFailed(f"the relay began with {message.kind[:64]!r} instead of core.ready")
        if not 0 < self.ids.start < self.ids.stop:
            raise HandshakeFailed(f"the relay's range of ids is invalid: {self.ids.start} to {self.ids.stop}")
        self.ready = Ready.of(message.payload)
        self.ready_bytes = frame.encode()
        self._shaken.set_result(None)

    def _on_link(self, frame: Frame) -> None:
        try:
            message = frame.message()
        except ProtocolError:
            return
        if message.kind == "core.error":
            self._reason = text(message.payload, "message")

    def connection_lost(self, error: Exception | None) -> None:
        spare, self._spare = self._spare, None
        if spare:
            with spare:
                if error is not None and not self.error:
                    self._read_rest(spare)
        self._end(error)
        if not self._ended.done():
            self._ended.set_result(None)

    def _read_rest(self, spare: socket.socket) -> None:
        """Handles what arrived before a write failed: the relay's last frames, with the reason."""
        try:
            spare.setblocking(False)
            while not self.error and (data := spare.recv(1 << 18)):
                self.data_received(data)
        except OSError:
            pass  # There is no more.

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        wake(self._drained)

    def _end(self, cause: Exception | None) -> None:
        if self.error:
            return
        if isinstance(cause, MsbError):
            self.error = cause
        elif not self._shaken.done():
            self.error = HandshakeFailed("the relay closed the connection in the handshake")
        else:
            why = self._reason or (str(cause) if cause else "")
            self.error = ConnectionLost(
                "the sandbox ended, or its relay closed the connection" + (f": {why}" if why else "")
            )
        if self._transport:
            self._transport.abort()
        if not self._shaken.done():
            self._shaken.set_exception(self.error)
            self._shaken.exception()
        sessions, self._sessions = list(self._sessions.values()), {}
        self._paused.clear()
        wake(self._drained)
        for session in sessions:
            session.on_lost(self.error)


def wake(waiters: list[asyncio.Future[None]]) -> None:
    """Wakes all waiters of a list."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()


async def sleep_until_woken(waiters: list[asyncio.Future[None]]) -> None:
    """Waits for the next `wake` of a list."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiters.append(waiter)
    try:
        await waiter
    finally:
        if waiter in waiters:
            waiters.remove(waiter)


def copy_error(error: MsbError) -> MsbError:
    """Returns an error to raise again: every waiter gets one of its own, with its own traceback."""
    copied = type(error).__new__(type(error))
    copied.args = error.args
    copied.__dict__.update(error.__dict__)
    copied.__cause__ = error.__cause__
    return copied
