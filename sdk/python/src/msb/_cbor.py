"""The subset of CBOR (RFC 8949) that the relay's protocol needs.

The decoder treats its input as hostile: nesting, the number of items and announced lengths are bounded, and every
malformed input raises `CborError`. Tags are skipped, including tag 64 around byte strings, and `undefined` is None.
"""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["CborError", "MAX_DEPTH", "MAX_ITEMS", "dumps", "loads"]

#: The deepest nesting that is decoded or encoded. Valid messages need five levels.
MAX_DEPTH = 32
#: The most items in one document.
MAX_ITEMS = 1 << 17

_BREAK = object()
_UINT, _NINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_FLOATS = {25: (2, ">e"), 26: (4, ">f"), 27: (8, ">d")}
_WORDS = {20: False, 21: True, 22: None, 23: None}


class CborError(ValueError):
    """Bytes that are not CBOR, or a value that cannot be encoded."""


def dumps(value: Any) -> bytes:
    """Encodes None, bool, int (64 bits), float, str, bytes, lists, tuples and dicts.

    Raises `CborError` for any other type, for integers beyond 64 bits, and for nesting beyond `MAX_DEPTH`.
    """
    out = bytearray()
    _encode(value, out, 0)
    return bytes(out)


def loads(data: bytes | bytearray | memoryview) -> Any:
    """Decodes exactly one value; raises `CborError` for anything else."""
    decoder = _Decoder(bytes(data))
    value = decoder.value(0)
    if decoder.at != len(decoder.data):
        raise CborError(f"{len(decoder.data) - decoder.at} bytes follow the value")
    return value


def _head(major: int, argument: int, out: bytearray) -> None:
    major <<= 5
    if argument < 24:
        out.append(major | argument)
    elif argument < 1 << 8:
        out += bytes((major | 24, argument))
    elif argument < 1 << 16:
        out += struct.pack(">BH", major | 25, argument)
    elif argument < 1 << 32:
        out += struct.pack(">BI", major | 26, argument)
    elif argument < 1 << 64:
        out += struct.pack(">BQ", major | 27, argument)
    else:
        raise CborError("an integer does not fit into 64 bits")


def _encode(value: Any, out: bytearray, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise CborError(f"the value is nested deeper than {MAX_DEPTH} levels")
    if value is None:
        out.append(0xF6)
    elif isinstance(value, bool):
        out.append(0xF5 if value else 0xF4)
    elif isinstance(value, int):
        if value >= 0:
            _head(_UINT, value, out)
        else:
            _head(_NINT, -1 - value, out)
    elif isinstance(value, float):
        out += struct.pack(">Bd", 0xFB, value)
    elif isinstance(value, str):
        try:
            text = value.encode()
        except UnicodeEncodeError as error:
            raise CborError(f"a text cannot be encoded as UTF-8: {error.reason}") from None
        _head(_TEXT, len(text), out)
        out += text
    elif isinstance(value, (bytes, bytearray, memoryview)):
        _head(_BYTES, len(bytes(value)), out)
        out += value
    elif isinstance(value, (list, tuple)):
        _head(_ARRAY, len(value), out)
        for item in value:
            _encode(item, out, depth + 1)
    elif isinstance(value, dict):
        _head(_MAP, len(value), out)
        for key, item in value.items():
            _encode(key, out, depth + 1)
            _encode(item, out, depth + 1)
    else:
        raise CborError(f"a {type(value).__name__} cannot be encoded")


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.items = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise CborError("the value is cut off")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def value(self, depth: int, may_break: bool = False) -> Any:
        if depth > MAX_DEPTH:
            raise CborError(f"the value is nested deeper than {MAX_DEPTH} levels")
        self.items += 1
        if self.items > MAX_ITEMS:
            raise CborError(f"the value has more than {MAX_ITEMS} items")
        initial = self.take(1)[0]
        major, info = initial >> 5, initial & 31
        if major == _SIMPLE:
            return self.simple(info, may_break)
        argument = self.argument(info, indefinite=major in (_BYTES, _TEXT, _ARRAY, _MAP))
        if major == _UINT:
            return argument
        if major == _NINT:
            assert argument is not None
            return -1 - argument
        if major in (_BYTES, _TEXT):
            return self.string(major, argument)
        if major == _ARRAY:
            return self.array(argument, depth)
        if major == _MAP:
            return self.map(argument, depth)
        return self.value(depth + 1)

    def argument(self, info: int, indefinite: bool) -> int | None:
        """Returns the argument of a head; None for an indefinite length."""
        if info < 24:
            return info
        if info < 28:
            return int.from_bytes(self.take(1 << (info - 24)), "big")
        if info == 31 and indefinite:
            return None
        raise CborError(f"the additional information {info} is invalid here")

    def simple(self, info: int, may_break: bool) -> Any:
        if info in _WORDS:
            return _WORDS[info]
        if info in _FLOATS:
            size, form = _FLOATS[info]
            return struct.unpack(form, self.take(size))[0]
        if info == 31 and may_break:
            return _BREAK
        raise CborError(f"the simple value {info} is not supported")

    def string(self, major: int, length: int | None) -> bytes | str:
        if length is not None:
            taken = self.take(length)
            return taken if major == _BYTES else _text(taken)
        parts: list[Any] = []
        while (initial := self.take(1)[0]) != 0xFF:
            self.items += 1
            if initial >> 5 != major or self.items > MAX_ITEMS:
                raise CborError("a string of indefinite length has an invalid chunk")
            chunk = self.argument(initial & 31, indefinite=False)
            assert chunk is not None
            taken = self.take(chunk)
            parts.append(taken if major == _BYTES else _text(taken))
        return b"".join(parts) if major == _BYTES else "".join(parts)

    def array(self, length: int | None, depth: int) -> list[Any]:
        if length is None:
            items = []
            while (item := self.value(depth + 1, may_break=True)) is not _BREAK:
                items.append(item)
            return items
        self.announce(length)
        return [self.value(depth + 1) for _ in range(length)]

    def map(self, length: int | None, depth: int) -> dict[Any, Any]:
        if length is not None:
            self.announce(2 * length)
        entries: dict[Any, Any] = {}
        while length is None or len(entries) < length:
            key = self.value(depth + 1, may_break=length is None)
            if key is _BREAK:
                break
            if isinstance(key, (list, dict)):
                raise CborError("the key of a map is a list or a map")
            if key in entries:
                raise CborError("a map has a key twice")
            entries[key] = self.value(depth + 1)
        return entries

    def announce(self, items: int) -> None:
        """Refuses more items than the remaining bytes can contain, before any is decoded."""
        if items > len(self.data) - self.at:
            raise CborError("the value is cut off")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CborError("a text is not valid UTF-8") from None
