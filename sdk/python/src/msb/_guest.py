"""Commands and files of a guest, over the connection that a subclass provides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._frames import Message
from ._opening import Opening
from ._payload import optional_integer
from ._relay import Connection, Mailbox
from ._request import PIPE, Rlimit, build_request, check_timeout
from .errors import ExecTimeout, MsbError, ProtocolError, Unresponsive
from .files import Files
from .process import ExecOutput, Process
from .transfers import Transfer

__all__ = ["Guest", "MAX_OUTPUT_BYTES"]

#: The most output that `exec` collects unless another limit is given, in bytes.
MAX_OUTPUT_BYTES = 256 * 1024 * 1024


class Guest:
    """What runs commands and has files."""

    #: The activities that this object has counted itself.
    _touches = 0

    async def _connection(self) -> Connection:
        raise NotImplementedError

    async def _transfer(self) -> Transfer:
        """Returns the connection for one transfer of a file."""
        return Transfer(await self._connection(), own=False)

    async def _explain(self, error: Unresponsive) -> MsbError:
        """Returns the reason for the silence of the guest, if there is a better one."""
        return error

    async def _started(self, process: Process) -> Process:
        try:
            return await process._start()
        except Unresponsive as error:
            raise await self._explain(error) from error

    @property
    def fs(self) -> Files:
        """The files of the guest."""
        return Files(self)

    async def exec(
        self,
        cmd: str,
        args: Sequence[str] | None = None,
        *,
        cwd: str | None = None,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        stdin: bytes | str | None = None,
        tty: bool = False,
        rlimits: Iterable[Rlimit] | Mapping[str, Any] | None = None,
        max_output: int = MAX_OUTPUT_BYTES,
        grace: float = 0.5,
    ) -> ExecOutput:
        """Runs a command to its end, and returns its exit code and output. A non-zero exit code is no error.

        Cancelling the call ends the command: SIGTERM, then SIGKILL after `grace` seconds.

        Args:
            cmd: a path if it contains a `/`, or else a name to search on PATH.
            args: the arguments after the name of the program.
            cwd: the working directory; that of the sandbox by default.
            user: `name|uid[:group|gid]`; that of the sandbox by default.
            env: variables in addition to those of the sandbox, over which they take precedence.
            timeout: the most seconds that the command runs; None is no limit.
            stdin: the standard input; empty by default.
            tty: gives it a terminal, whose output is all in `stdout`; it excludes `stdin`.
            rlimits: resource limits, as a list of `Rlimit` or a dict such as `{"nofile": 1024}`.
            max_output: the most output, in bytes.
            grace: the time between SIGTERM and SIGKILL at a timeout or a cancellation, in seconds.

        Raises:
            ExecTimeout: it was ended at its timeout; has the output until then.
            ExecFailed: it could not be started.
            ConnectionLost: the sandbox ended before the command did.
            SandboxNotRunning, SandboxPaused: the sandbox does not run.
            Unresponsive: the guest answers neither the request nor pings, for 20 seconds.
            MsbError: with the code `too-large`, if its output exceeds `max_output`; it was ended.
        """
        limit = check_timeout(timeout)
        if stdin is not None and not isinstance(stdin, (bytes, bytearray, memoryview, str)):
            raise TypeError(f"stdin must be bytes or str, not {type(stdin).__name__}; exec_stream takes msb.PIPE")
        if tty and stdin is not None:
            raise ValueError("stdin and tty exclude each other; exec_stream with tty=True has a standard input")
        request = build_request(cmd, args, cwd=cwd, user=user, env=env, tty=tty, rlimits=rlimits)
        pipe = stdin is not None and len(stdin) > 0
        check_timeout(grace, "grace")
        loop = asyncio.get_running_loop()
        deadline = None if limit is None else loop.time() + limit
        process = Process(await self._connection(), request, pipe=pipe, grace=grace)
        await self._started(process)
        stdout, stderr = bytearray(), bytearray()
        feeder = asyncio.ensure_future(_feed(process, stdin)) if pipe else None
        try:
            rest = None if deadline is None else max(0.0, deadline - loop.time())
            await asyncio.wait_for(process._collect_into(stdout, stderr, max_output), rest)
            status = await process._wait()
        except asyncio.TimeoutError:
            await process.end()
            raise ExecTimeout(
                f"the command was ended after its timeout of {limit:g} s",
                timeout=limit or 0.0,
                stdout=bytes(stdout),
                stderr=bytes(stderr),
            ) from None
        except BaseException:
            process._end_soon()
            raise
        finally:
            if feeder:
                feeder.cancel()
        return ExecOutput(status.exit_code, status.signal, bytes(stdout), bytes(stderr))

    async def shell(self, script: str, **options: Any) -> ExecOutput:
        """Runs a script with `/bin/sh -c`; takes the keyword arguments of `exec`."""
        return await self.exec("/bin/sh", ["-c", script], **options)

    def exec_stream(
        self,
        cmd: str,
        args: Sequence[str] | None = None,
        *,
        cwd: str | None = None,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Any = None,
        tty: bool = False,
        rows: int = 24,
        cols: int = 80,
        rlimits: Iterable[Rlimit] | Mapping[str, Any] | None = None,
        grace: float = 0.5,
    ) -> Opening[Process]:
        """Starts a command; await it for the `Process`, enter it with `async with`, or iterate over its events.

        The arguments are those of `exec`, and:

        Args:
            stdin: `msb.PIPE` keeps the standard input open for `process.stdin`; it is empty by default, but open with
                a terminal.
            rows, cols: the size of the terminal.

        Raises: as `exec`, when it is awaited; TypeError and ValueError at once.
        """
        if stdin is not None and stdin is not PIPE:
            raise TypeError("stdin must be None or msb.PIPE; write to process.stdin")
        request = build_request(cmd, args, cwd=cwd, user=user, env=env, tty=tty, rows=rows, cols=cols, rlimits=rlimits)
        check_timeout(grace, "grace")

        async def start() -> Process:
            process = Process(await self._connection(), request, pipe=stdin is PIPE or tty, grace=grace)
            return await self._started(process)

        return Opening(start)

    def shell_stream(self, script: str, **options: Any) -> Opening[Process]:
        """Starts a script with `/bin/sh -c`; takes the keyword arguments of `exec_stream`."""
        return self.exec_stream("/bin/sh", ["-c", script], **options)

    async def ping(self, timeout: float | None = 20.0) -> float:
        """Waits for an answer of the guest's agent, and returns the seconds that it took.

        Raises `SandboxNotRunning`, `SandboxPaused`, `ConnectionLost`, or `Unresponsive` after `timeout` seconds.
        """
        seconds, message = await self._probe("core.ping", timeout)
        if message.kind != "core.pong":
            raise ProtocolError(f"the guest answered a ping with {message.kind[:64]!r}")
        return seconds

    async def touch(self, timeout: float | None = 20.0) -> int:
        """Restarts the timer of `idle_timeout`, and returns the number of the activity, which grows with each.

        Raises the errors of `ping`.
        """
        _, message = await self._probe("core.touch", timeout)
        if message.kind == "core.touched":
            number = optional_integer(message.payload, "activity_seq")
            if number is not None:
                return number
        elif message.kind == "core.error":
            # An agent that does not know the message was used all the same.
            await self.ping(timeout)
        self._touches += 1
        return self._touches

    async def _probe(self, kind: str, timeout: float | None) -> tuple[float, Message]:
        """Sends a message, and returns the seconds until its answer, and the answer."""
        limit = check_timeout(timeout)
        connection = await self._connection()
        began = connection.loop.time()
        mailbox = Mailbox(connection)
        mailbox.id = connection.register(mailbox)
        try:
            mailbox.post(kind, {})
            _, message = await asyncio.wait_for(mailbox.next_message(), limit)
        except Unresponsive as error:
            raise await self._explain(error) from error
        except asyncio.TimeoutError:
            silence = Unresponsive(f"the guest did not answer {kind} within {timeout:g} s")
            raise await self._explain(silence) from None
        finally:
            mailbox.close()
        return connection.loop.time() - began, message


async def _feed(process: Process, data: Any) -> None:
    """Writes all input; a command that does not read it is no error."""
    assert process.stdin
    try:
        await process.stdin.write(data)
        await process.stdin.close()
    except (BrokenPipeError, MsbError):
        pass
