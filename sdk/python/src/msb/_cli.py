"""Runs `msb` as a child process, which ends when the call is cancelled, and turns its failures into errors."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from .errors import MsbError, MsbNotFound, SuffixTooBroad, from_report

__all__ = ["Cli", "JsonLines", "Output"]

#: The longest line of JSON, in bytes: a log line of 1 MiB, escaped.
_LINE_BYTES_MAX = 16 * 1024 * 1024
#: The time for `msb` to end after SIGTERM, in seconds.
_END_TIMEOUT = 3.0
#: The text that is kept of the standard error of a stream, in bytes.
_STDERR_BYTES_MAX = 256 * 1024
#: Names of variables that would change what a command means.
_DROPPED = ("MSB_PROJECT",)

_CODES_BY_EXIT = {3: "mismatch", 4: "timed-out", 5: "locked", 64: "usage", 130: "interrupted", 143: "terminated"}
#: For an `msb` without typed failures: what its texts say.
_CODES_BY_TEXT = (
    (re.compile(r"there is no sandbox "), "sandbox-not-found"),
    (re.compile(r"there is no volume "), "volume-not-found"),
    (re.compile(r"there is no snapshot "), "snapshot-not-found"),
    (re.compile(r"there is no image "), "image-not-found"),
    (re.compile(r"there is no job "), "job-not-found"),
    (re.compile(r"^a sandbox \S+ already exists"), "sandbox-exists"),
    (re.compile(r"volume \S+ already exists"), "volume-exists"),
    (re.compile(r"snapshot \S+ already exists"), "snapshot-exists"),
    (re.compile(r"(is|does) not run"), "sandbox-not-running"),
    (re.compile(r"^missed a rotation|: missed a rotation"), "missed-rotation"),
    (re.compile(r"is not a cursor|does not belong to this"), "invalid-cursor"),
)


class Output:
    """What a run of `msb` printed."""

    def __init__(self, exit_code: int, stdout: bytes, stderr: bytes) -> None:
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr

    def json(self) -> Any:
        """Returns the document on standard output; None if there is none."""
        if not self.stdout.strip():
            return None
        try:
            return json.loads(self.stdout)
        except ValueError as error:
            raise MsbError(f"msb printed something that is not JSON: {error}") from error


class Cli:
    """An `msb` with its state folder."""

    def __init__(self, *, home: Any = None, msb: Any = None, driver: str | None = None) -> None:
        self.home = None if home is None else os.path.abspath(os.fspath(home))
        self.driver = driver
        self._msb = None if msb is None else os.fspath(msb)
        #: The commands of this `msb` that have no `--json`, because it is older than the typed results.
        self._without_results: set[str] = set()

    @property
    def program(self) -> str:
        """The path of `msb`: the argument, `MSB`, or on `PATH`. Raises `MsbNotFound`."""
        named = self._msb or os.environ.get("MSB") or "msb"
        found = shutil.which(named)
        if found is None:
            raise MsbNotFound(
                f"there is no program {named!r}", hint="install msb, set MSB to its path, or pass Client(msb=…)"
            )
        return os.path.abspath(found)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Returns the environment of a child."""
        env = {name: value for name, value in os.environ.items() if name not in _DROPPED}
        if self.home is not None:
            env["MSB_HOME"] = self.home
        if self.driver is not None:
            env["MSB_DRIVER"] = self.driver
        env.update(extra or {})
        return env

    async def spawn(
        self, args: Sequence[str], *, cwd: Any, env: Mapping[str, str] | None
    ) -> asyncio.subprocess.Process:
        """Starts `msb` without standard input."""
        for arg in args:
            if "\0" in arg:
                raise ValueError("an argument of msb must not contain NUL")
        return await asyncio.create_subprocess_exec(
            self.program,
            *args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env=self.environment(env),
            limit=_LINE_BYTES_MAX,
            start_new_session=True,
        )

    async def output(self, args: Sequence[str], *, cwd: Any = "/", env: Mapping[str, str] | None = None) -> Output:
        """Runs `msb` to its end, whatever its exit code."""
        child = await self.spawn(args, cwd=cwd, env=env)
        try:
            stdout, stderr = await child.communicate()
        except BaseException:
            await end(child)
            raise
        assert child.returncode is not None
        return Output(child.returncode, stdout, stderr)

    async def run(
        self, args: Sequence[str], *, name: str | None = None, cwd: Any = "/", env: Mapping[str, str] | None = None
    ) -> Output:
        """Runs `msb`; raises its typed failure."""
        output = await self.output(args, cwd=cwd, env=env)
        if output.exit_code != 0:
            raise failure(output.exit_code, output.stderr, name)
        return output

    async def json(self, args: Sequence[str], *, name: str | None = None, cwd: Any = "/") -> Any:
        """Runs a command that prints a JSON document, and returns it."""
        return (await self.run([*args, "--json"], name=name, cwd=cwd)).json()

    async def change(
        self, args: Sequence[str], *, name: str | None = None, cwd: Any = "/", env: Mapping[str, str] | None = None
    ) -> Any:
        """Runs a command that changes something, with `--json` if this `msb` knows it, and returns its document.

        `args` must not contain `--` before its end; `--json` is inserted before it.
        """
        command = " ".join(args[: 2 if args[0] in ("volume", "image", "snapshot") else 1])
        if command not in self._without_results:
            cut = args.index("--") if "--" in args else len(args)
            output = await self.output([*args[:cut], "--json", *args[cut:]], cwd=cwd, env=env)
            if output.exit_code == 0:
                return output.json()
            if output.exit_code != 64 or b"unexpected argument '--json'" not in output.stderr:
                raise failure(output.exit_code, output.stderr, name)
            # An older `msb` has refused its command line, and done nothing.
            self._without_results.add(command)
        await self.run(args, name=name, cwd=cwd, env=env)
        return None


class JsonLines:
    """The JSON lines of a running `msb`, which is ended by `close`."""

    def __init__(self, child: asyncio.subprocess.Process, name: str | None) -> None:
        self._child = child
        self._name = name
        self._stderr = bytearray()
        self._reader = asyncio.ensure_future(self._read_stderr())
        self._closed = False
        self.exit_code: int | None = None

    @classmethod
    async def start(cls, cli: Cli, args: Sequence[str], *, name: str | None = None, cwd: Any = "/") -> JsonLines:
        return cls(await cli.spawn(args, cwd=cwd, env=None), name)

    async def _read_stderr(self) -> None:
        assert self._child.stderr
        while part := await self._child.stderr.read(65536):
            self._stderr += part
            del self._stderr[:-_STDERR_BYTES_MAX]

    async def next(self, *, check: bool = True) -> Any:
        """Returns the next document, or None at the end; raises the failure of `msb` unless `check` is false."""
        if self._closed:
            return None
        assert self._child.stdout
        try:
            while line := await self._child.stdout.readline():
                if line.strip():
                    return json.loads(line)
        except ValueError as error:
            await self.close()
            raise MsbError(f"msb printed a line that is not JSON: {error}") from error
        code = self.exit_code = await self._child.wait()
        await self._reader
        self._closed = True
        if code != 0 and check:
            raise self.failure()
        return None

    def failure(self) -> MsbError:
        """Returns the failure of `msb`, after its end."""
        return failure(self.exit_code or 1, bytes(self._stderr), self._name)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (document := await self.next()) is not None:
            yield document

    async def close(self) -> None:
        """Ends `msb`."""
        if not self._closed:
            self._closed = True
            self._reader.cancel()
            await end(self._child)

    def abandon(self) -> None:
        """Ends `msb` without a wait, for an object that is dropped before its end."""
        if self._closed:
            return
        self._closed = True
        try:
            self._child.terminate()
        except ProcessLookupError:
            pass
        try:
            self._reader.cancel()
            transport = getattr(self._child, "_transport", None)
            if transport:
                transport.close()
        except RuntimeError:
            pass  # The loop is closed.


async def end(child: asyncio.subprocess.Process) -> None:
    """Ends a child: SIGTERM, and SIGKILL if it does not react or the call is cancelled meanwhile."""
    try:
        if child.returncode is None:
            child.terminate()
            await asyncio.wait_for(child.wait(), _END_TIMEOUT)
    except ProcessLookupError:
        pass
    except BaseException as error:
        try:
            child.kill()
        except ProcessLookupError:
            pass
        # It ends in a moment, and the loop may be closed after that.
        await child.wait()
        if not isinstance(error, asyncio.TimeoutError):
            raise
    finally:
        # A pipe that was not read to its end is not closed otherwise.
        transport = getattr(child, "_transport", None)
        if transport:
            transport.close()


def failure(exit_code: int, stderr: bytes, name: str | None) -> MsbError:
    """Returns the error of a failed `msb`: from the JSON on its last line, or else from its text."""
    text = stderr.decode(errors="replace").strip()
    lines = text.splitlines()
    report = None
    findings: list[Any] = []
    if lines and lines[-1].startswith("{"):
        try:
            document = json.loads(lines[-1])
            report = document.get("error") if isinstance(document, dict) else None
            findings = document.get("findings") or [] if isinstance(document, dict) else []
        except ValueError:
            pass
        if isinstance(report, dict):
            lines.pop()
    if "suffix_too_broad" in text or (report or {}).get("code") == "suffix-too-broad":
        raw = re.search(r"`(\*?\.?[^`\s]+)` matches", text)
        message, hint = _finding(findings) or (_message(lines), None)
        return SuffixTooBroad(message, raw=raw[1] if raw else None, hint=hint, exit_code=exit_code, name=name)
    if not isinstance(report, dict):
        report = _report(lines, exit_code)
    message = str(report.get("message"))
    if report.get("code") in (None, "failed", "usage"):
        texts = (message, *map(str, report.get("causes") or ()))
        report["code"] = next(
            (code for pattern, code in _CODES_BY_TEXT for text in texts if pattern.search(text)),
            report.get("code") or _CODES_BY_EXIT.get(exit_code, "failed"),
        )
    if report.get("name") is None:
        report["name"] = name
    found = _finding(findings)
    if found:
        report["message"], report["hint"] = found[0], report.get("hint") or found[1]
    return from_report(report, exit_code=exit_code)


def _finding(findings: Any) -> tuple[str, str | None] | None:
    """Returns message and help of the first finding about a Sandboxfile or a command line."""
    first = findings[0] if isinstance(findings, list) and findings else None
    if not isinstance(first, dict) or not isinstance(first.get("message"), str):
        return None
    return first["message"], first["help"] if isinstance(first.get("help"), str) else None


def _report(lines: list[str], exit_code: int) -> dict[str, Any]:
    hints = [line[6:] for line in lines if line.startswith("hint: ")]
    return {
        "message": _message(lines) or f"msb ended with exit code {exit_code}",
        "hint": hints[-1] if hints else None,
        "code": None,
    }


def _message(lines: list[str]) -> str:
    """Returns the line of the error, or all lines without the hint."""
    for line in lines:
        if line.startswith("error: "):
            return line[7:]
    text = "\n".join(line for line in lines if not line.startswith("hint: "))
    marked = re.search(r"×\s*(.+)", text)
    return marked[1] if marked else text[:2000]
