"""A relay without a guest, which answers messages as a test says."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msb._frames import FrameDecoder, Frame, encode_body

READY = {
    "boot_time_ns": 1,
    "init_time_ns": 2,
    "ready_time_ns": 3,
    "agent_version": "9.9.9",
    "features": ["fs", "fs_tree"],
}


@dataclass
class Received:
    """A message of the client."""

    id: int
    kind: str
    payload: dict[Any, Any]


class Peer(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, relay: PeerRelay) -> None:
        self.relay = relay
        self.received: list[Received] = []
        self._decoder = FrameDecoder()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.relay.peers.append(self)
        transport.write(struct.pack(">II", 1000, 2000) + Frame(0, encode_body("core.ready", READY), 0).encode())

    def data_received(self, data: bytes) -> None:
        self._decoder.feed(data)
        while frame := self._decoder.next():
            message = frame.message()
            received = Received(frame.id, message.kind, message.payload)
            self.received.append(received)
            if message.kind == "core.ping":
                self.send(frame.id, 1, "core.pong", {})
            else:
                self.relay.answer(self, received)

    def connection_lost(self, _error: Exception | None) -> None:
        self.relay.peers.remove(self)

    def send(self, id: int, flags: int, kind: str, payload: dict[str, Any]) -> None:
        self._transport.write(Frame(flags, encode_body(kind, payload), id).encode())


class PeerRelay:
    """A listening relay; `answer(peer, message)` is called for each message except pings."""

    def __init__(self, path: Path, answer: Callable[[Peer, Received], None]) -> None:
        self.path = path
        self.answer = answer
        #: The connections that are open.
        self.peers: list[Peer] = []

    async def __aenter__(self) -> PeerRelay:
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: Peer(self), str(self.path))
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        self._server.close()
        for peer in list(self.peers):
            peer._transport.abort()
        await asyncio.sleep(0)
