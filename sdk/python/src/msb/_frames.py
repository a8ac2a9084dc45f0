"""Frames of the relay's protocol: `len u32 BE | id u32 BE | flags u8 | body`, where `len` counts id, flags and body.

The body is the CBOR of `{v, t, p}`: generation, type of the message, and the CBOR of the payload in a byte string.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from . import _cbor
from .errors import FrameError, ProtocolError

__all__ = [
    "FLAG_SESSION_START",
    "FLAG_SHUTDOWN",
    "FLAG_TERMINAL",
    "Frame",
    "FrameDecoder",
    "MAX_BODY_BYTES",
    "MAX_FRAME_LEN",
    "Message",
    "PROTOCOL_VERSION",
    "decode_body",
    "encode_body",
]

#: The last frame of its session, whose id is free afterwards.
FLAG_TERMINAL = 1
#: The first frame of a session.
FLAG_SESSION_START = 2
#: A request to end the whole sandbox.
FLAG_SHUTDOWN = 4

#: The generation of the messages.
PROTOCOL_VERSION = 1
#: The largest `len`, in bytes.
MAX_FRAME_LEN = 4 * 1024 * 1024
#: The smallest `len`, in bytes: id and flags with an empty body.
MIN_FRAME_LEN = 5
#: The largest body, in bytes.
MAX_BODY_BYTES = MAX_FRAME_LEN - MIN_FRAME_LEN

_HEADER = struct.Struct(">IIB")


@dataclass(frozen=True)
class Frame:
    """One frame.

    `id` is the session's, or 0 for the link; a client allots it, so it is ignored in a request. `body` is the CBOR of
    the envelope.
    """

    flags: int
    body: bytes
    id: int = 0

    def encode(self) -> bytes:
        """Returns the bytes on the wire; raises `FrameError` if the body is larger than `MAX_BODY_BYTES`."""
        length = len(self.body) + MIN_FRAME_LEN
        if length > MAX_FRAME_LEN:
            raise FrameError(f"a frame of {length} bytes is larger than the {MAX_FRAME_LEN} bytes allowed")
        return _HEADER.pack(length, self.id, self.flags & 0xFF) + self.body

    @classmethod
    def of(cls, kind: str, payload: dict[str, Any], *, flags: int = 0, id: int = 0) -> Frame:
        """Builds a frame with the envelope of a message."""
        return cls(flags, encode_body(kind, payload), id)

    def message(self) -> Message:
        """Decodes the body; raises `ProtocolError` if it is not an envelope."""
        return decode_body(self.body)


@dataclass(frozen=True)
class Message:
    """A decoded body: the sender's generation, the type, and the payload."""

    v: int
    kind: str
    payload: dict[Any, Any]


class FrameDecoder:
    """Splits a stream into frames, in whatever chunks its bytes arrive.

    It buffers only bytes that have arrived, whatever length a header announces.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Appends the next bytes of the stream."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def next(self) -> Frame | None:
        """Returns the next complete frame, or None if more bytes are needed.

        Raises `FrameError` if a length is out of bounds; the stream is useless then.
        """
        available = len(self._buffer) - self._at
        if available < 4:
            return None
        length = int.from_bytes(self._buffer[self._at : self._at + 4], "big")
        if length < MIN_FRAME_LEN:
            raise FrameError(f"a frame of {length} bytes is shorter than the {MIN_FRAME_LEN} bytes of its own header")
        if length > MAX_FRAME_LEN:
            raise FrameError(f"a frame of {length} bytes is larger than the {MAX_FRAME_LEN} bytes allowed")
        if available < 4 + length:
            return None
        _, id, flags = _HEADER.unpack_from(self._buffer, self._at)
        start = self._at + _HEADER.size
        self._at += 4 + length
        with memoryview(self._buffer) as view:
            body = bytes(view[start : self._at])
        return Frame(flags, body, id)

    @property
    def pending_bytes(self) -> int:
        """The buffered bytes. If it is not 0 at the end of a stream, the last frame is incomplete."""
        return len(self._buffer) - self._at


def encode_body(kind: str, payload: dict[str, Any]) -> bytes:
    """Encodes the envelope of a message."""
    return _cbor.dumps({"v": PROTOCOL_VERSION, "t": kind, "p": _cbor.dumps(payload)})


def decode_body(body: bytes) -> Message:
    """Decodes an envelope and its payload; raises `ProtocolError` if they are malformed.

    A payload may be no bytes, null or a map. Unknown keys are kept.
    """
    try:
        envelope = _cbor.loads(body)
        if not isinstance(envelope, dict):
            raise ProtocolError("the envelope of a message is not a map")
        v, kind, encoded = envelope.get("v"), envelope.get("t"), envelope.get("p")
        if not isinstance(v, int) or not isinstance(kind, str) or not isinstance(encoded, bytes):
            raise ProtocolError("the envelope of a message is not {v, t, p}")
        payload = _cbor.loads(encoded) if encoded else {}
    except _cbor.CborError as error:
        raise ProtocolError(f"a message is not valid CBOR: {error}") from error
    if payload is None:
        payload = {}
    if not isinstance(payload, dict):
        raise ProtocolError(f"the payload of {kind[:64]!r} is not a map")
    return Message(v, kind, payload)
