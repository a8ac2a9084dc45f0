"""The client: an `msb` and its state folder."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from ._cli import Cli
from ._opening import Opening
from ._relay import Connection
from .errors import SandboxExists, SandboxNotFound, from_report
from .metrics import SandboxMetrics
from .options import create_arguments, duration
from .project import Project
from .sandbox import Sandbox
from .storage import Images, Snapshots, Volumes

__all__ = ["Client", "SandboxPage", "default_client"]

#: A list, which is the name of a method below.
_Sandboxes = list[Sandbox]


class SandboxPage(list[Sandbox]):
    """A list of sandboxes; `next_cursor` continues after it, and is None at the end."""

    next_cursor: str | None = None


class Client:
    """Runs `msb` for the lifecycle of sandboxes, volumes, images, snapshots and projects.

    Args:
        home: the state folder; `MSB_HOME` or that of `msb` by default.
        msb: the program; `MSB` or `msb` on `PATH` by default.
        driver: `krun` or `qemu`; the best that works here by default.

    All calls raise `MsbNotFound` if there is no `msb`, and `MsbError` with the code of `msb` if it fails. A call that
    is cancelled ends its `msb`.
    """

    def __init__(
        self,
        *,
        home: str | os.PathLike[str] | None = None,
        msb: str | os.PathLike[str] | None = None,
        driver: str | None = None,
    ) -> None:
        self._cli = Cli(home=home, msb=msb, driver=driver)
        #: The connections of its sandboxes.
        self._links: weakref.WeakSet[Connection] = weakref.WeakSet()
        self.volumes = Volumes(self._cli)
        self.images = Images(self._cli)
        self.snapshots = Snapshots(self._cli)

    def create(
        self, name: str, *, image: str | os.PathLike[str], ephemeral: bool = False, **options: Any
    ) -> Opening[Sandbox]:
        """Creates a sandbox and boots it; await it, or use `async with`, which stops it at the end of the block.

        Args:
            name: its name, unique on this machine.
            image: a reference such as `alpine`, a path such as `./image`, or `snapshot:NAME`.
            ephemeral: whether `async with` removes it instead of only stopping it.
            cpus: virtual processors.
            memory, disk: the sizes of memory and of the writable disk: MiB as an int, or a text such as `2G`.
            env, labels: a dict of str to str.
            env_files: a list of files of the host with lines `NAME=value`; later ones, and `env`, take precedence.
            workdir, user, hostname, shell: of every process; those of the image by default.
            ulimits: limits of every process, in the unit of the resource: a dict such as `{"nofile": 1024}`, with a
                number for both limits, None for no limit, a pair `(soft, hard)`, or a text such as `1024:unlimited`;
                or a list of `Rlimit`.
            shm_size: the size of `/dev/shm`: MiB as an int, or a text such as `64M`; half of the memory by default.
            hosts: a dict of name to address, for its `/etc/hosts`.
            ports: a dict of host port to guest port, or a list of `Port`; host port 0 takes a free one.
            volumes, mounts: a dict of path in the sandbox to `Mount`, or to a path of the host.
            files: a dict of path in the sandbox to a file of the host that is written there at each start.
            scripts: a dict of name to text; they are on the PATH, with their interpreter line as written.
            secrets: a list of `Secret`.
            network: a `Network`, `"none"` or `"allow"`; the public internet by default.
            command: the main process as a list of str; that of the image by default, or none.
            restart: `no`, `on-failure`, `on-failure:N` or `always`.
            max_duration, idle_timeout: the seconds after its start, or without activity, after which it is stopped.
            stop_timeout: the seconds that it has to shut down before it is killed, where a call has no time of its own;
                10 by default.
            stop_signal: the signal that asks its main process to end, by name or number; that of the image by default,
                or `SIGTERM`.
            replace: removes an existing sandbox of this name, with its disk.
            replace_with_timeout: the same, with the seconds for it to shut down before it is killed.
            pull: when to query registries: `missing` (the default), `always` or `never`.
            lock_timeout: how many seconds to wait while another `msb` holds the lock.

        Raises:
            SandboxExists: the name is taken.
            ImageNotFound: there is no such image.
            SuffixTooBroad: a rule names a public suffix, such as `*.com`.
            UsageError: `msb` refused an option.
            TypeError, ValueError: at once, for wrong arguments.
        """
        arguments, variables = create_arguments(name, image, options)

        async def start() -> Sandbox:
            self._check_results(await self._cli.change(arguments, name=name, cwd=None, env=variables))
            sandbox = await self.get(name)
            sandbox.owned, sandbox.ephemeral, sandbox._secrets = True, ephemeral, variables
            return sandbox

        return Opening(start)

    async def get(self, name: str) -> Sandbox:
        """Returns a sandbox by its full name; raises `SandboxNotFound`."""
        return Sandbox(self, *await self._look(name))

    async def list(
        self, *, labels: Mapping[str, str] | None = None, limit: int | None = None, cursor: str | None = None
    ) -> SandboxPage:
        """Returns the sandboxes of all projects, sorted by name.

        Args:
            labels: only those that have all of these labels.
            limit: at most so many; the `next_cursor` of the page continues after them.
            cursor: only those after the page with this `next_cursor`.
        """
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise ValueError("limit must be a number of sandboxes above 0")
        listed = (await self._cli.json(["ps", "--all"]))["sandboxes"]
        found = await self._sandboxes([entry for entry in listed if cursor is None or entry["full_name"] > cursor])
        wanted = (labels or {}).items()
        fitting = [sandbox for sandbox in found if all(sandbox.labels.get(key) == value for key, value in wanted)]
        page = SandboxPage(fitting[:limit])
        page.next_cursor = page[-1].name if len(page) < len(fitting) else None
        return page

    async def connect(self, name: str, *, timeout: float | None = 10.0) -> Sandbox:
        """Returns a running sandbox that is connected; raises `SandboxNotFound`, `SandboxNotRunning` or `TimedOut`."""
        return await (await self.get(name)).connect(timeout)

    async def connect_with_timeout(self, name: str, timeout: float) -> Sandbox:
        """The same as `connect(name, timeout=timeout)`."""
        return await self.connect(name, timeout=timeout)

    async def connect_or_create(self, name: str, *, image: str | os.PathLike[str], **options: Any) -> Sandbox:
        """Returns the sandbox of this name, started if it does not run, or else creates it as `create` does."""
        creation = self.create(name, image=image, **options)
        try:
            sandbox = await self.get(name)
        except SandboxNotFound:
            try:
                return await creation
            except SandboxExists:
                sandbox = await self.get(name)
        if sandbox.status == "paused":
            await sandbox.resume()
        elif sandbox.status != "running":
            await sandbox.start()
        return sandbox

    async def start(self, name: str) -> Sandbox:
        """Starts a sandbox."""
        return await (await self.get(name)).start()

    async def stop(self, name: str, timeout: float | None = None) -> Sandbox:
        """Stops a sandbox as `Sandbox.stop` does."""
        return await (await self.get(name)).stop(timeout)

    async def stop_with_timeout(self, name: str, timeout: float) -> Sandbox:
        """The same as `stop(name, timeout)`."""
        return await self.stop(name, timeout)

    async def restart(self, name: str, timeout: float | None = None) -> Sandbox:
        """Restarts a sandbox."""
        return await (await self.get(name)).restart(timeout)

    async def kill(self, name: str) -> Sandbox:
        """Kills a sandbox."""
        return await (await self.get(name)).kill()

    async def remove(self, name: str, *, force: bool = False, timeout: float | None = None) -> None:
        """Removes a sandbox with its disk, as `Sandbox.remove` does."""
        limit = duration(timeout, "timeout")
        arguments = ["rm", *(["--force"] if force else []), *([f"--timeout={limit}"] if limit else []), "--", name]
        self._check_results(await self._cli.change(arguments, name=name))

    async def all_metrics(self) -> dict[str, SandboxMetrics]:
        """Returns the metrics of all running sandboxes, by name."""
        entries = (await self._cli.json(["metrics", "--all"]))["sandboxes"]
        return {metrics.name: metrics for metrics in map(SandboxMetrics.of, entries)}

    def project(self, path: str | os.PathLike[str] = ".", *, name: str | None = None) -> Project:
        """Returns the project of a folder, or of a Sandboxfile."""
        return Project(self, path, name=name)

    async def version(self) -> str:
        """Returns the version of `msb`."""
        return (await self._cli.run(["--version"])).stdout.decode().split()[-1]

    async def close(self) -> None:
        """Closes the connections of all its sandboxes, which ends their commands. The sandboxes run on, and the client
        can be used further.
        """
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(link.close() for link in list(self._links) if link.loop is loop))

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        await self.close()

    async def _look(self, name: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Returns what `inspect` and `ps` tell about a sandbox."""
        if not isinstance(name, str):
            raise TypeError("the name of a sandbox must be a str")
        details = (await self._cli.json(["inspect", name], name=name))["sandboxes"]
        listed = (await self._cli.json(["ps", "--all"]))["sandboxes"]
        found = [entry for entry in details if entry["full_name"] == name]
        if not found:
            raise SandboxNotFound(f"there is no sandbox {name!r}", name=name)
        return found[0], next((entry for entry in listed if entry["full_name"] == name), None)

    async def _sandboxes(self, listed: Sequence[dict[str, Any]]) -> _Sandboxes:
        if not listed:
            return []
        names = {entry["full_name"]: entry for entry in listed}
        try:
            details = (await self._cli.json(["inspect", *names]))["sandboxes"]
        except SandboxNotFound:
            # One was removed meanwhile.
            details = [entry for name in names if (entry := await self._details(name))]
        return sorted(
            (Sandbox(self, entry, names.get(entry["full_name"])) for entry in details), key=lambda sandbox: sandbox.name
        )

    async def _details(self, name: str) -> dict[str, Any] | None:
        try:
            details: dict[str, Any] = (await self._cli.json(["inspect", name], name=name))["sandboxes"][0]
            return details
        except SandboxNotFound:
            return None

    @staticmethod
    def _check_results(document: Any) -> None:
        """Raises the error of a sandbox in a document of results."""
        for entry in (document or {}).get("sandboxes") or ():
            if isinstance(entry.get("error"), dict):
                raise from_report(entry["error"])


_default: Client | None = None


def default_client() -> Client:
    """Returns the client that is used where none is given; it is made at the first use."""
    global _default
    if _default is None:
        _default = Client()
    return _default
