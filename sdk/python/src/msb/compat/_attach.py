"""Connects the terminal of this program with a command in a sandbox."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from ..process import Process
from ..sandbox import Sandbox as NativeSandbox
from . import _errors as errors

__all__ = ["attach", "parse_detach_keys"]

_READ_BYTES = 65536
DEFAULT_DETACH_KEYS = "ctrl-]"


def parse_detach_keys(keys: str | None) -> bytes:
    """Parses a list of keys with commas: characters, or `ctrl-` with a letter or one of `@[\\]^_`."""
    sequence = bytearray()
    for key in (keys or DEFAULT_DETACH_KEYS).split(","):
        name = key.strip()
        if name.lower().startswith("ctrl-") and len(name) == 6 and "@" <= name[5].upper() <= "_":
            sequence.append(ord(name[5].upper()) - 64)
        elif len(name) == 1 and name.isascii():
            sequence += name.encode()
        else:
            raise ValueError(f"invalid detach keys: {keys!r}")
    return bytes(sequence)


async def attach(
    sandbox: NativeSandbox, cmd: str, args: Sequence[str], options: Mapping[str, Any], detach_keys: str | None
) -> int:
    """Runs a command with a terminal, and returns its exit code, or 0 if the detach keys were pressed.

    Raises `MicrosandboxError` if the standard input or output of this program is not a terminal.
    """
    keys = parse_detach_keys(detach_keys)
    source, target = sys.stdin.fileno(), sys.stdout.fileno()
    if not os.isatty(source) or not os.isatty(target):
        raise errors.MicrosandboxError("terminal error: the standard input and output must be a terminal")
    sys.stdout.flush()
    size = shutil.get_terminal_size()
    process = await sandbox.exec_stream(cmd, args, tty=True, rows=size.lines, cols=size.columns, **options)
    with ExitStack() as undo:
        _make_raw(source, undo)
        return await _Bridge(process, source, target, keys).run(undo)


def _make_raw(source: int, undo: ExitStack) -> None:
    before = termios.tcgetattr(source)
    undo.callback(termios.tcsetattr, source, termios.TCSADRAIN, before)
    tty.setraw(source)


class _Bridge:
    """Carries bytes and sizes between a terminal and a process."""

    def __init__(self, process: Process, source: int, target: int, keys: bytes) -> None:
        self._process = process
        self._source = source
        self._target = target
        self._keys = keys
        #: The detach keys that have been pressed so far.
        self._pressed = b""
        self._input: asyncio.Queue[bytes] = asyncio.Queue()
        self._detached = asyncio.Event()

    async def run(self, undo: ExitStack) -> int:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._source, self._read)
        undo.callback(loop.remove_reader, self._source)
        resized = asyncio.Event()
        loop.add_signal_handler(signal.SIGWINCH, resized.set)
        undo.callback(loop.remove_signal_handler, signal.SIGWINCH)
        jobs = [asyncio.ensure_future(job) for job in (self._write(), self._resize(resized))]
        output, detached = asyncio.ensure_future(self._print()), asyncio.ensure_future(self._detached.wait())
        try:
            await asyncio.wait([output, detached], return_when=asyncio.FIRST_COMPLETED)
            if not output.done():
                self._process.detach()
                return 0
            await output
            status = await self._process.wait()
            return status.exit_code if status.signal is None else -1
        except BaseException:
            self._process._end_soon()
            raise
        finally:
            for job in (*jobs, output, detached):
                job.cancel()
            await asyncio.gather(*jobs, output, detached, return_exceptions=True)

    def _read(self) -> None:
        try:
            data = os.read(self._source, _READ_BYTES)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._source)
            self._input.put_nowait(b"")
            return
        passed = bytearray()
        for byte in data:
            self._pressed += bytes([byte])
            if self._pressed == self._keys:
                self._detached.set()
                return
            if not self._keys.startswith(self._pressed):
                passed += self._pressed
                self._pressed = b""
        if passed:
            self._input.put_nowait(bytes(passed))

    async def _write(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        while data := await self._input.get():
            try:
                await stdin.write(data)
            except BrokenPipeError:
                return
        await stdin.close()

    async def _resize(self, resized: asyncio.Event) -> None:
        while await resized.wait():
            resized.clear()
            size = os.get_terminal_size(self._target)
            await self._process.resize(max(size.lines, 1), max(size.columns, 1))

    async def _print(self) -> None:
        async for event in self._process:
            if event.kind in ("stdout", "stderr"):
                _write_all(self._target, event.data)


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
