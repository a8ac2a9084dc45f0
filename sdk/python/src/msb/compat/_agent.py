"""The raw tier: frames of the relay as dicts, whose CBOR is the caller's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from typing import Any

from .. import errors as native
from .._cli import failure
from .._frames import Frame
from .._relay import CONNECT_TIMEOUT, Ready
from ..agent import FLAG_SESSION_START, FLAG_SHUTDOWN, FLAG_TERMINAL
from ..agent import AgentClient as NativeClient
from ..agent import AgentStream as NativeStream
from ..client import default_client
from ._contracts import RawFrame
from ._translate import translate, translated

__all__ = ["FLAG_SESSION_START", "FLAG_SHUTDOWN", "FLAG_TERMINAL", "AgentClient", "AgentStream", "RawFrame"]

#: The length, the id and the flags before the body of a frame, in bytes.
_HEAD_BYTES = 9


def _raw(frame: Frame) -> RawFrame:
    return {"id": frame.id, "flags": frame.flags, "body": frame.body}


class AgentStream:
    """The frames of one session, up to the one with `FLAG_TERMINAL`."""

    def __init__(self, stream: NativeStream) -> None:
        self._stream = stream
        self._closed = False

    @property
    def id(self) -> int:
        """The id of the session, for `AgentClient.send`."""
        return self._stream.id

    @translated
    async def next(self) -> RawFrame | None:
        """Returns the next frame, or None at the end."""
        if self._closed:
            return None
        frame = await self._stream.next()
        if frame is None or frame.flags & FLAG_TERMINAL:
            self._closed = True
        return None if frame is None else _raw(frame)

    async def close(self) -> None:
        """Forgets the session."""
        self._closed = True
        await self._stream.close()

    async def __aenter__(self) -> AgentStream:
        return self

    async def __aexit__(self, *_exception: object) -> bool:
        await self.close()
        return False

    def __aiter__(self) -> AgentStream:
        return self

    async def __anext__(self) -> RawFrame:
        frame = await self.next()
        if frame is None:
            raise StopAsyncIteration
        return frame


class _SocketPath(str):
    """A path that can be awaited too."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, str]:
        yield from ()
        return str(self)


class AgentClient:
    """A connection to the relay of one sandbox."""

    def __init__(self, client: NativeClient) -> None:
        self._client = client

    @classmethod
    @translated
    async def connect_sandbox(cls, name: str, *, timeout: float | None = None) -> AgentClient:
        """Connects to the relay of a sandbox."""
        limit = CONNECT_TIMEOUT if timeout is None else timeout
        try:
            return cls(await NativeClient.connect_sandbox(name, timeout=limit))
        except native.MsbError as error:
            raise translate(error, name) from error

    @classmethod
    @translated
    async def connect(cls, path: str, *, timeout: float | None = None) -> AgentClient:
        """Connects to the socket of a relay."""
        return cls(await NativeClient.connect(path, timeout=CONNECT_TIMEOUT if timeout is None else timeout))

    @staticmethod
    def socket_path(name: str) -> str:
        """Returns the path of the socket of a sandbox, which is there while it runs."""
        cli = default_client()._cli
        try:
            done = subprocess.run(
                [cli.program, "inspect", "--json", "--", name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd="/",
                env=cli.environment(),
            )
            if done.returncode != 0:
                raise failure(done.returncode, done.stderr, name)
        except native.MsbError as error:
            raise translate(error, name) from error
        return _SocketPath(json.loads(done.stdout)["sandboxes"][0]["agent_socket"])

    @translated
    async def request(self, flags: int | Frame, body: bytes | None = None) -> RawFrame:
        """Sends a frame, and returns the first frame of the answer: `request(flags, body)` or `request(frame)`."""
        return _raw(await self._client.request(flags, body))

    @translated
    async def stream(self, flags: int | Frame, body: bytes | None = None) -> AgentStream:
        """Sends a frame, and returns the stream of answers."""
        return AgentStream(await self._client.stream(flags, body))

    @translated
    async def send(self, id: int, flags: int, body: bytes) -> None:
        """Sends one more frame of a session."""
        await self._client.send(id, flags, body)

    def ready_bytes(self) -> bytes:
        """Returns the body of the guest's `core.ready`: CBOR."""
        return self._client.ready_bytes[_HEAD_BYTES:]

    def ready(self) -> Ready:
        """Returns the guest's `core.ready`, which only `msb` decodes."""
        return self._client.ready()

    @translated
    async def close(self) -> None:
        """Closes the connection."""
        await self._client.close()

    connectSandbox = connect_sandbox
    socketPath = socket_path
    readyBytes = ready_bytes
