"""Commands in a sandbox."""

from __future__ import annotations

import asyncio
import math
import signal as signals
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import errors as native
from .._request import PIPE
from .._request import Rlimit as NativeRlimit
from ..process import ExecEvent as NativeEvent
from ..process import ExecOutput as NativeOutput
from ..process import Process
from ..sandbox import Sandbox as NativeSandbox
from ._enums import ExecEventType, StdinMode
from ._translate import translate, translated, unsupported
from ._values import Rlimit, Stdin

__all__ = [
    "ExecEvent",
    "ExecHandle",
    "ExecOutput",
    "ExecSink",
    "ExitedEvent",
    "Options",
    "StartedEvent",
    "StderrEvent",
    "StdoutEvent",
    "parse_options",
    "run",
    "start",
]

_KEYS = ("args", "cwd", "user", "env", "timeout", "stdin", "stdin_data", "tty", "rlimits")
_EVENTS = {kind.value: kind for kind in ExecEventType}


@dataclass
class Options:
    """The checked options of a command."""

    args: list[str]
    cwd: str | None
    user: str | None
    env: Mapping[str, str] | None
    timeout: float | None
    mode: StdinMode
    data: bytes
    tty: bool
    rlimits: list[NativeRlimit]

    def native(self) -> dict[str, Any]:
        """Returns the options that the methods of `msb.Sandbox` share."""
        values = {"cwd": self.cwd, "user": self.user, "env": self.env, "tty": self.tty, "rlimits": self.rlimits}
        return {name: value for name, value in values.items() if value}


def parse_options(args: Any, keywords: Mapping[str, Any]) -> Options:
    """Checks the options of a command, which are keywords, or keys of a dict in place of the arguments.

    Raises TypeError and ValueError with the texts of `microsandbox`.
    """
    values = dict(keywords)
    # Releases after 0.7 record the output of a command only if they are asked to; `msb` always does.
    if values.pop("capture", None) is False:
        raise unsupported("commands whose output is not recorded", "omit capture=False")
    if isinstance(args, Mapping):
        for key, value in args.items():
            if key not in _KEYS:
                raise TypeError(f"unknown exec option: {key}")
            values[key] = value
        args = values.pop("args", None)
    unknown = sorted(set(values) - set(_KEYS))
    if unknown:
        raise TypeError(f"got an unexpected keyword argument {unknown[0]!r}")
    mode, data = _stdin(values.get("stdin"), values.get("stdin_data"))
    return Options(
        args=_args(args),
        cwd=values.get("cwd"),
        user=values.get("user"),
        env=values.get("env"),
        timeout=_timeout(values.get("timeout")),
        mode=mode,
        data=data,
        tty=bool(values.get("tty")),
        rlimits=_rlimits(values.get("rlimits")),
    )


def _args(args: Any) -> list[str]:
    if args is None:
        return []
    if isinstance(args, (str, bytes)):
        raise TypeError("args must be a list of strings, not a string")
    if not isinstance(args, Sequence) or not all(isinstance(arg, str) for arg in args):
        raise TypeError("args must be a list of strings")
    return list(args)


def _timeout(timeout: Any) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError("timeout must be a float")
    if not math.isfinite(timeout) or timeout < 0:
        raise ValueError("timeout must be a non-negative finite number of seconds")
    return float(timeout)


def _stdin(stdin: Any, data: Any) -> tuple[StdinMode, bytes]:
    if data is not None:
        if stdin is not None:
            raise TypeError("stdin and stdin_data exclude each other")
        return StdinMode.BYTES, bytes(data)
    if stdin is None:
        return StdinMode.NULL, b""
    if isinstance(stdin, (bytes, bytearray)):
        return StdinMode.BYTES, bytes(stdin)
    if not isinstance(stdin, Stdin):
        raise TypeError("stdin must be Stdin, bytes, or None")
    return StdinMode(stdin._mode), stdin._data or b""


def _rlimits(rlimits: Any) -> list[NativeRlimit]:
    if rlimits is None:
        return []
    if isinstance(rlimits, (str, bytes)) or not isinstance(rlimits, Sequence):
        raise TypeError("rlimits must be a sequence")
    limits = []
    for limit in rlimits:
        if not isinstance(limit, Rlimit):
            raise TypeError("rlimit must be Rlimit")
        values = limit._to_dict()
        limits.append(NativeRlimit(values["resource"], values["soft"], values["hard"]))
    return limits


class ExecOutput:
    """The end of a command with all its output.

    As in `microsandbox`, the exit code of a command that a signal has ended is -1, and output that is not UTF-8 has no
    text.
    """

    def __init__(self, native_output: NativeOutput) -> None:
        self._native = native_output

    @property
    def exit_code(self) -> int:
        """The exit code, or -1."""
        return _code(self._native.exit_code, self._native.signal)

    @property
    def signal(self) -> int | None:
        """The signal that has ended the command, which only `msb` tells."""
        return self._native.signal

    @property
    def success(self) -> bool:
        """Whether the exit code is 0."""
        return self.exit_code == 0

    @property
    def stdout_text(self) -> str:
        """The standard output; raises UnicodeDecodeError."""
        return self._native.stdout.decode()

    @property
    def stderr_text(self) -> str:
        """The standard error; raises UnicodeDecodeError."""
        return self._native.stderr.decode()

    @property
    def stdout_bytes(self) -> bytes:
        """The standard output."""
        return self._native.stdout

    @property
    def stderr_bytes(self) -> bytes:
        """The standard error."""
        return self._native.stderr

    def __repr__(self) -> str:
        return f"ExecOutput(exit_code={self.exit_code})"


@dataclass(frozen=True)
class ExecEvent:
    """An event of a command: `pid` with `started`, `data` with output, `code` with `exited`."""

    event_type: ExecEventType
    pid: int | None = None
    data: bytes | None = None
    code: int | None = None


# The kinds of events in releases before 0.6, which told them apart by class.


class StartedEvent(ExecEvent):
    """The event `started`."""


class StdoutEvent(ExecEvent):
    """The event `stdout`."""


class StderrEvent(ExecEvent):
    """The event `stderr`."""


class ExitedEvent(ExecEvent):
    """The event `exited`."""


_CLASSES = {
    ExecEventType.STARTED: StartedEvent,
    ExecEventType.STDOUT: StdoutEvent,
    ExecEventType.STDERR: StderrEvent,
    ExecEventType.EXITED: ExitedEvent,
}


class ExecSink:
    """The standard input of a command."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        self._stdin = process.stdin

    @translated
    async def write(self, data: bytes) -> None:
        """Writes bytes; raises BrokenPipeError if the command reads no more."""
        await self._stdin.write(data)

    @translated
    async def close(self) -> None:
        """Ends the standard input."""
        await self._stdin.close()


class ExecHandle:
    """A command that runs."""

    def __init__(self, process: Process, options: Options) -> None:
        self._process = process
        self._timeout = options.timeout
        self._has_timed_out = False
        self._sink = ExecSink(process) if options.mode is StdinMode.PIPE else None
        self._lock = asyncio.Lock()
        self._feeder: asyncio.Future[None] | None = None
        if options.mode is StdinMode.BYTES and process.stdin is not None:
            self._feeder = asyncio.ensure_future(_feed(process, options.data))
        self._timer: asyncio.TimerHandle | None = None
        if options.timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(options.timeout, self._expire)

    @property
    def id(self) -> str:
        """The number of the command in its connection."""
        return str(self._process.id)

    def _expire(self) -> None:
        if self._process.status is None:
            self._has_timed_out = True
            self._process._send_signal(signals.SIGKILL)

    def take_stdin(self) -> ExecSink | None:
        """Returns the standard input at the first call, if it was opened with `Stdin.pipe`."""
        sink, self._sink = self._sink, None
        return sink

    async def recv(self) -> ExecEvent | None:
        """Returns the next event, or None after the end."""
        async with self._lock:
            try:
                return _event(await self._process.__anext__())
            except StopAsyncIteration:
                self._finish()
                return None
            except native.MsbError as error:
                self._finish()
                raise translate(error) from error

    def _finish(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._feeder:
            self._feeder.cancel()

    async def wait(self) -> tuple[int, bool]:
        """Waits for the end, and returns the exit code and whether it is 0; output is discarded."""
        while await self.recv():
            pass
        status = self._process.status
        assert status is not None
        self._check_timeout()
        code = _code(status.exit_code, status.signal)
        return code, code == 0

    async def collect(self) -> ExecOutput:
        """Waits for the end, and returns the remaining output; raises `ExecTimeoutError`."""
        parts: dict[ExecEventType, list[bytes]] = {ExecEventType.STDOUT: [], ExecEventType.STDERR: []}
        while event := await self.recv():
            if event.event_type in parts:
                parts[event.event_type].append(event.data or b"")
        status = self._process.status
        assert status is not None
        stdout, stderr = (b"".join(part) for part in parts.values())
        self._check_timeout(stdout, stderr)
        return ExecOutput(NativeOutput(status.exit_code, status.signal, stdout, stderr))

    def _check_timeout(self, stdout: bytes = b"", stderr: bytes = b"") -> None:
        if self._has_timed_out:
            timeout = self._timeout or 0.0
            raise translate(native.ExecTimeout("timed out", timeout=timeout, stdout=stdout, stderr=stderr))

    @translated
    async def signal(self, sig: int) -> None:
        """Sends a signal to the process group of the command."""
        await self._process.signal(sig)

    @translated
    async def kill(self) -> None:
        """Sends SIGKILL."""
        await self._process.kill()

    @translated
    async def resize(self, rows: int, cols: int) -> None:
        """Sets the size of the terminal."""
        await self._process.resize(rows, cols)

    def __aiter__(self) -> ExecHandle:
        return self

    async def __anext__(self) -> ExecEvent:
        event = await self.recv()
        if event is None:
            raise StopAsyncIteration
        return event


def _event(event: NativeEvent) -> ExecEvent:
    kind = _EVENTS[event.kind]
    is_output = kind in (ExecEventType.STDOUT, ExecEventType.STDERR)
    data = event.data if is_output else event.message.encode() if event.message is not None else None
    code = None if event.exit_code is None else _code(event.exit_code, event.signal)
    return _CLASSES.get(kind, ExecEvent)(kind, event.pid, data, code)


def _code(exit_code: int, signal: int | None) -> int:
    return exit_code if signal is None else -1


async def _feed(process: Process, data: bytes) -> None:
    """Writes all input; a command that does not read it is no error."""
    assert process.stdin is not None
    try:
        await process.stdin.write(data)
        await process.stdin.close()
    except (BrokenPipeError, native.MsbError):
        pass


async def start(sandbox: NativeSandbox, cmd: str, options: Options) -> ExecHandle:
    """Starts a command."""
    pipe = PIPE if options.mode is not StdinMode.NULL else None
    process = await sandbox.exec_stream(cmd, options.args, stdin=pipe, **options.native())
    return ExecHandle(process, options)


async def run(sandbox: NativeSandbox, cmd: str, options: Options) -> ExecOutput:
    """Runs a command to its end."""
    if options.tty and options.mode is not StdinMode.NULL:
        return await (await start(sandbox, cmd, options)).collect()
    # Without a reader a piped input would never end.
    stdin = options.data if options.mode is StdinMode.BYTES else None
    output = await sandbox.exec(cmd, options.args, stdin=stdin, timeout=options.timeout, **options.native())
    return ExecOutput(output)
