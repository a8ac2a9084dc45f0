"""The logs of a sandbox."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from .. import errors as native
from .._opening import Opening
from ..logs import LogEntry as NativeEntry
from ..logs import LogStream as NativeStream
from ..sandbox import Sandbox as NativeSandbox
from ._enums import LogReadSource, LogSource
from ._translate import translate

__all__ = ["LogEntry", "LogStream", "open_stream", "read"]

#: The sources of `msb` that `microsandbox` has as `system`.
_SYSTEM = ("system", "runtime", "kernel")
_OUTPUT = ("stdout", "stderr", "output")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class LogEntry:
    """A piece of output, usually a line with its newline.

    Attributes:
        timestamp: the time, in UTC.
        source: where it is from.
        session_id: the number of the command; None for `system`.
        cursor: continues after it, as the `from_cursor` of `log_stream`.
        data: the bytes.
    """

    def __init__(self, entry: NativeEntry) -> None:
        self.timestamp = entry.timestamp
        self.source = LogSource.SYSTEM if entry.source in _SYSTEM else LogSource(entry.source)
        self.session_id = entry.session_id
        self.cursor = entry.cursor
        # `msb` keeps lines; a line that goes on in the next entry has no newline.
        self.data = entry.data if entry.partial else entry.data + b"\n"

    @property
    def timestamp_ms(self) -> float:
        """The time, in milliseconds since 1970."""
        return self.timestamp.timestamp() * 1000

    def text(self) -> str:
        """Returns the data as UTF-8; invalid bytes become U+FFFD."""
        return self.data.decode(errors="replace")

    def __repr__(self) -> str:
        return f"LogEntry(source={self.source.value!r}, session_id={self.session_id}, data={self.data!r})"


class LogStream:
    """The entries of a log, for `async for`."""

    def __init__(self, stream: NativeStream) -> None:
        self._stream = stream

    def __aiter__(self) -> LogStream:
        return self

    async def __anext__(self) -> LogEntry:
        entry = await self.recv()
        if entry is None:
            raise StopAsyncIteration
        return entry

    async def recv(self) -> LogEntry | None:
        """Returns the next entry, or None at the end."""
        try:
            entry = await self._stream.next()
        except native.MsbError as error:
            raise translate(error) from error
        return None if entry is None else LogEntry(entry)

    async def close(self) -> None:
        """Ends the stream."""
        await self._stream.close()

    def __del__(self) -> None:
        # `microsandbox` has no `close`: programs leave the loop, and drop the stream.
        self._stream._lines.abandon()

    async def __aenter__(self) -> LogStream:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        await self.close()


async def read(
    sandbox: NativeSandbox, tail: int | None, since_ms: float | None, until_ms: float | None, sources: Any
) -> list[LogEntry]:
    """Returns the entries of a log."""
    entries = await sandbox.logs(
        tail=tail, since=_time(since_ms, "since_ms"), until=_time(until_ms, "until_ms"), sources=_sources(sources)
    )
    return [LogEntry(entry) for entry in entries]


def open_stream(
    sandbox: NativeSandbox,
    sources: Any,
    since_ms: float | None,
    from_cursor: str | None,
    until_ms: float | None,
    follow: bool,
) -> Opening[LogStream]:
    """Returns a stream that can be awaited, as in `microsandbox`, or iterated at once."""
    if since_ms is not None and from_cursor is not None:
        raise ValueError("since_ms and from_cursor are mutually exclusive")
    options: dict[str, Any] = {
        "sources": _sources(sources),
        "since": _time(since_ms, "since_ms"),
        "until": _time(until_ms, "until_ms"),
        "cursor": from_cursor,
        "follow": follow,
    }

    async def start() -> LogStream:
        try:
            return LogStream(await sandbox.log_stream(**options))
        except native.MsbError as error:
            raise translate(error, sandbox.name) from error

    return Opening(start)


def _sources(sources: Iterable[str] | None) -> list[str]:
    """Returns the sources of `msb`; texts are taken too, as in releases before 0.7."""
    if sources is None:
        return list(_OUTPUT)
    if isinstance(sources, str):
        raise TypeError("sources must be a list of LogReadSource")
    wanted: list[str] = []
    for source in sources:
        try:
            known = LogReadSource(source)
        except ValueError:
            raise ValueError(f"unknown log source: {source!r}") from None
        if known in (LogReadSource.SYSTEM, LogReadSource.ALL):
            wanted += _SYSTEM
        if known is LogReadSource.ALL:
            wanted += _OUTPUT
        elif known is not LogReadSource.SYSTEM:
            wanted.append(known.value)
    return wanted or list(_OUTPUT)


def _time(milliseconds: float | None, name: str) -> datetime | None:
    if milliseconds is None:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except (OverflowError, ValueError):
        raise ValueError(f"{name} must be a number of milliseconds since 1970") from None
