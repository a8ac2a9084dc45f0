"""Handles: sandboxes without a connection."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .. import errors as native
from ..client import default_client
from ..sandbox import ENDED
from ..sandbox import Sandbox as NativeSandbox
from . import _errors as errors
from ._config import config_of, identity, read_record
from ._enums import SandboxStatus
from ._lifecycle import Operations, disown, status_of
from ._translate import translated

if TYPE_CHECKING:
    from ._sandbox import Sandbox
    from ._snapshots import Snapshot

__all__ = ["SandboxHandle", "SandboxPage", "find"]

#: The time for a connection, in seconds.
CONNECT_TIMEOUT = 10.0


class SandboxHandle(Operations):
    """A sandbox, as it was when it was looked up."""

    @property
    def name(self) -> str:
        """Its name."""
        return self._native.name

    @property
    def id(self) -> str:
        """Its id; another sandbox of the same name has another one."""
        return identity(self._native.details, self._native.labels)

    @property
    def status(self) -> SandboxStatus:
        """Its status when it was looked up."""
        return status_of(self._native.status)

    @property
    def config_json(self) -> str:
        """Its configuration as JSON, in the shape of `microsandbox`."""
        return json.dumps(self.config())

    def config(self) -> dict[str, Any]:
        """Returns its configuration, in the shape of `microsandbox`."""
        return config_of(self._native.details)

    @property
    def created_at(self) -> float | None:
        """The time of its creation, in milliseconds since 1970; of its start, if another program created it."""
        created = read_record(self._native.labels).get("created_ms") or self._native.details.get("started_unix_ms")
        return None if created is None else float(created)

    @property
    def updated_at(self) -> float | None:
        """The time of its last start, in milliseconds since 1970."""
        started = self._native.details.get("started_unix_ms")
        return self.created_at if started is None else float(started)

    @translated
    async def refresh(self) -> SandboxHandle:
        """Returns a new handle; raises `SandboxReplacedError` if another sandbox has its name now."""
        found = await find(self.name)
        if found.id != self.id:
            raise errors.SandboxReplacedError(
                f"sandbox '{self.name}' was replaced (expected {self.id}, found {found.id})"
            )
        return found

    @translated
    async def connect(self, timeout: float | None = None) -> Sandbox:
        """Connects to it; the sandbox does not end with the object."""
        from ._sandbox import Sandbox

        sandbox = await self._native.client.get(self.name)
        await sandbox.connect(CONNECT_TIMEOUT if timeout is None else timeout)
        return Sandbox(sandbox, owned=False)

    async def connect_with_timeout(self, timeout: float) -> Sandbox:
        """The same as `connect(timeout)`."""
        return await self.connect(timeout)

    @translated
    async def start(self, *, detached: bool = False) -> Sandbox:
        """Starts it; without `detached`, it ends with this program."""
        from ._sandbox import Sandbox

        sandbox = await self._native.client.get(self.name)
        return Sandbox(await sandbox.start(), owned=not detached)

    @translated
    async def connect_or_start(self, *, detached: bool = False) -> Sandbox:
        """Connects to it if it runs, and starts it otherwise."""
        await self._native.refresh()
        if self._native.status == "paused":
            await self._native.resume()
        if self._native.status in ENDED:
            return await self.start(detached=detached)
        return await self.connect()

    @translated
    async def remove(self) -> None:
        """Removes it with its disk; raises `SandboxStillRunningError`."""
        await self._native.remove()
        disown(self.name)

    async def snapshot(self, name: str) -> Snapshot:
        """Creates a snapshot of its disk."""
        from ._snapshots import Snapshot

        return await Snapshot.create(name, from_sandbox=self.name)

    def __repr__(self) -> str:
        return f"SandboxHandle(name={self.name!r}, status={self.status.value!r})"


class SandboxPage(list[SandboxHandle]):
    """A page of sandboxes; it is a list too, as in releases before 0.7."""

    next_cursor: str | None = None

    @property
    def sandboxes(self) -> list[SandboxHandle]:
        """The sandboxes."""
        return list(self)


async def find(name: str) -> SandboxHandle:
    """Returns the handle of a sandbox; removes an ephemeral one that has ended, and raises `SandboxNotFound`."""
    sandbox = await default_client().get(name)
    if await is_gone(sandbox):
        raise native.SandboxNotFound(f"there is no sandbox {name!r}", name=name)
    return SandboxHandle(sandbox)


async def is_gone(sandbox: NativeSandbox) -> bool:
    """Removes an ephemeral sandbox that has ended, and returns whether it did."""
    if sandbox.status not in ENDED or sandbox.status == "created":
        return False
    if not read_record(sandbox.labels).get("ephemeral"):
        return False
    try:
        await sandbox.remove(force=True)
    except native.SandboxNotFound:
        pass
    return True
