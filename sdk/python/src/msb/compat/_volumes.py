"""Volumes, and the mounts of a new sandbox."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

from ..client import default_client
from ..errors import VolumeNotFound
from ..options import Mount
from ..storage import Volume as NativeVolume
from . import _errors as errors
from ._enums import (
    DiskImageFormat,
    HostPermissions,
    MountKind,
    NamedVolumeMode,
    StatVirtualization,
    VolumeKind,
)
from ._mounts import MountConfig
from ._translate import translated, unsupported

__all__ = ["Volume", "VolumeFs", "VolumeHandle", "native_mount"]

_list = list

#: The file systems that the guest's kernel mounts.
_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "erofs", "squashfs")


class Volume:
    """A volume; also makes the mounts for `Sandbox.create(volumes=…)`."""

    def __init__(self, native: NativeVolume) -> None:
        self._native = native

    @property
    def name(self) -> str:
        """Its name."""
        return self._native.name

    @property
    def path(self) -> str:
        """The path of its contents on the host."""
        return self._native.path

    @staticmethod
    def create(
        name: str,
        *,
        kind: VolumeKind = VolumeKind.DIRECTORY,
        size_mib: int | None = None,
        quota_mib: int | None = None,
        labels: dict[str, str] | None = None,
    ) -> asyncio.Future[Volume]:
        """Creates a volume: a directory that `quota_mib` limits, or a disk of `size_mib`."""
        if not isinstance(kind, VolumeKind):
            raise TypeError("kind must be VolumeKind")
        if kind is VolumeKind.DIRECTORY and size_mib is not None:
            raise ValueError("size_mib is only supported with kind='disk'; use quota_mib")
        if kind is VolumeKind.DISK and (size_mib is None or quota_mib is not None):
            raise ValueError("kind='disk' requires size_mib, and takes no quota_mib")
        return future(_create(name, kind, size_mib or quota_mib, labels))

    @staticmethod
    @translated
    async def get(name: str) -> VolumeHandle:
        """Returns a volume; raises `VolumeNotFoundError`."""
        return VolumeHandle(await default_client().volumes.get(name))

    @staticmethod
    async def get_default() -> VolumeHandle:
        """There is no default volume in `msb`."""
        raise unsupported("a default volume", "create one with Volume.create")

    @staticmethod
    @translated
    async def list() -> list[VolumeHandle]:
        """Returns all volumes."""
        return [VolumeHandle(volume) for volume in await default_client().volumes.list()]

    @staticmethod
    @translated
    async def remove(name: str) -> None:
        """Removes a volume with its contents, unless a sandbox mounts it."""
        await _remove(await default_client().volumes.get(name))

    @staticmethod
    def bind(
        path: str,
        *,
        readonly: bool = False,
        noexec: bool = False,
        nosuid: bool = False,
        nodev: bool = False,
        stat_virtualization: StatVirtualization | None = None,
        host_permissions: HostPermissions | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> MountConfig:
        """A file or folder of the host."""
        flags: dict[str, Any] = {"readonly": readonly, "noexec": noexec, "nosuid": nosuid, "nodev": nodev}
        policies = _policies(stat_virtualization, host_permissions, uid, gid)
        return MountConfig(MountKind.BIND, bind=path, **flags, **policies)

    @staticmethod
    def named(
        name: str,
        *,
        mode: NamedVolumeMode | None = None,
        kind: VolumeKind | None = None,
        size_mib: int | None = None,
        quota_mib: int | None = None,
        readonly: bool = False,
        noexec: bool = False,
        nosuid: bool = False,
        nodev: bool = False,
        stat_virtualization: StatVirtualization | None = None,
        host_permissions: HostPermissions | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> MountConfig:
        """A volume. With `mode`, it must exist or be new; without, it is created if it is missing."""
        if mode is not None and not isinstance(mode, NamedVolumeMode):
            raise TypeError("mode must be NamedVolumeMode")
        if kind is not None and not isinstance(kind, VolumeKind):
            raise TypeError("kind must be VolumeKind")
        flags: dict[str, Any] = {"readonly": readonly, "noexec": noexec, "nosuid": nosuid, "nodev": nodev}
        policies = _policies(stat_virtualization, host_permissions, uid, gid)
        return MountConfig(
            MountKind.NAMED,
            named=name,
            named_mode=mode,
            named_kind=kind,
            size_mib=size_mib,
            quota_mib=quota_mib,
            **flags,
            **policies,
        )

    @staticmethod
    def owned(
        *,
        kind: VolumeKind | None = None,
        size_mib: int | None = None,
        quota_mib: int | None = None,
        readonly: bool = False,
        noexec: bool = False,
        nosuid: bool = False,
        nodev: bool = False,
        stat_virtualization: StatVirtualization | None = None,
        host_permissions: HostPermissions | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> MountConfig:
        """A volume that is removed with its sandbox: `msb` does not support it."""
        if kind is not None and not isinstance(kind, VolumeKind):
            raise TypeError("kind must be VolumeKind")
        flags: dict[str, Any] = {"readonly": readonly, "noexec": noexec, "nosuid": nosuid, "nodev": nodev}
        policies = _policies(stat_virtualization, host_permissions, uid, gid)
        sizes: dict[str, Any] = {"size_mib": size_mib, "quota_mib": quota_mib}
        return MountConfig(MountKind.OWNED, owned_kind=kind, **sizes, **flags, **policies)

    @staticmethod
    def tmpfs(
        *,
        size_mib: int | None = None,
        readonly: bool = False,
        noexec: bool = False,
        nosuid: bool = False,
        nodev: bool = False,
    ) -> MountConfig:
        """A directory in the sandbox's memory."""
        flags: dict[str, Any] = {"readonly": readonly, "noexec": noexec, "nosuid": nosuid, "nodev": nodev}
        return MountConfig(MountKind.TMPFS, size_mib=size_mib, **flags)

    @staticmethod
    def disk(
        path: str,
        *,
        format: DiskImageFormat | None = None,
        fstype: str | None = None,
        readonly: bool = False,
        noexec: bool = False,
        nosuid: bool = False,
        nodev: bool = False,
    ) -> MountConfig:
        """A disk image of the host."""
        flags: dict[str, Any] = {"readonly": readonly, "noexec": noexec, "nosuid": nosuid, "nodev": nodev}
        return MountConfig(MountKind.DISK, disk=path, format=format, fstype=fstype, **flags)


def _policies(
    stat: StatVirtualization | None, permissions: HostPermissions | None, uid: int | None, gid: int | None
) -> dict[str, Any]:
    names = ("stat_virtualization", "host_permissions", "override_uid", "override_gid")
    return dict(zip(names, (stat, permissions, uid, gid)))


def future(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    """Starts a coroutine as `microsandbox` does: at the call, which needs a running event loop."""
    try:
        return asyncio.get_running_loop().create_task(coroutine)
    except RuntimeError:
        coroutine.close()
        raise


@translated
async def _create(name: str, kind: VolumeKind, size_mib: int | None, labels: dict[str, str] | None) -> Volume:
    if labels:
        raise unsupported("labels of volumes", "omit labels=")
    word = "disk" if kind is VolumeKind.DISK else "directory"
    # Several sandboxes may write to a directory of `microsandbox`.
    shared = kind is VolumeKind.DIRECTORY
    return Volume(await default_client().volumes.create(name, size_mib=size_mib, kind=word, shared=shared))


async def _remove(volume: NativeVolume) -> None:
    users = [*volume.mounted_by]
    for sandbox in await default_client().list():
        mounts = (sandbox.details.get("spec") or {}).get("definition", {}).get("mounts") or {}
        if any(volume.path in str(mount.get("source")) for mount in mounts.values()):
            users.append(sandbox.name)
    if users:
        raise errors.MicrosandboxError(f"volume in use by sandbox(es): {', '.join(sorted(set(users)))}")
    await default_client().volumes.remove(volume.name)


class VolumeHandle:
    """A volume, as it was when it was looked up."""

    def __init__(self, native: NativeVolume) -> None:
        self._native = native

    @property
    def name(self) -> str:
        """Its name."""
        return self._native.name

    @property
    def is_default(self) -> bool:
        """Whether it is the default volume, which `msb` does not have."""
        return False

    @property
    def kind(self) -> VolumeKind:
        """Its kind."""
        return VolumeKind.DISK if self._native.kind == "disk" else VolumeKind.DIRECTORY

    @property
    def quota_mib(self) -> int | None:
        """The most that a directory can contain, in MiB."""
        return self._native.size_mib if self.kind is VolumeKind.DIRECTORY else None

    @property
    def used_bytes(self) -> int:
        """The space that it takes, in bytes."""
        return self._native.used_bytes or 0

    @property
    def capacity_bytes(self) -> int | None:
        """The size of a disk, in bytes."""
        size = self._native.size_mib
        return size << 20 if self.kind is VolumeKind.DISK and size is not None else None

    @property
    def disk_format(self) -> DiskImageFormat | None:
        """The format of a disk."""
        return DiskImageFormat.RAW if self.kind is VolumeKind.DISK else None

    @property
    def disk_fstype(self) -> str | None:
        """The file system of a disk."""
        return "ext4" if self.kind is VolumeKind.DISK else None

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, which `msb` does not have."""
        return {}

    @property
    def created_at(self) -> float | None:
        """The time of its creation, in milliseconds since 1970, if `msb` tells it."""
        created = self._native.fields.get("created_unix")
        return None if created is None else float(created) * 1000

    @property
    def fs(self) -> VolumeFs:
        """Its files."""
        return VolumeFs()

    @translated
    async def remove(self) -> None:
        """Removes it with its contents, unless a sandbox mounts it."""
        await _remove(self._native)


class VolumeFs:
    """The files of a volume, which only a sandbox may read: it may contain links that lead elsewhere on the host."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        async def refuse(*_arguments: Any, **_options: Any) -> Any:
            raise unsupported("files of volumes on the host", "mount the volume in a sandbox, and use sandbox.fs")

        return refuse


async def native_mount(mount: MountConfig) -> Mount:
    """Returns a mount for `Client.create`; creates a named volume that is missing."""
    flags: dict[str, Any] = {name: getattr(mount, name) for name in ("readonly", "noexec", "nosuid", "nodev")}
    if mount.kind is MountKind.TMPFS:
        return Mount.tmpfs(size_mib=mount.size_mib, **flags)
    if mount.kind is MountKind.DISK:
        assert mount.disk is not None
        _check_disk(mount, mount.disk)
        return Mount.bind(mount.disk, disk=True, **flags)
    if mount.kind is MountKind.OWNED:
        raise unsupported("volumes that are removed with their sandbox", "use Volume.named, and remove the volume")
    policies: dict[str, Any] = {
        "stat_virtualization": mount.stat_virtualization and mount.stat_virtualization.value,
        "host_permissions": mount.host_permissions and mount.host_permissions.value,
        "uid": mount.override_uid,
        "gid": mount.override_gid,
    }
    if mount.kind is MountKind.BIND:
        assert mount.bind is not None
        size = None if mount.readonly else mount.quota_mib
        return Mount.bind(os.path.expanduser(mount.bind), size_mib=size, **flags, **policies)
    volume = await _named(mount)
    # A volume of several sandboxes has no option of `msb create`, so its contents are mounted as a path of the host.
    if volume.kind == "disk":
        return Mount.bind(volume.path, disk=True, **flags)
    size = None if mount.readonly else volume.size_mib
    return Mount.bind(volume.path, size_mib=size, **flags, **policies)


async def _named(mount: MountConfig) -> NativeVolume:
    volumes, name = default_client().volumes, mount.named
    assert name is not None
    kind = mount.named_kind or VolumeKind.DIRECTORY
    size = mount.size_mib if kind is VolumeKind.DISK else mount.quota_mib
    if mount.named_mode is not NamedVolumeMode.CREATE:
        try:
            return await volumes.get(name)
        except VolumeNotFound:
            if mount.named_mode is NamedVolumeMode.EXISTING:
                raise
    return (await _create(name, kind, size, None))._native


def _check_disk(mount: MountConfig, path: str) -> None:
    real = DiskImageFormat.QCOW2 if path.endswith(".qcow2") else DiskImageFormat.RAW
    if path.endswith(".vmdk") or mount.format not in (None, real):
        raise unsupported(f"the disk image {path!r} in this format", "name a qcow2 image *.qcow2; others are raw")
    if mount.fstype not in (None, *_FILE_SYSTEMS):
        raise unsupported(f"the file system {mount.fstype!r}", f"use one of {', '.join(_FILE_SYSTEMS)}")
