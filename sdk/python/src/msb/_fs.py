"""The protocol of file operations: requests, answers, and the places for them in the guest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from ._frames import FLAG_SESSION_START
from ._payload import integer, optional_integer, optional_text, text
from ._relay import Connection, Mailbox
from .errors import FileError, MsbError, PathNotFound, ProtocolError

T = TypeVar("T")

#: The longest wait for a place among the operations of the guest, and the longest pause between two attempts, in
#: seconds.
BUSY_TIMEOUT = 30.0
BUSY_DELAY_MAX = 0.2

_KINDS = {"file": "file", "directory": "directory", "link": "symlink"}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class FileStat:
    """The metadata of a file; links are not followed.

    Attributes:
        kind: `file`, `directory`, `symlink` or `other`.
        mode: the permission bits.
        uid, gid: the owner.
        size: the size, in bytes.
        modified_ns: the time of the last modification, in nanoseconds since 1970.
        target: the target of a link.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    modified_ns: int
    target: str | None = None

    @property
    def modified(self) -> datetime:
        """The time of the last modification, in UTC."""
        try:
            return _EPOCH + timedelta(microseconds=self.modified_ns // 1000)
        except OverflowError:
            return datetime.max.replace(tzinfo=timezone.utc) if self.modified_ns > 0 else _EPOCH

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.kind == "directory"


@dataclass(frozen=True)
class FsEntry(FileStat):
    """One entry of a directory; `name` has U+DC80 to U+DCFF for bytes that are not UTF-8, as `os.listdir` does."""

    name: str = ""
    path: str = ""


def begin(connection: Connection, operation: str, request: dict[str, Any], feature: str = "fs") -> Mailbox:
    """Sends the request of an operation; raises `Unsupported` if the agent lacks the feature."""
    connection.require(feature, f"{operation} files")
    mailbox = Mailbox(connection)
    mailbox.id = connection.register(mailbox)
    try:
        mailbox.post("core.fs.request", request, FLAG_SESSION_START)
    except BaseException:
        mailbox.close()
        raise
    return mailbox


async def while_busy(attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeats an operation while the guest has no place for it.

    The guest has 16 places for all clients, and that of an abandoned transfer is free only a moment after its
    connection was closed.
    """
    loop = asyncio.get_running_loop()
    deadline, delay = loop.time() + BUSY_TIMEOUT, 0.01
    while True:
        try:
            return await attempt()
        except FileError as error:
            # With an errno it is a file that is busy.
            if error.kind != "busy" or error.errno is not None or loop.time() >= deadline:
                raise
        await asyncio.sleep(delay)
        delay = min(2 * delay, BUSY_DELAY_MAX)


def to_bytes(path: Any) -> bytes:
    if isinstance(path, bytes):
        return path
    if not isinstance(path, str):
        raise TypeError(f"a path in the guest must be a str, not {type(path).__name__}")
    return path.encode("utf-8", "surrogateescape")


def absolute(path: Any) -> bytes:
    encoded = to_bytes(path)
    if not encoded.startswith(b"/") or b"\0" in encoded:
        raise ValueError(f"{path!r} is not an absolute path in the guest")
    return encoded


def request_of(op: str, path: Any, **options: Any) -> dict[str, Any]:
    encoded = absolute(path)
    mode = options.get("mode")
    if mode is not None and (not isinstance(mode, int) or not 0 <= mode <= 0o7777):
        raise ValueError("mode must be from 0 to 0o7777")
    return {"op": op, "path": encoded, **{name: value for name, value in options.items() if value is not None}}


async def answer_of(mailbox: Mailbox, path: str) -> tuple[int, dict[Any, Any]]:
    flags, message = await mailbox.next_message()
    check(message, path)
    return flags, message.payload


def check(message: Any, path: str) -> None:
    """Raises the error of a response, or `ProtocolError` for any other message."""
    if message.kind == "core.error":
        raise MsbError(f"the guest refused: {text(message.payload, 'message')}")
    if message.kind != "core.fs.response":
        raise ProtocolError(f"the guest answered a file operation with {message.kind[:64]!r}")
    failure = message.payload.get("failure")
    if failure is None:
        return
    if not isinstance(failure, dict):
        raise ProtocolError("the guest sent a failure that is none")
    kind = failure.get("kind")
    error = PathNotFound if kind == "not_found" else FileError
    raise error(
        text(failure, "message") or f"the guest refused the operation on {path}",
        kind=kind[:64] if isinstance(kind, str) else "other",
        path=path,
        errno=optional_integer(failure, "errno"),
        errno_name=optional_text(failure, "errno_name"),
    )


def stat_of(stat: Any) -> dict[str, Any]:
    if not isinstance(stat, dict):
        raise ProtocolError("the guest sent no metadata")
    target = stat.get("target")
    return {
        "kind": _KINDS.get(str(stat.get("kind")), "other"),
        **{name: integer(stat, name) for name in ("mode", "uid", "gid", "size", "modified_ns")},
        "target": target.decode("utf-8", "surrogateescape") if isinstance(target, bytes) else None,
    }


def entry_of(raw: Any, folder: str) -> FsEntry:
    name = raw.get("name") if isinstance(raw, dict) else None
    if not isinstance(name, bytes) or name in (b"", b".", b"..") or b"/" in name or b"\0" in name or len(name) > 255:
        raise ProtocolError(f"the guest sent a name that is none: {str(name)[:300]}")
    decoded = name.decode("utf-8", "surrogateescape")
    return FsEntry(**stat_of(raw.get("stat")), name=decoded, path=f"{folder.rstrip('/')}/{decoded}")
