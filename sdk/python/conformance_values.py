"""The values of the conformance kit as JSON."""

from __future__ import annotations

import hashlib
from typing import Any


def decode(value: Any) -> Any:
    """Returns the value of JSON with `$hex`, `$int` and `$float`."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$hex" in value:
        return bytes.fromhex(value["$hex"])
    if "$int" in value:
        return int(value["$int"])
    if "$float" in value:
        return float(value["$float"])
    return {key: decode(item) for key, item in value.items()}


def encode(value: Any) -> Any:
    """Returns a value as JSON with `$hex`, `$int` and `$float`."""
    if isinstance(value, bytes):
        return {"$hex": value.hex()}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, float):
        return {"$float": {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value), str(value))}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53 - 1:
        return {"$int": str(value)}
    return value


def to_bytes(value: dict[str, Any]) -> bytes:
    if "hex" in value:
        return bytes.fromhex(value["hex"])
    if "repeat" in value:
        return (value["repeat"] * value["times"]).encode()
    return value["text"].encode()


def of_bytes(data: bytes) -> dict[str, Any]:
    text = None
    if len(data) <= 4096:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            pass
    hexadecimal = data.hex() if len(data) <= 256 else None
    return {"len": len(data), "sha256": hashlib.sha256(data).hexdigest(), "text": text, "hex": hexadecimal}
