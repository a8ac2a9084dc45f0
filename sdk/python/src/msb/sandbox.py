"""One sandbox: its lifecycle, commands, files, logs and metrics."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ._cli import JsonLines
from ._guest import Guest
from ._opening import Opening
from ._relay import CONNECT_TIMEOUT, Connection
from ._request import check_timeout
from .agent import AgentClient
from .errors import MsbError, SandboxNotRunning, SandboxPaused, TimedOut, Unresponsive
from .logs import LogEntry, LogStream, log_arguments, open_log
from .metrics import MetricsStream, SandboxMetrics, metrics_of
from .options import Port, duration
from .process import ExitStatus
from .transfers import TRANSFERS_MAX, Transfer

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Sandbox"]

#: The states in which a sandbox has ended.
ENDED = ("stopped", "exited", "failed", "crashed", "created")
#: The time between two looks at the state of a sandbox, in seconds.
POLL_INTERVAL = 0.1


class Sandbox(Guest):
    """A sandbox, as `Client.create` and `Client.get` return it.

    `async with` stops it at the end of the block if this object owns it, which one made by `create` does, and removes
    it if it is ephemeral.

    Attributes:
        client: the client that it belongs to.
        name: its full name.
        status: its state when it was last looked at: `running`, `paused`, `stopped`, `exited`, …
        labels: its labels.
        ports: the ports of the host that lead into it, with the real ports while it runs.
        owned: whether `async with` stops it.
        ephemeral: whether `async with` also removes it.
        details: all that `msb inspect --json` tells.
    """

    def __init__(self, client: Client, details: dict[str, Any], listed: dict[str, Any] | None = None) -> None:
        self.client = client
        self.owned = False
        self.ephemeral = False
        self._secrets: dict[str, str] = {}
        self._link: Connection | None = None
        self._opening: asyncio.Future[Connection] | None = None
        self._transfers: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._places: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None
        self._update(details, listed)

    def _update(self, details: dict[str, Any], listed: dict[str, Any] | None) -> None:
        self.details = details
        self.name: str = details["full_name"]
        self.status: str = (listed or details)["state"]
        self.agent_socket: str = details["agent_socket"]
        definition = (details.get("spec") or {}).get("definition") or {}
        self.labels: dict[str, str] = dict(definition.get("labels") or {})
        declared = [
            Port(port["host"], port["guest"], port["bind"], port["protocol"]) for port in definition.get("ports") or ()
        ]
        self.ports: list[Port] = _real_ports(declared, (listed or {}).get("ports") or [])

    def __repr__(self) -> str:
        return f"<Sandbox {self.name!r} {self.status}>"

    # The connection to its relay, which commands and files share.

    async def _connection(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._link and self._link.loop is loop and not self._link.error:
            return self._link
        if self._opening is None or self._opening.get_loop() is not loop:
            self._opening = asyncio.ensure_future(self._open())
            self._opening.add_done_callback(self._opened)
        # One caller that is cancelled must not take the connection from the others.
        return await asyncio.shield(self._opening)

    async def _open(self) -> Connection:
        self._link = await Connection.open(self.agent_socket, CONNECT_TIMEOUT)
        self.client._links.add(self._link)
        return self._link

    def _opened(self, opening: asyncio.Future[Connection]) -> None:
        if self._opening is opening:
            self._opening = None
        if not opening.cancelled():
            opening.exception()

    async def _transfer(self) -> Transfer:
        loop = asyncio.get_running_loop()
        if self._places is None or self._places[0] is not loop:
            self._places = (loop, asyncio.Semaphore(TRANSFERS_MAX))
        place = self._places[1]
        await place.acquire()
        try:
            link = await Connection.open(self.agent_socket, CONNECT_TIMEOUT)
        except BaseException:
            place.release()
            raise
        self._transfers.add(link)
        self.client._links.add(link)
        return Transfer(link, own=True, place=place)

    async def _explain(self, error: Unresponsive) -> MsbError:
        await self.refresh()
        if self.status == "paused":
            return SandboxPaused(f"{self.name} is paused", name=self.name, hint="resume it first")
        return error

    async def connect(self, timeout: float | None = CONNECT_TIMEOUT) -> Sandbox:
        """Connects to the guest now rather than at the first command; waits while it boots, for at most `timeout`
        seconds. Raises `SandboxNotRunning` or `TimedOut`.
        """
        try:
            await asyncio.wait_for(self._connection(), check_timeout(timeout))
        except TimedOut:  # That of the handshake, which is a TimeoutError too.
            raise
        except asyncio.TimeoutError:
            raise TimedOut(f"{self.name} did not answer within {timeout:g} s", name=self.name) from None
        return self

    async def connect_with_timeout(self, timeout: float) -> Sandbox:
        """The same as `connect(timeout)`."""
        return await self.connect(timeout)

    async def agent(self, *, timeout: float | None = CONNECT_TIMEOUT) -> AgentClient:
        """Opens a raw connection of its own."""
        return await AgentClient.connect(self.agent_socket, timeout=timeout)

    async def close(self) -> None:
        """Closes the connections, which ends the commands and transfers that this object has started. The sandbox runs
        on.
        """
        loop, link, self._link = asyncio.get_running_loop(), self._link, None
        links = [*self._transfers, *([link] if link else [])]
        await asyncio.gather(*(link.close() for link in links if link.loop is loop))

    async def __aenter__(self) -> Sandbox:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        await self.close()
        if self.ephemeral:
            await self.remove(force=True)
        elif self.owned:
            await self.refresh()
            if self.status not in ENDED:
                await self.stop()

    # The lifecycle.

    async def refresh(self) -> Sandbox:
        """Looks at the sandbox again; raises `SandboxNotFound` if it is gone."""
        details, listed = await self.client._look(self.name)
        self._update(details, listed)
        return self

    async def _change(self, *arguments: str) -> None:
        document = await self.client._cli.change([*arguments, "--", self.name], name=self.name, env=self._secrets)
        self.client._check_results(document)
        await self.refresh()

    async def start(self) -> Sandbox:
        """Starts it, and waits until it is up; one that runs is no error."""
        await self._change("start")
        return self

    async def stop(self, timeout: float | None = None) -> Sandbox:
        """Shuts it down, and kills it after `timeout` seconds (10 by default). Its disk is kept."""
        limit = duration(timeout, "timeout")
        await self._change("stop", *([f"--timeout={limit}"] if limit else []))
        return self

    async def stop_with_timeout(self, timeout: float) -> Sandbox:
        """The same as `stop(timeout)`."""
        return await self.stop(timeout)

    async def restart(self, timeout: float | None = None) -> Sandbox:
        """Stops it as `stop` does, and starts it again."""
        limit = duration(timeout, "timeout")
        await self._change("restart", *([f"--timeout={limit}"] if limit else []))
        return self

    async def kill(self) -> Sandbox:
        """Ends it at once, without a shutdown."""
        await self._change("kill")
        return self

    async def pause(self) -> Sandbox:
        """Pauses it: nothing runs in it until `resume`."""
        await self._change("pause")
        return self

    async def resume(self) -> Sandbox:
        """Resumes it, and corrects its clock."""
        await self._change("resume")
        return self

    async def remove(self, *, force: bool = False, timeout: float | None = None) -> None:
        """Removes it with its disk. Raises `SandboxRunning` while it runs, unless `force` stops it first, within
        `timeout` seconds.
        """
        await self.close()
        await self.client.remove(self.name, force=force, timeout=timeout)
        self.status = "removed"

    async def wait(self, timeout: float | None = None) -> ExitStatus:
        """Waits for the end of the sandbox, and returns the exit code of its main process.

        Raises `SandboxNotRunning` if it is stopped before that, and `TimedOut` after `timeout` seconds.
        """
        limit = check_timeout(timeout)
        try:
            await asyncio.wait_for(self.client._cli.output(["wait", "--", self.name]), limit)
        except asyncio.TimeoutError:
            raise TimedOut(f"{self.name} did not end within {timeout:g} s", name=self.name) from None
        await self.refresh()
        if self.status not in ENDED:
            raise MsbError(f"{self.name} is {self.status} after the wait for its end", name=self.name)
        ended = self.details.get("last_exit")
        if isinstance(ended, dict) and ended.get("kind") == "code":
            return ExitStatus(ended["code"])
        if isinstance(ended, dict) and ended.get("kind") == "signal":
            number = int(ended.get("signal", 0))
            return ExitStatus(128 + number, number)
        raise SandboxNotRunning(f"{self.name} was stopped before its main process ended", name=self.name)

    async def wait_for_status(self, status: str | Iterable[str], timeout: float | None = None) -> str:
        """Waits until the sandbox has this status, or one of these; returns it. Raises `TimedOut`."""
        wanted = {status} if isinstance(status, str) else set(status)
        try:
            return await asyncio.wait_for(self._until(wanted), check_timeout(timeout))
        except TimedOut:
            raise
        except asyncio.TimeoutError:
            raise TimedOut(
                f"{self.name} was {self.status} after {timeout:g} s, not {' or '.join(sorted(wanted))}", name=self.name
            ) from None

    async def _until(self, wanted: set[str]) -> str:
        while (await self.refresh()).status not in wanted:
            await asyncio.sleep(POLL_INTERVAL)
        return self.status

    # Logs and metrics.

    async def logs(
        self,
        *,
        tail: int | None = None,
        since: datetime | float | str | None = None,
        until: datetime | float | str | None = None,
        cursor: str | None = None,
        sources: Iterable[str] | None = None,
    ) -> list[LogEntry]:
        """Returns the entries of its log, of a stopped sandbox too.

        Args:
            tail: only the last so many entries.
            since, until: a datetime, or an age in seconds.
            cursor: continues after the entry with this cursor.
            sources: `stdout`, `stderr`, `output` (the default), `system`, `runtime`, `kernel`, `network`, `flows`,
                `events`, or `all`.

        Raises:
            MissedRotation: entries after the cursor were removed by rotation.
            InvalidCursor: the text is not a cursor, or one of another log.
        """
        arguments = log_arguments(self.name, tail=tail, since=since, until=until, cursor=cursor, sources=sources)
        async with await open_log(self.client._cli, self.name, arguments) as stream:
            return await stream.collect()

    def log_stream(
        self,
        *,
        follow: bool = False,
        since: datetime | float | str | None = None,
        until: datetime | float | str | None = None,
        cursor: str | None = None,
        sources: Iterable[str] | None = None,
        tail: int | None = None,
    ) -> Opening[LogStream]:
        """Iterates over the entries of its log: `async for entry in sandbox.log_stream(follow=True)`.

        With `follow`, waits for new entries until the sandbox ends. The other arguments are those of `logs`.
        """
        arguments = log_arguments(
            self.name, tail=tail, since=since, until=until, cursor=cursor, sources=sources, follow=follow
        )
        return Opening(lambda: open_log(self.client._cli, self.name, arguments))

    async def metrics(self) -> SandboxMetrics:
        """Returns its metrics; raises `SandboxNotRunning`."""
        return metrics_of(await self.client._cli.json(["metrics", self.name], name=self.name), self.name)

    def metrics_stream(self, interval: float = 1.0) -> Opening[MetricsStream]:
        """Iterates over its metrics, every `interval` seconds, until it ends."""
        if check_timeout(interval, "interval") in (None, 0.0):
            raise ValueError("interval must be a number of seconds above 0")
        arguments = ["metrics", "--json", "--watch", f"--interval={duration(interval, 'interval')}", self.name]

        async def start() -> MetricsStream:
            return MetricsStream(await JsonLines.start(self.client._cli, arguments, name=self.name), self.name)

        return Opening(start)

    async def snapshot(self, name: str | None = None, *, replace: bool = False) -> Any:
        """Creates a snapshot of its disk, by its own name unless another is given."""
        return await self.client.snapshots.create(self.name, name, replace=replace)

    async def _copy(self, host: Any, guest: str, *, into: bool) -> None:
        if not guest.startswith("/"):
            raise ValueError(f"{guest!r} is not an absolute path in the sandbox")
        path, inside = os.path.abspath(os.fspath(host)), f"{self.name}:{guest}"
        await self.client._cli.change(["cp", "--", *((path, inside) if into else (inside, path))], name=self.name)


def _real_ports(declared: list[Port], listed: list[Any]) -> list[Port]:
    """Returns the ports with those of the host that are in use; `ps` has them in the same order."""
    try:
        real = [Port.parse(text) for text in listed]
    except (ValueError, TypeError):
        return declared
    if [port.guest for port in real] == [port.guest for port in declared]:
        return [Port(now.host, port.guest, port.bind, port.protocol) for now, port in zip(real, declared)]
    return declared
