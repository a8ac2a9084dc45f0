"""The back end, the runtime, storage, jobs and SSH: features that `msb` has in one form, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from .. import __version__
from .. import errors as native
from ..client import default_client
from ._enums import BackendKind
from ._translate import translate, unsupported

RuntimeOrigin = Literal["environment", "sdk_package", "configuration", "home", "installed"]
JobState = Literal["starting", "running", "exited", "failed", "lost"]

__all__ = [
    "BackendInfo",
    "InstallOptions",
    "Job",
    "JobAttachment",
    "JobEvent",
    "JobExit",
    "JobInfo",
    "JobLogEntry",
    "JobLogStream",
    "JobPage",
    "JobState",
    "MemoryCacheEntry",
    "MemoryCacheReport",
    "ResolvedRuntime",
    "RuntimeConfig",
    "RuntimeOrigin",
    "SandboxSshOps",
    "SftpClient",
    "SshClient",
    "SshOutput",
    "SshServer",
    "Storage",
    "StorageCategoryUsage",
    "StorageItemUsage",
    "StorageUsage",
    "backend_scope",
    "default_backend_info",
    "default_backend_kind",
    "ensure_runtime",
    "install",
    "install_runtime",
    "is_installed",
    "is_runtime_installed",
    "resolve_runtime",
    "set_default_backend",
    "set_libkrunfw_path",
    "version",
]


# The back end.


@dataclass(frozen=True)
class BackendInfo:
    """The back end in use."""

    kind: BackendKind = BackendKind.LOCAL
    url: str | None = None
    profile: str | None = None


def set_default_backend(kind: BackendKind, *, url: str | None = None, **_options: Any) -> None:
    """Accepts the local back end, which is the only one of `msb`."""
    if not isinstance(kind, BackendKind):
        raise TypeError("kind must be BackendKind")
    if kind is not BackendKind.LOCAL or url is not None:
        raise unsupported("the cloud back end", "use BackendKind.LOCAL")


@contextmanager
def backend_scope(kind: BackendKind, **options: Any) -> Iterator[None]:
    """Accepts the local back end in a block."""
    set_default_backend(kind, **options)
    yield


def default_backend_kind() -> BackendKind:
    """Returns the local back end."""
    return BackendKind.LOCAL


def default_backend_info() -> BackendInfo:
    """Returns the local back end."""
    return BackendInfo()


def version() -> str:
    """Returns the version of the package `msb`."""
    return __version__


# The runtime, which is `msb` itself.


@dataclass(frozen=True)
class RuntimeConfig:
    """Paths of the runtime. `msb` takes them from its own settings."""

    home: str | None = None
    msb_path: str | None = None
    libkrunfw_path: str | None = None


@dataclass(frozen=True)
class InstallOptions:
    """Options of an installation, which this package never does."""

    source: Literal["release_download", "archive", "directory", "embedded_archive"] = "release_download"
    source_path: str | None = None
    version: str | None = None
    force: bool = False
    verify: bool = True
    expected_archive_sha256: str | None = None


@dataclass(frozen=True)
class ResolvedRuntime:
    """The runtime that was found."""

    msb_path: str
    libkrunfw_path: str
    origin: RuntimeOrigin


def resolve_runtime(config: RuntimeConfig | None = None) -> ResolvedRuntime:
    """Returns the path of `msb`; raises `RuntimeNotInstalledError`."""
    try:
        return ResolvedRuntime(default_client()._cli.program, "", "environment")
    except native.MsbError as error:
        raise translate(error) from error


def is_runtime_installed(config: RuntimeConfig | None = None) -> bool:
    """Returns whether there is an `msb`."""
    try:
        return bool(default_client()._cli.program)
    except native.MsbNotFound:
        return False


async def install_runtime(
    config: RuntimeConfig | None = None, options: InstallOptions | None = None
) -> ResolvedRuntime:
    """This package installs nothing."""
    raise unsupported("the installation of itself", "install msb, and set MSB to its path")


async def ensure_runtime(config: RuntimeConfig | None = None, options: InstallOptions | None = None) -> ResolvedRuntime:
    """Returns the path of `msb`; raises `RuntimeNotInstalledError`."""
    return resolve_runtime(config)


async def install(*_arguments: Any, **_options: Any) -> None:
    """Checks that there is an `msb`: the name of `ensure_runtime` in releases before 0.7."""
    resolve_runtime()


is_installed = is_runtime_installed


def set_libkrunfw_path(path: str) -> None:
    """`msb` finds its libkrunfw itself."""
    raise unsupported("another libkrunfw", "set `runtime.libkrunfw` in config.json")


# Jobs, SSH and storage: the types are here for annotations, and no call makes one.


@dataclass(frozen=True)
class JobInfo:
    """The state of a job."""

    id: str
    runtime_boot_id: str
    command: list[str]
    state: JobState
    tty: bool
    stdin_closed: bool
    pid: int | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    exit_code: int | None
    failure: dict[str, Any] | None
    error: str | None
    timed_out: bool


@dataclass(frozen=True)
class JobPage:
    """A page of jobs."""

    items: list[JobInfo]
    next_cursor: str | None


@dataclass(frozen=True)
class JobExit:
    """The end of a job."""

    code: int
    success: bool
    timed_out: bool


@dataclass(frozen=True)
class JobLogEntry:
    """A piece of the output of a job."""

    timestamp: int
    source: str
    data: bytes
    cursor: str


@dataclass(frozen=True)
class JobEvent:
    """An event of a job."""

    type: Literal["output", "gap", "completed"]
    value: JobLogEntry | JobInfo | dict[str, str]


class _Absent:
    """A type that no call of this package returns."""

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        raise unsupported(type(self).__name__, "see the list of differences in COMPAT.md")


class Job(_Absent):
    """A job."""


class JobAttachment(_Absent):
    """A connection with a job."""


class JobLogStream(_Absent):
    """The output of a job."""


class SandboxSshOps(_Absent):
    """SSH of a sandbox."""


class SshClient(_Absent):
    """A connection over SSH."""


class SshOutput(_Absent):
    """The output of a command over SSH."""


class SshServer(_Absent):
    """A server of SSH."""


class SftpClient(_Absent):
    """Files over SSH."""


class StorageUsage(_Absent):
    """The disk usage of everything."""


class StorageCategoryUsage(_Absent):
    """The disk usage of a category."""


class StorageItemUsage(_Absent):
    """The disk usage of one item."""


class MemoryCacheEntry(_Absent):
    """A file with memory of a snapshot."""


class MemoryCacheReport(_Absent):
    """Removed files with memory of snapshots."""


class Storage:
    """The disk usage."""

    @staticmethod
    async def usage() -> StorageUsage:
        """`msb` reports the usage of images only."""
        raise unsupported("the disk usage of everything", "run `msb image df` and `msb volume ls`")

    @staticmethod
    async def prune(*, dry_run: bool = False, older_than_seconds: int | None = None) -> MemoryCacheReport:
        """Snapshots of `msb` contain no memory."""
        raise unsupported("files with memory of snapshots", "there are none to remove")
