"""Small values: sizes, exit statuses, resource limits, standard input, init, registries, patches and vsock routes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._enums import PatchKind, RlimitResource, StdinMode, VsockSocketType, enum_value

__all__ = [
    "ExitStatus",
    "GiB",
    "InitConfig",
    "MiB",
    "Patch",
    "PatchConfig",
    "RegistryAuth",
    "Rlimit",
    "Size",
    "Stdin",
    "VsockRoute",
]

MiB: int = 1 << 20
GiB: int = 1 << 30

_bytes = bytes


@dataclass(frozen=True, slots=True)
class Size:
    """A size, in bytes."""

    bytes: int

    @classmethod
    def mib(cls, n: int) -> Size:
        """Returns a size of `n` MiB."""
        return cls(n * MiB)

    @classmethod
    def gib(cls, n: int) -> Size:
        """Returns a size of `n` GiB."""
        return cls(n * GiB)

    @property
    def mib_count(self) -> int:
        """The whole MiB in it."""
        return self.bytes // MiB


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """The end of a process."""

    code: int
    success: bool


@dataclass(frozen=True, slots=True)
class Rlimit:
    """A resource limit of a process, in the unit of its resource."""

    resource: RlimitResource
    soft: int
    hard: int

    @classmethod
    def _both(cls, resource: RlimitResource, limit: int) -> Rlimit:
        return cls(resource, limit, limit)

    @classmethod
    def nofile(cls, limit: int) -> Rlimit:
        """Limits the open files."""
        return cls._both(RlimitResource.NOFILE, limit)

    @classmethod
    def cpu(cls, secs: int) -> Rlimit:
        """Limits the processor time."""
        return cls._both(RlimitResource.CPU, secs)

    @classmethod
    def as_(cls, *, soft: int, hard: int) -> Rlimit:
        """Limits the address space."""
        return cls(RlimitResource.AS, soft, hard)

    @classmethod
    def nproc(cls, limit: int) -> Rlimit:
        """Limits the processes of the user."""
        return cls._both(RlimitResource.NPROC, limit)

    @classmethod
    def fsize(cls, limit: int) -> Rlimit:
        """Limits the size of files."""
        return cls._both(RlimitResource.FSIZE, limit)

    @classmethod
    def memlock(cls, limit: int) -> Rlimit:
        """Limits locked memory."""
        return cls._both(RlimitResource.MEMLOCK, limit)

    @classmethod
    def stack(cls, limit: int) -> Rlimit:
        """Limits the stack."""
        return cls._both(RlimitResource.STACK, limit)

    def _to_dict(self) -> dict[str, Any]:
        resource = enum_value(self.resource, RlimitResource, "Rlimit.resource")
        return {"resource": resource, "soft": self.soft, "hard": self.hard}


@dataclass(frozen=True, slots=True)
class Stdin:
    """The standard input of a command: use `null`, `pipe` or `bytes`."""

    _mode: StdinMode
    _data: _bytes | None = None

    @classmethod
    def null(cls) -> Stdin:
        """An empty standard input."""
        return cls(StdinMode.NULL)

    @classmethod
    def pipe(cls) -> Stdin:
        """A standard input that `ExecHandle.take_stdin` writes to."""
        return cls(StdinMode.PIPE)

    @classmethod
    def bytes(cls, data: _bytes) -> Stdin:
        """A standard input with this content."""
        return cls(StdinMode.BYTES, data)


@dataclass(frozen=True, slots=True)
class InitConfig:
    """An init program of the image that takes over process 1: `msb` does not support it."""

    cmd: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def _to_dict(self) -> dict[str, Any]:
        rest = {"args": list(self.args), "env": dict(self.env)}
        return {"cmd": self.cmd, **{name: value for name, value in rest.items() if value}}


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """User and password of a registry."""

    username: str
    password: str = field(repr=False)

    @classmethod
    def basic(cls, username: str, password: str) -> RegistryAuth:
        """Returns credentials for basic authentication."""
        return cls(username, password)

    def _to_dict(self) -> dict[str, Any]:
        return {"username": self.username, "password": self.password}


@dataclass(frozen=True, slots=True)
class VsockRoute:
    """A Unix socket of the host that the guest reaches over vsock: `msb` does not support it."""

    host_socket: str | os.PathLike[str]
    port: int
    socket_type: VsockSocketType = VsockSocketType.STREAM

    @classmethod
    def stream(cls, host_socket: str | os.PathLike[str], port: int) -> VsockRoute:
        """Returns a route for streams."""
        return cls(host_socket, port)

    @classmethod
    def dgram(cls, host_socket: str | os.PathLike[str], port: int) -> VsockRoute:
        """Returns a route for datagrams."""
        return cls(host_socket, port, VsockSocketType.DGRAM)

    def _to_dict(self) -> dict[str, Any]:
        socket_type = enum_value(self.socket_type, VsockSocketType, "VsockRoute.socket_type")
        return {"host_socket": os.fspath(self.host_socket), "port": self.port, "socket_type": socket_type}


_WITH_PATH = (PatchKind.TEXT, PatchKind.FILE, PatchKind.APPEND, PatchKind.MKDIR, PatchKind.REMOVE)
_WITH_MODE = (PatchKind.TEXT, PatchKind.FILE, PatchKind.COPY_FILE, PatchKind.MKDIR)
_WITH_REPLACE = (PatchKind.TEXT, PatchKind.FILE, PatchKind.COPY_FILE, PatchKind.COPY_DIR, PatchKind.SYMLINK)


@dataclass(frozen=True, slots=True)
class PatchConfig:
    """A change of the files of a new sandbox; use `Patch`."""

    kind: PatchKind
    path: str | None = None
    content: str | bytes | None = None
    src: str | None = None
    dst: str | None = None
    target: str | None = None
    link: str | None = None
    mode: int | None = None
    replace: bool = False

    def _to_dict(self) -> dict[str, Any]:
        kind = enum_value(self.kind, PatchKind, "PatchConfig.kind")
        values: dict[str, Any] = {"kind": kind}
        if self.kind in _WITH_PATH:
            if not isinstance(self.path, str):
                raise TypeError(f"PatchConfig kind={kind!r} requires path to be str")
            values["path"] = self.path
        if self.kind in (PatchKind.TEXT, PatchKind.APPEND):
            if not isinstance(self.content, str):
                raise TypeError(f"PatchConfig kind={kind!r} requires content to be str")
            values["content"] = self.content
        elif self.kind is PatchKind.FILE:
            if not isinstance(self.content, bytes):
                raise TypeError("PatchConfig kind='file' requires content to be bytes")
            values["content"] = self.content
        elif self.kind in (PatchKind.COPY_FILE, PatchKind.COPY_DIR):
            if not (isinstance(self.src, str) and isinstance(self.dst, str)):
                raise TypeError(f"PatchConfig kind={kind!r} requires src and dst to be str")
            values |= {"src": self.src, "dst": self.dst}
        elif self.kind is PatchKind.SYMLINK:
            if not (isinstance(self.target, str) and isinstance(self.link, str)):
                raise TypeError("PatchConfig kind='symlink' requires target and link to be str")
            values |= {"target": self.target, "link": self.link}
        if self.mode is not None and self.kind in _WITH_MODE:
            values["mode"] = self.mode
        if self.replace and self.kind in _WITH_REPLACE:
            values["replace"] = True
        return values


class Patch:
    """Makes the changes for `Sandbox.create(patches=…)`."""

    @staticmethod
    def text(path: str, content: str, *, mode: int | None = None, replace: bool = False) -> PatchConfig:
        """Creates a text file; `replace` allows an existing one."""
        return PatchConfig(PatchKind.TEXT, path=path, content=content, mode=mode, replace=replace)

    @staticmethod
    def file(path: str, content: bytes, *, mode: int | None = None, replace: bool = False) -> PatchConfig:
        """Creates a file; `replace` allows an existing one."""
        return PatchConfig(PatchKind.FILE, path=path, content=content, mode=mode, replace=replace)

    @staticmethod
    def mkdir(path: str, *, mode: int | None = None) -> PatchConfig:
        """Creates a directory."""
        return PatchConfig(PatchKind.MKDIR, path=path, mode=mode)

    @staticmethod
    def append(path: str, content: str) -> PatchConfig:
        """Appends text to a file."""
        return PatchConfig(PatchKind.APPEND, path=path, content=content)

    @staticmethod
    def copy_file(src: str, dst: str, *, mode: int | None = None, replace: bool = False) -> PatchConfig:
        """Copies a file of the host into the sandbox."""
        return PatchConfig(PatchKind.COPY_FILE, src=src, dst=dst, mode=mode, replace=replace)

    @staticmethod
    def copy_dir(src: str, dst: str, *, replace: bool = False) -> PatchConfig:
        """Copies a directory of the host into the sandbox."""
        return PatchConfig(PatchKind.COPY_DIR, src=src, dst=dst, replace=replace)

    @staticmethod
    def symlink(target: str, link: str, *, replace: bool = False) -> PatchConfig:
        """Creates a symbolic link."""
        return PatchConfig(PatchKind.SYMLINK, target=target, link=link, replace=replace)

    @staticmethod
    def remove(path: str) -> PatchConfig:
        """Removes a file or directory."""
        return PatchConfig(PatchKind.REMOVE, path=path)
