"""Fields of the guest's messages. The guest is not trusted: any may be missing or of another type."""

from __future__ import annotations

from typing import Any

from .errors import ProtocolError

__all__ = ["data", "integer", "optional_integer", "optional_text", "text"]

#: The longest text of the guest or the relay in an error, in characters.
_TEXT_MAX = 2000


def text(payload: dict[Any, Any], name: str) -> str:
    """Returns a text field of a payload, shortened and without control characters."""
    value = payload.get(name)
    value = value if isinstance(value, str) else ""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value[:_TEXT_MAX])


def optional_text(payload: dict[Any, Any], name: str) -> str | None:
    return text(payload, name) if isinstance(payload.get(name), str) else None


def integer(payload: dict[Any, Any], name: str) -> int:
    """Returns an integer field of a payload; raises `ProtocolError` if it is missing."""
    value = payload.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProtocolError(f"the guest sent a message without {name!r}")
    return value


def optional_integer(payload: dict[Any, Any], name: str) -> int | None:
    return None if payload.get(name) is None else integer(payload, name)


def data(payload: dict[Any, Any]) -> bytes:
    """Returns the bytes of a payload; raises `ProtocolError` if there are none."""
    value = payload.get("data")
    if not isinstance(value, bytes):
        raise ProtocolError("the guest sent a message without data")
    return value
