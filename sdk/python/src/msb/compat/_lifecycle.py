"""Operations that sandboxes and handles share: state, lifecycle, logs, metrics and modifications."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import errors as native
from .._opening import Opening
from ..sandbox import ENDED
from ..sandbox import Sandbox as NativeSandbox
from . import _errors as errors
from . import _logs, _metrics, _modify
from ._config import identity, read_record
from ._contracts import DiskCompactionResult, SandboxModificationPlan, SecretModifySpec
from ._create import check_seconds
from ._enums import GuestFlush, LogReadSource, ModificationPolicy, SandboxStatus
from ._logs import LogEntry, LogStream
from ._metrics import MetricsStream, SandboxMetrics
from ._network import PortBinding, PortEndpoint
from ._translate import translated, unsupported

if TYPE_CHECKING:
    from ._handle import SandboxHandle
    from ._sandbox import Sandbox

__all__ = ["Operations", "SandboxPingResult", "SandboxStopResult", "SandboxTouchResult", "status_of"]

_STATUSES = {
    "created": SandboxStatus.CREATED,
    "starting": SandboxStatus.STARTING,
    "running": SandboxStatus.RUNNING,
    "paused": SandboxStatus.PAUSED,
    "stopping": SandboxStatus.DRAINING,
    "failed": SandboxStatus.CRASHED,
    "crashed": SandboxStatus.CRASHED,
}
#: The longest wait for the sandboxes at the end of this program, in seconds.
_EXIT_TIMEOUT = 15.0
#: The longest wait for `msb inspect` then, in seconds.
_INSPECT_TIMEOUT = 5.0
_JOBS = "run `msb exec -d` and `msb jobs`, or keep the command with exec_stream"


def status_of(state: str) -> SandboxStatus:
    """Returns the status for a state of `msb`; all that have ended by themselves are stopped."""
    return _STATUSES.get(state, SandboxStatus.STOPPED)


@dataclass(frozen=True)
class SandboxStopResult:
    """A sandbox that has ended; `observed_at` is in milliseconds since 1970."""

    name: str
    status: SandboxStatus
    exit_code: int | None
    signal: int | None
    observed_at: float
    source: str | None = "msb"


@dataclass(frozen=True)
class SandboxPingResult:
    """The answer to a ping."""

    name: str
    latency_ms: float


@dataclass(frozen=True)
class SandboxTouchResult:
    """The answer to `touch`: a number that grows."""

    name: str
    activity_seq: int


class Operations:
    """The operations of sandboxes and handles, over a sandbox of `msb`."""

    def __init__(self, sandbox: NativeSandbox) -> None:
        self._native = sandbox
        self._subject = sandbox.name

    @property
    def _is_ephemeral(self) -> bool:
        return bool(read_record(self._native.labels).get("ephemeral"))

    async def _ended(self) -> None:
        """Removes an ephemeral sandbox after its end, and releases the connection."""
        disown(self._subject)
        await self._native.close()
        if self._is_ephemeral:
            try:
                await self._native.remove(force=True)
            except native.SandboxNotFound:
                pass

    # Observation.

    @translated
    async def ping(self) -> SandboxPingResult:
        """Waits for an answer of the guest."""
        return SandboxPingResult(self._subject, await self._native.ping() * 1000)

    @translated
    async def touch(self) -> SandboxTouchResult:
        """Restarts the timer of `idle_timeout`."""
        return SandboxTouchResult(self._subject, await self._native.touch())

    @translated
    async def metrics(self) -> SandboxMetrics:
        """Returns the metrics; raises `MetricsUnavailableError` in the first moment after the start."""
        try:
            return SandboxMetrics._of(await self._native.metrics())
        except native.SandboxNotRunning:
            await self._native.refresh()
            if self._native.status in ENDED:
                raise
            text = f"no live metrics slot for sandbox: {self._subject}"
            raise errors.MetricsUnavailableError(f"metrics unavailable for sandbox: {text}") from None

    @translated
    async def logs(
        self,
        tail: int | None = None,
        since_ms: float | None = None,
        until_ms: float | None = None,
        sources: Sequence[LogReadSource] | None = None,
    ) -> list[LogEntry]:
        """Returns the output of all commands, also of a stopped sandbox; times are in milliseconds since 1970."""
        return await _logs.read(self._native, tail, since_ms, until_ms, sources)

    def log_stream(
        self,
        sources: Sequence[LogReadSource] | None = None,
        since_ms: float | None = None,
        from_cursor: str | None = None,
        until_ms: float | None = None,
        follow: bool = False,
    ) -> Opening[LogStream]:
        """Returns the output as a stream, which can be awaited first, as in `microsandbox`, or iterated at once."""
        return _logs.open_stream(self._native, sources, since_ms, from_cursor, until_ms, follow)

    def metrics_stream(self, interval: float = 1.0) -> Opening[MetricsStream]:
        """Returns the metrics every `interval` seconds, as a stream that can be awaited or iterated."""
        return _metrics.open_stream(self._native, interval)

    @translated
    async def modify(
        self,
        *,
        cpus: int | None = None,
        max_cpus: int | None = None,
        memory: int | None = None,
        max_memory: int | None = None,
        root_disk_size: int | None = None,
        env: Mapping[str, str] | None = None,
        env_rm: list[str] | None = None,
        labels: Mapping[str, str] | None = None,
        labels_rm: list[str] | None = None,
        workdir: str | None = None,
        secrets: Mapping[str, SecretModifySpec] | None = None,
        secrets_rm: list[str] | None = None,
        ports: Mapping[int, int] | Sequence[PortBinding] | None = None,
        ports_rm: Sequence[PortEndpoint] | None = None,
        policy: ModificationPolicy | None = None,
        dry_run: bool = False,
    ) -> SandboxModificationPlan:
        """Returns the plan of a modification; only a dry run, and one without changes, is possible."""
        given = locals()
        wanted = {key: given[key] for key in _modify.KEYS}
        await self._native.refresh()
        return _modify.modify(self._native, status_of(self._native.status), wanted, policy, dry_run)

    async def compact(
        self,
        *,
        layers: int | None = None,
        dry_run: bool = False,
        disk: str | None = None,
        root_disk_only: bool = False,
    ) -> DiskCompactionResult:
        """`msb` has no layers of disks."""
        raise unsupported("the compaction of disks", "its disks have no layers, so there is nothing to compact")

    # Lifecycle.

    @translated
    async def stop(self, timeout: float | None = None) -> None:
        """Shuts it down, and kills it after `timeout` seconds, 10 by default. Its disk is kept."""
        check_seconds(timeout, "timeout")
        await self._native.stop(timeout)
        await self._ended()

    async def stop_with_timeout(self, timeout: float) -> None:
        """The same as `stop(timeout)`."""
        await self.stop(timeout)

    async def stop_and_wait(self) -> tuple[int, bool]:
        """Stops it, and returns the exit code and whether it is 0, as in releases before 0.6."""
        await self.stop()
        return self._exit()

    @translated
    async def wait(self) -> tuple[int, bool]:
        """Waits for its end, and returns the exit code and whether it is 0, as in releases before 0.6."""
        await self.wait_until_stopped()
        return self._exit()

    def _exit(self) -> tuple[int, bool]:
        code, signal = _last_exit(self._native)
        code = -1 if signal is not None else code or 0
        return code, code == 0

    async def request_stop(self) -> None:
        """Begins to stop it, and does not wait."""
        self._begin("stop")

    async def request_drain(self) -> None:
        """The same as `request_stop`: `msb` lets commands end for 10 seconds."""
        self._begin("stop")

    async def drain(self) -> None:
        """The same as `request_drain`, as in releases before 0.6."""
        self._begin("stop")

    async def request_kill(self) -> None:
        """Begins to kill it, and does not wait."""
        self._begin("kill")

    def _begin(self, command: str) -> None:
        disown(self._subject)
        begin(self._native, [command, "--", self._subject])

    @translated
    async def kill(self, timeout: float | None = None) -> None:
        """Ends it at once."""
        check_seconds(timeout, "timeout")
        await self._native.kill()
        await self._ended()

    @translated
    async def pause(self, *, guest_flush: GuestFlush | None = None) -> None:
        """Pauses it."""
        if guest_flush is not None and not isinstance(guest_flush, GuestFlush):
            raise TypeError("guest_flush must be GuestFlush")
        if guest_flush is GuestFlush.REQUIRED:
            raise unsupported("GuestFlush.REQUIRED", "run `sync` in the sandbox before pause()")
        await self._native.pause()

    @translated
    async def resume(self) -> None:
        """Resumes it."""
        await self._native.resume()

    @translated
    async def restart(self, *, force: bool = False, timeout: float | None = None, detached: bool = False) -> Sandbox:
        """Stops it, or kills it with `force`, and starts it again."""
        from ._sandbox import Sandbox

        check_seconds(timeout, "timeout")
        if force:
            await self._native.kill()
            await self._native.start()
        else:
            await self._native.restart(timeout)
        return Sandbox(self._native, owned=not detached)

    @translated
    async def destroy(self, *, force: bool = False, timeout: float | None = None) -> None:
        """Stops it, or kills it with `force`, and removes it."""
        check_seconds(timeout, "timeout")
        disown(self._subject)
        if force:
            await self._native.kill()
        await self._native.remove(force=True, timeout=timeout)

    @translated
    async def wait_until_stopped(self) -> SandboxStopResult:
        """Waits for its end."""
        try:
            await self._native.wait_for_status(ENDED)
        except native.SandboxNotFound:
            # Another program has removed it after its end.
            if not self._is_ephemeral:
                raise
            self._native.status = "stopped"
        code, signal = _last_exit(self._native)
        result = SandboxStopResult(self._subject, status_of(self._native.status), code, signal, time.time() * 1000)
        await self._ended()
        return result

    @translated
    async def wait_for_status(self, status: SandboxStatus) -> SandboxHandle:
        """Waits until it has a status."""
        from ._handle import SandboxHandle

        if not isinstance(status, SandboxStatus):
            raise TypeError("status must be SandboxStatus")
        states = [state for state, known in _STATUSES.items() if known is status]
        await self._native.wait_for_status([*states, *(("stopped", "exited") if not states else ())])
        return SandboxHandle(self._native)

    # Unsupported operations.

    async def fork(self, name: str, **_options: Any) -> Sandbox:
        """`msb` cannot copy a running sandbox."""
        raise unsupported("the copy of a running sandbox", "use Snapshot.create and Sandbox.restore")

    async def fork_many(self, names: list[str], **_options: Any) -> list[Any]:
        """`msb` cannot copy a running sandbox."""
        raise unsupported("the copy of a running sandbox", "use Snapshot.create and Sandbox.restore")

    branch = fork
    branch_many = fork_many

    async def get_job(self, id: str) -> Any:
        """Jobs are commands of `msb` only."""
        raise unsupported("jobs in programs", _JOBS)

    async def list_jobs(self, *, all: bool = False, limit: int = 50, cursor: str | None = None) -> Any:
        """Jobs are commands of `msb` only."""
        raise unsupported("jobs in programs", _JOBS)

    async def storage_usage(self) -> Any:
        """The usage of one sandbox is not measured."""
        raise unsupported("the disk usage of a sandbox", "run `msb image df`, and look at the disk in `msb inspect`")


def _last_exit(sandbox: NativeSandbox) -> tuple[int | None, int | None]:
    """Returns the exit code and the signal of the main process."""
    ended = sandbox.details.get("last_exit")
    if not isinstance(ended, dict):
        return None, None
    return ended.get("code"), ended.get("signal")


# Sandboxes that end with this program, as those of `microsandbox` do.


@dataclass(frozen=True)
class _Owned:
    """A sandbox that ends with this program."""

    sandbox: NativeSandbox
    identity: str
    pid: int
    #: The environment of `msb`: that of the program may change until its end.
    environment: dict[str, str]


_owned: dict[str, _Owned] = {}
_begun: list[subprocess.Popen[bytes]] = []


def own(sandbox: NativeSandbox) -> None:
    """Stops a sandbox at the end of this program."""
    environment = sandbox.client._cli.environment()
    _owned[sandbox.name] = _Owned(sandbox, identity(sandbox.details, sandbox.labels), os.getpid(), environment)


def disown(name: str) -> None:
    """Lets a sandbox run on at the end of this program."""
    _owned.pop(name, None)


def begin(
    sandbox: NativeSandbox, arguments: Sequence[str], environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts an `msb` that this program does not wait for, and that outlives it."""
    cli = sandbox.client._cli
    _begun[:] = [child for child in _begun if child.poll() is None]
    child = subprocess.Popen(
        [cli.program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=environment or cli.environment(),
        start_new_session=True,
    )
    _begun.append(child)
    return child


@atexit.register
def _stop_owned() -> None:
    # A forked child must not stop the sandboxes of its parent.
    mine = [owned for owned in _owned.values() if owned.pid == os.getpid()]
    children = []
    for owned in mine:
        try:
            if _still_exists(owned):
                is_ephemeral = read_record(owned.sandbox.labels).get("ephemeral")
                verb = ["rm", "--force"] if is_ephemeral else ["stop", "--timeout=5s"]
                children.append(begin(owned.sandbox, [*verb, "--", owned.sandbox.name], owned.environment))
        except (OSError, ValueError, LookupError, subprocess.SubprocessError, native.MsbError):
            continue
    deadline = time.monotonic() + _EXIT_TIMEOUT
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            break
    for child in _begun:
        child.poll()


def _still_exists(owned: _Owned) -> bool:
    """Returns whether the name is still that of the same sandbox."""
    command = [owned.sandbox.client._cli.program, "inspect", "--json", "--", owned.sandbox.name]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", env=owned.environment, timeout=_INSPECT_TIMEOUT
    )
    if done.returncode != 0:
        return False
    details = json.loads(done.stdout)["sandboxes"][0]
    labels = details["spec"]["definition"].get("labels") or {}
    return identity(details, labels) == owned.identity
