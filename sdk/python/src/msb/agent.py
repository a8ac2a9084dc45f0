"""The raw tier: frames over a sandbox's relay, whose CBOR is the caller's."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from ._frames import FLAG_SESSION_START, FLAG_SHUTDOWN, FLAG_TERMINAL, Frame, Message
from ._guest import Guest
from ._opening import Opening
from ._relay import CONNECT_TIMEOUT, Connection, Mailbox, Ready
from .errors import ProtocolError, Unsupported

if TYPE_CHECKING:
    from .client import Client

__all__ = ["AgentClient", "AgentStream", "FLAG_SESSION_START", "FLAG_SHUTDOWN", "FLAG_TERMINAL", "Frame", "Message"]


class AgentStream:
    """The frames of one session, in order, up to the TERMINAL one."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    @property
    def id(self) -> int:
        """The id of the session, for `AgentClient.send`."""
        return self._mailbox.id

    async def next(self) -> Frame | None:
        """Returns the next frame, or None after the TERMINAL one; raises `ConnectionLost`."""
        return await self._mailbox.next_frame()

    async def close(self) -> None:
        """Forgets the session, whose later frames are dropped. The guest is not told."""
        self._mailbox.close()

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while frame := await self.next():
            yield frame

    async def __aenter__(self) -> AgentStream:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        await self.close()


class AgentClient(Guest):
    """A connection to one sandbox's relay.

    Requests are a `Frame` or flags and body; the client allots the ids. The commands and files of a sandbox work on it
    too. A stream whose frames are not taken stops the other streams of its client once 16 MiB are queued. A transfer of
    a file that is abandoned keeps its place in the guest until the client is closed; those of a `Sandbox` have
    connections of their own.
    """

    def __init__(self, connection: Connection) -> None:
        self._link = connection

    async def _connection(self) -> Connection:
        return self._link

    @classmethod
    async def connect(cls, path: str | os.PathLike[str], *, timeout: float | None = CONNECT_TIMEOUT) -> AgentClient:
        """Connects to a relay's socket, and waits for a booting guest, for at most `timeout` seconds.

        Raises `SandboxNotRunning`, `HandshakeFailed` or `TimedOut`.
        """
        return cls(await Connection.open(path, timeout))

    @classmethod
    async def connect_sandbox(
        cls, name: str, *, client: Client | None = None, timeout: float | None = CONNECT_TIMEOUT
    ) -> AgentClient:
        """Connects to the relay of a sandbox; raises `SandboxNotFound` too."""
        return await cls.connect(await cls.socket_path(name, client=client), timeout=timeout)

    @staticmethod
    async def socket_path(name: str, *, client: Client | None = None) -> str:
        """Returns the path of a sandbox's socket, which is there while it runs; raises `SandboxNotFound`."""
        from .client import default_client

        return (await (client or default_client()).get(name)).agent_socket

    def ready(self) -> Ready:
        """Returns the guest's `core.ready`."""
        return self._link.ready

    @property
    def ready_bytes(self) -> bytes:
        """The frame of `core.ready`, as it was received."""
        return self._link.ready_bytes

    @property
    def ids(self) -> range:
        """The session ids of this client."""
        return self._link.ids

    async def request(self, frame: Frame | int, body: bytes | None = None) -> Frame:
        """Sends a frame under a new id, and returns the first frame of the answer: `request(frame)` or
        `request(flags, body)`.

        Raises `ConnectionLost`, `IdsExhausted` and `Closed`.
        """
        async with self.stream(frame, body) as stream:
            answer = await stream.next()
        if answer is None:
            raise ProtocolError("the guest did not answer")
        return answer

    def stream(self, frame: Frame | int, body: bytes | None = None) -> Opening[AgentStream]:
        """Sends a frame under a new id; await it for the stream of answers, or iterate over them."""
        first = _frame(frame, body)

        async def start() -> AgentStream:
            mailbox = Mailbox(self._link, pause=True)
            mailbox.id = self._link.register(mailbox)
            try:
                await self._link.send(mailbox.id, first.flags, first.body)
            except BaseException:
                mailbox.close()
                raise
            return AgentStream(mailbox)

        return Opening(start)

    async def send(self, frame: Frame | int, flags: int | None = None, body: bytes | None = None) -> None:
        """Sends one more frame of a session: `send(frame)` with its id, or `send(id, flags, body)`."""
        if isinstance(frame, int):
            if flags is None or body is None:
                raise TypeError("send takes a Frame, or id, flags and body")
            frame = Frame(flags, body, frame)
        elif flags is not None or body is not None:
            raise TypeError("send takes a Frame, or id, flags and body")
        if frame.id not in self.ids:
            raise ValueError(f"the id {frame.id} is not one of this client")
        await self._link.send(frame.id, frame.flags, frame.body)

    async def close(self) -> None:
        """Closes the connection; the relay ends the commands of its sessions."""
        await self._link.close()

    async def _copy(self, _host: Any, _guest: str, *, into: bool) -> None:
        raise Unsupported("a raw client cannot copy from or to the host; use a Sandbox")

    async def __aenter__(self) -> AgentClient:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        await self.close()

    connectSandbox = connect_sandbox
    socketPath = socket_path


def _frame(frame: Frame | int, body: bytes | None) -> Frame:
    if isinstance(frame, Frame):
        if body is not None:
            raise TypeError("a Frame already has a body")
        return frame
    if not isinstance(frame, int) or not isinstance(body, (bytes, bytearray)):
        raise TypeError("expected a Frame, or flags and a body of bytes")
    return Frame(frame, bytes(body))
