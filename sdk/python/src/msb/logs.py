"""The logs of sandboxes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ._cli import Cli, JsonLines
from ._request import check_timeout
from .errors import MsbError

__all__ = ["LogEntry", "LogStream"]

SOURCES = ("stdout", "stderr", "output", "system", "runtime", "kernel", "network", "flows", "events")


@dataclass(frozen=True)
class LogEntry:
    """One line of a log.

    Attributes:
        timestamp: the time, in UTC.
        source: `stdout`, `stderr`, `output` (of a terminal), `system`, `runtime`, `kernel`, `network`, `flows` or
            `events`.
        data: the bytes of the line, without its newline.
        cursor: continues after this line, as the `cursor` of `logs` and `log_stream`.
        session_id: the number of the command, for its output.
        partial: whether the line continues in the next entry.
        note: what is missing before this line, if something is.
        name: the sandbox.
    """

    timestamp: datetime
    source: str
    data: bytes
    cursor: str
    session_id: int | None = None
    partial: bool = False
    note: str | None = None
    name: str | None = None

    @property
    def timestamp_ms(self) -> float:
        """The time, in milliseconds since 1970."""
        return self.timestamp.timestamp() * 1000

    def text(self) -> str:
        """Returns the data as UTF-8; invalid bytes become U+FFFD."""
        return self.data.decode(errors="replace")

    @classmethod
    def of(cls, line: Any) -> LogEntry:
        """Builds an entry from a line of `msb logs --json`."""
        try:
            data = line["d"]
            data = base64.b64decode(data, validate=True) if line.get("e") == "b64" else data.encode()
            return cls(
                _parse_time(line["t"]),
                str(line["s"]),
                data,
                str(line["cursor"]),
                line.get("id"),
                bool(line.get("partial")),
                line.get("note"),
                line.get("name"),
            )
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise MsbError(f"msb printed a log line that is none: {error!r}") from error


class LogStream:
    """The entries of a log; close it, or use `async with`, unless it is read to its end."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines

    async def next(self) -> LogEntry | None:
        """Returns the next entry, or None at the end; raises `MissedRotation` if entries were removed meanwhile."""
        line = await self._lines.next()
        return None if line is None else LogEntry.of(line)

    async def collect(self) -> list[LogEntry]:
        """Returns all remaining entries."""
        return [entry async for entry in self]

    async def close(self) -> None:
        """Ends the stream."""
        await self._lines.close()

    async def __aiter__(self) -> AsyncIterator[LogEntry]:
        while (entry := await self.next()) is not None:
            yield entry

    async def __aenter__(self) -> LogStream:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        await self.close()


def log_arguments(
    name: str,
    *,
    tail: int | None = None,
    since: datetime | float | str | None = None,
    until: datetime | float | str | None = None,
    cursor: str | None = None,
    sources: Iterable[str] | None = None,
    follow: bool = False,
) -> list[str]:
    """Returns the arguments of `msb logs`."""
    arguments = ["logs", "--json"]
    if follow:
        arguments.append("--follow")
    if tail is not None:
        if not isinstance(tail, int) or isinstance(tail, bool) or tail < 0:
            raise ValueError("tail must be a number of entries")
        arguments.append(f"--tail={tail}")
    for word, time in (("since", since), ("until", until)):
        if time is not None:
            arguments.append(f"--{word}={_time(time, word)}")
    if cursor is not None:
        if not isinstance(cursor, str):
            raise TypeError("cursor must be the str of an entry")
        arguments.append(f"--cursor={cursor}")
    if isinstance(sources, str):
        sources = [sources]
    for source in sources or ():
        if source not in SOURCES and source != "all":
            raise ValueError(f"{source!r} is not a source; the sources are {', '.join(SOURCES)} and all")
        arguments += [f"--source={word}" for word in (SOURCES if source == "all" else (source,))]
    return [*arguments, "--", name]


async def open_log(cli: Cli, name: str, arguments: list[str]) -> LogStream:
    return LogStream(await JsonLines.start(cli, arguments, name=name))


def _time(time: Any, word: str) -> str:
    """Returns a time as RFC 3339: a datetime, an age in seconds, or a text as `msb logs` takes it."""
    if isinstance(time, str):
        return time
    if isinstance(time, datetime):
        moment = time if time.tzinfo else time.astimezone()
    else:
        moment = datetime.now(timezone.utc) - timedelta(seconds=check_timeout(time, word) or 0.0)
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def _parse_time(text: str) -> datetime:
    """Parses RFC 3339 with any number of digits after the second."""
    moment, _, rest = text.removesuffix("Z").partition(".")
    base = datetime.fromisoformat(moment).replace(tzinfo=timezone.utc)
    return base + timedelta(microseconds=int(rest[:6].ljust(6, "0"))) if rest else base
