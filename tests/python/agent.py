"""A raw client of a sandbox's relay: the standard library, cbor2, and the protocol's documents.

Frame:  len u32 BE | id u32 BE | flags u8 | CBOR {v, t, p}; len counts id, flags and CBOR; p is CBOR in bytes.
Relay:  on accept, id_start u32 BE | id_end_exclusive u32 BE | the cached core.ready frame.
"""

import itertools
import socket
import struct

import cbor2

TERMINAL, SESSION_START = 1, 2
PIECE_BYTES = 128 * 1024
WINDOW_FRAMES = 8


class Refused(Exception):
    """The relay or the agent reported an error."""


class Agent:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.start, self.end = struct.unpack(">II", self._exactly(8))
        identity, _, kind, self.ready = self.receive()
        if kind != "core.ready":
            raise Refused(f"{kind}: {self.ready}")
        assert identity == 0 and 0 < self.start < self.end, (identity, self.start, self.end)
        self.ids = itertools.count(self.start)

    def _exactly(self, count):
        parts = []
        while count:
            part = self.socket.recv(count)
            if not part:
                raise EOFError("the relay has closed")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def send(self, identity, flags, kind, payload):
        body = cbor2.dumps({"v": 1, "t": kind, "p": cbor2.dumps(payload)})
        self.socket.sendall(struct.pack(">IIB", len(body) + 5, identity, flags) + body)

    def receive(self):
        (length,) = struct.unpack(">I", self._exactly(4))
        assert 5 <= length <= 4 * 1024 * 1024, length
        identity, flags = struct.unpack(">IB", self._exactly(5))
        envelope = cbor2.loads(self._exactly(length - 5))
        assert envelope["v"] == 1, envelope
        return identity, flags, envelope["t"], cbor2.loads(envelope["p"])

    def exec(self, command, *args, stdin=b"", **rest):
        """Yields ("stdout" | "stderr", bytes) as they arrive, then ("exited", code)."""
        identity = next(self.ids)
        request = {"cmd": command, "args": list(args), "env": [], "tty": False, "rows": 24, "cols": 80, "rlimits": []}
        self.send(identity, SESSION_START, "core.exec.request", request | rest)
        for at in range(0, len(stdin), PIECE_BYTES):
            self.send(identity, 0, "core.exec.stdin", {"data": stdin[at : at + PIECE_BYTES]})
        self.send(identity, 0, "core.exec.stdin", {"data": b""})
        while True:
            of, flags, kind, payload = self.receive()
            assert of == identity, f"a frame of {of}, though only {identity} is open"
            if kind in ("core.exec.stdout", "core.exec.stderr"):
                yield kind.rsplit(".", 1)[1], payload["data"]
            elif kind == "core.exec.exited":
                assert flags & TERMINAL
                yield "exited", payload["code"]
                return
            elif kind in ("core.exec.failed", "core.error"):
                raise Refused(payload["message"])

    def run(self, command, *args, **rest):
        """Returns exit code, standard output and standard error."""
        code, streams = None, {"stdout": [], "stderr": []}
        for kind, value in self.exec(command, *args, **rest):
            if kind == "exited":
                code = value
            else:
                streams[kind].append(value)
        return code, b"".join(streams["stdout"]), b"".join(streams["stderr"])

    def _answer(self, identity):
        of, flags, kind, payload = self.receive()
        assert of == identity, (of, identity)
        if kind == "core.error" or payload.get("failure"):
            raise Refused(payload.get("failure") or payload)
        return flags, kind, payload

    def write_file(self, path, data, mode=0o644):
        identity = next(self.ids)
        request = {"op": "write", "path": path.encode(), "mode": mode}
        self.send(identity, SESSION_START, "core.fs.request", request)
        pieces = [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)] + [b""]
        taken = 0
        for sent, piece in enumerate(pieces):
            while sent - taken >= WINDOW_FRAMES:
                _, _, payload = self._answer(identity)
                taken = payload["frames"]
            self.send(identity, 0, "core.fs.data", {"data": piece})
        while True:
            flags, kind, _ = self._answer(identity)
            if kind == "core.fs.response":
                assert flags & TERMINAL
                return

    def read_file(self, path):
        identity = next(self.ids)
        self.send(identity, SESSION_START, "core.fs.request", {"op": "read", "path": path.encode()})
        pieces = []
        while True:
            _, kind, payload = self._answer(identity)
            if kind == "core.fs.response":
                return b"".join(pieces)
            pieces.append(payload["data"])
            self.send(identity, 0, "core.fs.data.ack", {"frames": len(pieces)})

    def freeze(self):
        """Holds the writes to the sandbox's disk; returns the id for `thaw`."""
        identity = next(self.ids)
        self.send(identity, SESSION_START, "core.fs.request", {"op": "freeze", "path": b"/"})
        flags, kind, _ = self._answer(identity)
        assert kind == "core.fs.response" and not flags & TERMINAL, (kind, flags)
        return identity

    def thaw(self, identity):
        self.send(identity, 0, "core.fs.data", {"data": b""})
        flags, kind, _ = self._answer(identity)
        assert kind == "core.fs.response" and flags & TERMINAL, (kind, flags)

    def connect(self, host, port, data):
        """Sends data over a connection in the guest; returns the answers: their types, and their data or error."""
        identity = next(self.ids)
        self.send(identity, SESSION_START, "core.tcp.connect", {"host": host, "port": port})
        self.send(identity, 0, "core.tcp.data", {"data": data})
        self.send(identity, 0, "core.tcp.eof", {})
        answers, flags = [], 0
        while not flags & TERMINAL:
            of, flags, kind, payload = self.receive()
            assert of == identity, (of, identity)
            answers.append((kind, payload.get("data", payload.get("error"))))
        return answers

    def close(self):
        self.socket.close()
