"""Sandboxes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from .. import errors as native
from ..client import default_client
from ..sandbox import Sandbox as NativeSandbox
from . import _errors as errors
from ._attach import attach
from ._config import default_command, identity, read_record
from ._create import CREATE_SIGNATURE, check_options, native_options
from ._exec import ExecHandle, ExecOutput, parse_options, run, start
from ._files import SandboxFsOps
from ._handle import SandboxHandle, SandboxPage, find, is_gone
from ._lifecycle import Operations, disown, own
from ._patches import apply_patches
from ._progress import PullSession
from ._translate import translated, unsupported
from ._volumes import future, native_mount

__all__ = ["Sandbox"]

_NO_DEFAULT = "sandbox configuration does not provide an executable default command"


class AwaitableText(str):
    """A str that can be awaited too: `sb.name`, `await sb.name` and `await sb.name()` are the same."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, str]:
        yield from ()
        return str(self)

    def __call__(self) -> AwaitableText:
        return self


class AwaitableFlag:
    """A truth value that can be awaited too."""

    def __init__(self, value: bool) -> None:
        self._value = value

    def __bool__(self) -> bool:
        return self._value

    def __eq__(self, other: object) -> bool:
        return self._value == bool(other) if isinstance(other, (bool, AwaitableFlag)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return repr(self._value)

    def __await__(self) -> Generator[Any, None, bool]:
        yield from ()
        return self._value


def _as_create(function: Callable[..., Any]) -> Callable[..., Any]:
    """Shows the parameters of `create` in the signature of a function that takes them as keywords."""
    function.__signature__ = CREATE_SIGNATURE  # type: ignore[attr-defined]
    return function


class Sandbox(Operations):
    """A sandbox with a connection.

    `async with` kills it at the end of the block and removes it, and hides errors of that. A sandbox that was created
    or started without `detached=True` is stopped at the end of the program.
    """

    def __init__(self, sandbox: NativeSandbox, *, owned: bool) -> None:
        super().__init__(sandbox)
        self._owned = owned
        if owned:
            own(sandbox)

    @property
    def name(self) -> AwaitableText:
        """Its name."""
        return AwaitableText(self._native.name)

    @property
    def id(self) -> AwaitableText:
        """Its id."""
        return AwaitableText(identity(self._native.details, self._native.labels))

    @property
    def owns_lifecycle(self) -> AwaitableFlag:
        """Whether it ends with this program."""
        return AwaitableFlag(self._owned)

    @property
    def fs(self) -> SandboxFsOps:
        """Its files."""
        return SandboxFsOps(self._native)

    # Creation and lookup.

    @staticmethod
    @_as_create
    def create(name: str, **options: Any) -> asyncio.Future[Sandbox]:
        """Creates a sandbox and boots it. Wrong arguments are errors at the call, and not when it is awaited."""
        return future(_create(name, check_options(name, options)))

    @staticmethod
    @_as_create
    def connect_or_create(name: str, **options: Any) -> asyncio.Future[Sandbox]:
        """Connects to the sandbox of this name, after starting it if it does not run, or else creates it."""
        return future(_connect_or_create(name, check_options(name, options)))

    @staticmethod
    @_as_create
    def create_with_progress(name: str, **options: Any) -> PullSession:
        """Creates a sandbox, and reports the progress."""
        checked = check_options(name, options)
        return PullSession(str(options.get("image")), future(_create(name, checked)))

    @staticmethod
    def restore(
        snapshot: Any,
        *,
        name: str,
        cpus: int | None = None,
        memory: int | None = None,
        max_duration: float | None = None,
        idle_timeout: float | None = None,
        user: str | None = None,
        volumes: Mapping[str, Any] | None = None,
        ports: Any = None,
        disk_only: bool = False,
        **others: Any,
    ) -> asyncio.Future[Sandbox]:
        """Creates a sandbox from a snapshot of a disk."""
        options = {
            "cpus": cpus,
            "memory": memory,
            "max_duration": max_duration,
            "idle_timeout": idle_timeout,
            "user": user,
            "volumes": volumes,
            "ports": ports,
        }
        checked = check_options(name, {**options, "from_snapshot": _snapshot_name(snapshot)})
        return future(_restore(name, checked, others))

    @staticmethod
    def restore_with_progress(snapshot: Any, *, name: str, **options: Any) -> PullSession:
        """Creates a sandbox from a snapshot of a disk, and reports the progress."""
        return PullSession(_snapshot_name(snapshot), Sandbox.restore(snapshot, name=name, **options))

    @staticmethod
    @translated
    async def start(name: str, *, detached: bool = False) -> Sandbox:
        """Starts a sandbox; without `detached`, it ends with this program."""
        return await (await find(name)).start(detached=detached)

    @staticmethod
    @translated
    async def get(name: str) -> SandboxHandle:
        """Returns the handle of a sandbox; raises `SandboxNotFoundError`."""
        try:
            return await find(name)
        except native.SandboxNotFound as error:
            error.name = error.name or name
            raise

    @staticmethod
    async def list() -> SandboxPage:
        """Returns all sandboxes."""
        return await Sandbox.list_with()

    @staticmethod
    @translated
    async def list_with(
        *, cursor: str | None = None, limit: int | None = None, labels: Mapping[str, str] | None = None
    ) -> SandboxPage:
        """Returns the sandboxes that have all of these labels, at most `limit`, after the page with this cursor."""
        found = await default_client().list(labels=labels, limit=limit, cursor=cursor)
        page = SandboxPage([SandboxHandle(sandbox) for sandbox in found if not await is_gone(sandbox)])
        page.next_cursor = found.next_cursor
        return page

    @staticmethod
    @translated
    async def remove(name: str) -> None:
        """Removes a sandbox with its disk; raises `SandboxStillRunningError`."""
        await default_client().remove(name)
        disown(name)

    async def remove_persisted(self) -> None:
        """Removes the sandbox with its disk, as in releases before 0.6."""
        await Sandbox.remove(self._subject)

    # Commands.

    @translated
    async def exec(self, cmd: str, args: Any = None, **options: Any) -> ExecOutput:
        """Runs a command to its end.

        Args:
            cmd: the program.
            args: a list of arguments, or a dict with the keys of `ExecOptions`.
            options: `cwd`, `user`, `env`, `timeout`, `stdin`, `tty` and `rlimits`.
        """
        return await run(self._native, cmd, parse_options(args, options))

    @translated
    async def exec_stream(self, cmd: str, args: Any = None, **options: Any) -> ExecHandle:
        """Starts a command; takes the arguments of `exec`."""
        return await start(self._native, cmd, parse_options(args, options))

    async def shell(self, script: str, **options: Any) -> ExecOutput:
        """Runs a script with the shell of the sandbox; takes the keywords of `exec`."""
        return await self.exec(self._shell, ["-c", script], **options)

    async def shell_stream(self, script: str, **options: Any) -> ExecHandle:
        """Starts a script with the shell of the sandbox; takes the keywords of `exec`."""
        return await self.exec_stream(self._shell, ["-c", script], **options)

    async def exec_default(self, **options: Any) -> ExecOutput:
        """Runs the default command of the sandbox or of its image; raises `NoDefaultCommandError`."""
        cmd, *args = await self._default_command()
        return await self.exec(cmd, args, **options)

    async def exec_default_stream(self, **options: Any) -> ExecHandle:
        """Starts the default command of the sandbox or of its image; raises `NoDefaultCommandError`."""
        cmd, *args = await self._default_command()
        return await self.exec_stream(cmd, args, **options)

    async def exec_detached(self, cmd: str, args: Any = None, **options: Any) -> Any:
        """Jobs are commands of `msb` only."""
        raise unsupported("jobs in programs", "run `msb exec -d`, or keep the command with exec_stream")

    @translated
    async def attach(
        self,
        cmd: str,
        args: Sequence[str] | None = None,
        *,
        cwd: str | None = None,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        detach_keys: str | None = None,
    ) -> int:
        """Connects the terminal with a command, and returns its exit code; Ctrl-] detaches."""
        values = {"cwd": cwd, "user": user, "env": env}
        options = {name: value for name, value in values.items() if value is not None}
        return await attach(self._native, cmd, list(args or ()), options, detach_keys)

    async def attach_default(
        self,
        *,
        cwd: str | None = None,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        detach_keys: str | None = None,
    ) -> int:
        """Connects the terminal with the default command."""
        cmd, *args = await self._default_command()
        return await self.attach(cmd, args, cwd=cwd, user=user, env=env, detach_keys=detach_keys)

    async def attach_shell(self) -> int:
        """Connects the terminal with the shell of the sandbox."""
        return await self.attach(self._shell)

    @property
    def _shell(self) -> str:
        definition = (self._native.details.get("spec") or {}).get("definition") or {}
        return definition.get("shell") or "/bin/sh"

    @translated
    async def _default_command(self) -> Sequence[str]:
        record, image = read_record(self._native.labels), None
        digest = ((self._native.details.get("spec") or {}).get("image") or {}).get("digest")
        if record.get("entrypoint") is None and digest:
            try:
                image = (await default_client().images.get(digest)).fields.get("config")
            except native.ImageNotFound:
                pass  # An image of a folder has no configuration.
        command = default_command(record, image)
        if not command:
            raise errors.NoDefaultCommandError(_NO_DEFAULT)
        return command

    def ssh(self) -> Any:
        """`msb` has no SSH."""
        raise unsupported("SSH", "use exec, attach and fs")

    async def restore_warnings(self) -> Sequence[Any]:
        """Returns an empty list: mounts of a snapshot are not restored."""
        return []

    # The end.

    @translated
    async def detach(self) -> None:
        """Closes the connection; the sandbox runs on."""
        disown(self._subject)
        self._owned = False
        await self._native.close()

    async def __aenter__(self) -> Sandbox:
        return self

    async def __aexit__(self, *_exception: Any) -> bool:
        disown(self._subject)
        try:
            await self._native.close()
            await self._native.remove(force=True, timeout=0.0)
        except (native.MsbError, OSError):
            pass  # As in `microsandbox`.
        return False

    def __repr__(self) -> str:
        return f"Sandbox(name={self._subject!r})"


@translated
async def _create(name: str, options: Mapping[str, Any]) -> Sandbox:
    client = default_client()
    arguments = native_options(options)
    arguments["volumes"] = {path: await native_mount(mount) for path, mount in (options["volumes"] or {}).items()}
    try:
        sandbox = await client.create(name, **arguments)
        await sandbox.connect()
        await apply_patches(sandbox, options["patches"] or ())
    except native.SandboxExists as error:
        error.name = error.name or name
        raise
    except native.ImageNotFound as error:
        error.name = str(arguments["image"])
        raise
    except BaseException:
        await _undo(name, arguments["labels"])
        raise
    return Sandbox(sandbox, owned=not options["detached"])


async def _undo(name: str, labels: Mapping[str, str]) -> None:
    """Removes the sandbox of a creation that has failed or was cancelled, and no other one of this name."""
    try:
        sandbox = await default_client().get(name)
        if read_record(sandbox.labels).get("id") == read_record(labels)["id"]:
            await sandbox.remove(force=True)
    except native.MsbError:
        pass  # There is none, or it cannot be removed; the first error says more.


async def _connect_or_create(name: str, options: Mapping[str, Any]) -> Sandbox:
    for _ in range(2):
        try:
            handle = await Sandbox.get(name)
        except errors.SandboxNotFoundError:
            try:
                return await _create(name, options)
            except errors.SandboxAlreadyExistsError:
                continue  # Another program was faster.
        return await handle.connect_or_start(detached=options["detached"])
    raise errors.SandboxAlreadyExistsError(f"sandbox already exists: {name}")


async def _restore(name: str, options: dict[str, Any], others: Mapping[str, Any]) -> Sandbox:
    for key, value in others.items():
        if value:
            raise unsupported(f"restore({key}=…)", "omit it; snapshots are of disks")
    known = [snapshot.name for snapshot in await default_client().snapshots.list()]
    wanted = options["from_snapshot"]
    if wanted not in known:
        raise errors.SnapshotNotFoundError(f"snapshot not found: {wanted}")
    return await _create(name, options)


def _snapshot_name(snapshot: Any) -> str:
    reference = getattr(snapshot, "reference", snapshot)
    if not isinstance(reference, (str, os.PathLike)):
        raise TypeError("snapshot must be Snapshot, SnapshotHandle, str, or os.PathLike[str]")
    return os.fspath(reference)
