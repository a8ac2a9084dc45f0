#!/usr/bin/env python3
"""A relay without a VM: plays a scenario of `vectors.json` to every client.

    fake_relay.py SCENARIO SOCKET

It prints `ready` when it listens, and ends when its standard input ends. It needs no CBOR: it sends frozen frames, of
which it replaces the id, and finds the type of a received message as text in its body.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
from pathlib import Path

VECTORS = Path(__file__).resolve().parent / "vectors.json"
#: The longest wait for a client, in seconds.
PATIENCE = 30.0


class Left(Exception):
    """The client has disconnected."""


def load() -> dict:
    """Returns the vectors."""
    return json.loads(VECTORS.read_text(encoding="utf-8"))


class Client:
    """One client, to which a script is played."""

    def __init__(self, stream: socket.socket, frames: dict, received: list) -> None:
        self.stream = stream
        self.frames = frames
        self.received = received
        self.sessions: dict[str, int] = {}
        stream.settimeout(PATIENCE)

    def play(self, script: list) -> None:
        for step in script:
            getattr(self, step["do"])(step)

    def handshake(self, step: dict) -> None:
        data = struct.pack(">II", *step["ids"]) + bytes.fromhex(self.frames[step["frame"]]["hex"])
        self.write(data, step.get("split"))

    def send(self, step: dict) -> None:
        data = self.frame(step["frame"], step)
        self.write(data[: step.get("first", len(data))], step.get("split"))

    def send_joined(self, step: dict) -> None:
        self.write(b"".join(self.frame(name, step) for name in step["frames"]))

    def send_raw(self, step: dict) -> None:
        self.write(bytes.fromhex(step["hex"]))

    def send_output(self, step: dict) -> None:
        """Sends a `core.exec.stdout` whose `len` is `frame_len`, which must be beyond 64 KiB."""
        kind = b"core.exec.stdout"
        fixed = 5 + 1 + 3 + 2 + 1 + len(kind) + 2 + 5 + 1 + 5 + 5
        data = bytes.fromhex(step["fill"]) * (step["frame_len"] - fixed)
        payload = b"\xa1\x64data\x5a" + struct.pack(">I", len(data)) + data
        body = b"\xa3\x61v\x01\x61t" + bytes((0x60 | len(kind),)) + kind
        body += b"\x61p\x5a" + struct.pack(">I", len(payload)) + payload
        assert len(body) + 5 == step["frame_len"], len(body) + 5
        self.write(struct.pack(">IIB", len(body) + 5, self.sessions[step["session"]], 0) + body)

    def close(self, _step: dict) -> None:
        raise Left

    def drain(self, _step: dict) -> None:
        """Reads until the client disconnects."""
        while True:
            self.read_frame()

    def frame(self, name: str, step: dict) -> bytes:
        data = bytes.fromhex(self.frames[name]["hex"])
        id = self.sessions[step["session"]] if "session" in step else step.get("id")
        return data if id is None else data[:4] + struct.pack(">I", id) + data[8:]

    def write(self, data: bytes, split: int | None = None) -> None:
        try:
            if split:
                for at in range(0, len(data), split):
                    self.stream.sendall(data[at : at + split])
            else:
                self.stream.sendall(data)
        except OSError:
            raise Left from None

    def exactly(self, count: int) -> bytes:
        parts = []
        while count:
            try:
                part = self.stream.recv(count)
            except OSError:
                raise Left from None
            if not part:
                raise Left
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def read_frame(self) -> tuple[int, bytes]:
        length, id, flags = struct.unpack(">IIB", self.exactly(9))
        body = self.exactly(length - 5)
        self.received.append((id, flags, body))
        return id, body


def wait_for(client: Client, step: dict) -> None:
    """Reads frames until one of this type, and remembers its id as that of the session."""
    kind = step["type"].encode()
    marker = bytes((0x60 | len(kind),)) if len(kind) < 24 else bytes((0x78, len(kind)))
    while True:
        id, body = client.read_frame()
        if marker + kind in body:
            if "session" in step:
                client.sessions[step["session"]] = id
            return


# `await` is a keyword of Python, but the name of the step.
setattr(Client, "await", wait_for)


class FakeRelay:
    """A listening relay; `received` has the frames of all clients as (id, flags, body)."""

    def __init__(self, scenario: str, path: str) -> None:
        vectors = load()
        self.frames = vectors["frames"]
        self.script = vectors["scenarios"][scenario]["script"]
        self.path = path
        self.received: list[tuple[int, int, bytes]] = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(256)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._play, args=(stream,), daemon=True).start()

    def _play(self, stream: socket.socket) -> None:
        with stream:
            try:
                Client(stream, self.frames, self.received).play(self.script)
            except Left:
                pass

    def close(self) -> None:
        """Stops listening, and removes the socket."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        if os.path.exists(self.path):
            os.unlink(self.path)


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 64
    if sys.argv[1] not in load()["scenarios"]:
        print(f"there is no scenario {sys.argv[1]!r}", file=sys.stderr)
        return 64
    relay = FakeRelay(sys.argv[1], sys.argv[2])
    print("ready", flush=True)
    sys.stdin.buffer.read()
    relay.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
