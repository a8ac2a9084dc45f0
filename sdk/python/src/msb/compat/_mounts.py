"""Mounts, root disks and sources of images."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from ._enums import (
    DiskImageFormat,
    FlatClone,
    HostPermissions,
    ImageSourceKind,
    MountKind,
    NamedVolumeMode,
    RootDiskKind,
    StatVirtualization,
    VolumeKind,
    enum_value,
    optional_enum_value,
)

__all__ = ["ImageSource", "MountConfig", "RootDisk", "RootDiskConfig"]

_U32_MAX = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class MountConfig:
    """A mount; use the functions of `Volume`."""

    kind: MountKind
    bind: str | None = None
    named: str | None = None
    named_mode: NamedVolumeMode | None = None
    named_kind: VolumeKind | None = None
    quota_mib: int | None = None
    size_mib: int | None = None
    readonly: bool = False
    noexec: bool = False
    nosuid: bool = False
    nodev: bool = False
    disk: str | None = None
    format: DiskImageFormat | None = None
    fstype: str | None = None
    stat_virtualization: StatVirtualization | None = None
    host_permissions: HostPermissions | None = None
    override_uid: int | None = None
    override_gid: int | None = None
    owned_kind: VolumeKind | None = None

    def _enums(self) -> dict[str, str | None]:
        """Checks all enums, also those of fields that this kind of mount does not use."""
        enum_value(self.kind, MountKind, "MountConfig.kind")
        fields: dict[str, type[enum.Enum]] = {
            "named_mode": NamedVolumeMode,
            "named_kind": VolumeKind,
            "owned_kind": VolumeKind,
            "format": DiskImageFormat,
            "stat_virtualization": StatVirtualization,
            "host_permissions": HostPermissions,
        }
        return {
            name: optional_enum_value(getattr(self, name), kind, f"MountConfig.{name}") for name, kind in fields.items()
        }

    def _to_dict(self) -> dict[str, Any]:
        enums = self._enums()
        if self.owned_kind is not None and self.kind is not MountKind.OWNED:
            raise ValueError("owned_kind is only valid for OWNED mounts")
        values: dict[str, Any] = {name: getattr(self, name) for name in ("readonly", "noexec", "nosuid", "nodev")}
        build = {
            MountKind.BIND: self._bind,
            MountKind.NAMED: self._named,
            MountKind.OWNED: self._owned,
            MountKind.TMPFS: self._tmpfs,
            MountKind.DISK: self._disk,
        }[self.kind]
        values |= {name: value for name, value in build(enums).items() if value is not None}
        return values | self._policies(enums)

    def _bind(self, _enums: dict[str, str | None]) -> dict[str, Any]:
        if self.bind is None:
            raise ValueError("MountConfig kind=BIND requires bind=...")
        return {"bind": self.bind, "quota_mib": self.quota_mib}

    def _named(self, enums: dict[str, str | None]) -> dict[str, Any]:
        if self.named is None:
            raise ValueError("MountConfig kind=NAMED requires named=...")
        chosen = {name: enums[name] for name in ("named_mode", "named_kind")}
        return {"named": self.named, **chosen, "size_mib": self.size_mib, "quota_mib": self.quota_mib}

    def _owned(self, enums: dict[str, str | None]) -> dict[str, Any]:
        others = (self.bind, self.named, self.named_mode, self.named_kind, self.disk, self.format, self.fstype)
        if any(value is not None for value in others):
            raise ValueError("OWNED mounts cannot specify a source, name, mode, format or fstype")
        kind = enums["owned_kind"] or VolumeKind.DIRECTORY.value
        size, quota = (_u32(getattr(self, name), name) for name in ("size_mib", "quota_mib"))
        if kind == VolumeKind.DISK.value:
            if not size:
                raise ValueError("disk-backed OWNED mounts require positive size_mib")
            if quota is not None:
                raise ValueError("quota_mib is only valid for directory-backed OWNED mounts")
            if self._has_policies():
                raise ValueError("metadata policies are not supported for disk-backed OWNED mounts")
        elif size is not None:
            raise ValueError("size_mib is only valid for disk-backed OWNED mounts")
        return {"owned": kind, "size_mib": size, "quota_mib": quota}

    def _tmpfs(self, _enums: dict[str, str | None]) -> dict[str, Any]:
        return {"tmpfs": True, "size_mib": self.size_mib}

    def _disk(self, enums: dict[str, str | None]) -> dict[str, Any]:
        if self.disk is None:
            raise ValueError("MountConfig kind=DISK requires disk=...")
        return {"disk": self.disk, "format": enums["format"], "fstype": self.fstype}

    def _has_policies(self) -> bool:
        fields = (self.stat_virtualization, self.host_permissions, self.override_uid, self.override_gid)
        return any(value is not None for value in fields)

    def _policies(self, enums: dict[str, str | None]) -> dict[str, Any]:
        """Returns the policies for files of the host, and their owner."""
        is_directory = self.kind in (MountKind.BIND, MountKind.NAMED) or (
            self.kind is MountKind.OWNED and self.owned_kind is not VolumeKind.DISK
        )
        if not is_directory:
            if self._has_policies():
                raise ValueError(
                    "stat_virtualization/host_permissions/override_uid/override_gid are only valid for BIND/NAMED or "
                    f"directory-backed OWNED mounts (got kind={self.kind.value})"
                )
            return {}
        names = ("stat_virtualization", "host_permissions")
        values: dict[str, Any] = {name: enums[name] for name in names if enums[name] is not None}
        if (self.override_uid is None) != (self.override_gid is None):
            raise ValueError("MountConfig.override_uid and override_gid must be set together")
        if self.override_uid is not None:
            for name in ("override_uid", "override_gid"):
                values[name] = _u32(getattr(self, name), f"MountConfig.{name}")
            if self.stat_virtualization is StatVirtualization.OFF:
                raise ValueError("mount owner cannot be combined with stat_virtualization=OFF")
            if self.kind is MountKind.NAMED and self.named_kind is VolumeKind.DISK:
                raise ValueError("mount owner is not supported for disk-backed named volumes")
        return values


def _u32(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= _U32_MAX:
        raise ValueError(f"{name} must be an integer between 0 and {_U32_MAX}")
    return value


@dataclass(frozen=True, slots=True)
class RootDiskConfig:
    """The writable root disk of a sandbox; use `RootDisk`."""

    kind: RootDiskKind
    size_mib: int | None = None
    path: str | None = None
    format: DiskImageFormat | None = None
    fstype: str | None = None
    clone: FlatClone | None = None

    def _to_dict(self) -> dict[str, Any]:
        kind = enum_value(self.kind, RootDiskKind, "RootDiskConfig.kind")
        rest = {
            "size_mib": self.size_mib,
            "path": self.path,
            "format": optional_enum_value(self.format, DiskImageFormat, "RootDiskConfig.format"),
            "fstype": self.fstype,
            "clone": optional_enum_value(self.clone, FlatClone, "RootDiskConfig.clone"),
        }
        return {"kind": kind, **{name: value for name, value in rest.items() if value is not None}}


class RootDisk:
    """Makes root disks for `Image.oci(root_disk=…)`."""

    @staticmethod
    def managed(size_mib: int | None = None) -> RootDiskConfig:
        """A disk that `msb` keeps, of 4096 MiB by default."""
        return RootDiskConfig(RootDiskKind.MANAGED, size_mib=size_mib)

    @staticmethod
    def tmpfs(size_mib: int | None = None) -> RootDiskConfig:
        """A disk in memory: `msb` does not support it."""
        return RootDiskConfig(RootDiskKind.TMPFS, size_mib=size_mib)

    @staticmethod
    def disk(path: str, *, format: DiskImageFormat | None = None, fstype: str | None = None) -> RootDiskConfig:
        """A disk image of the host: `msb` does not support it."""
        return RootDiskConfig(RootDiskKind.DISK_IMAGE, path=path, format=format, fstype=fstype)

    @staticmethod
    def flat(
        size_mib: int | None = None, *, fstype: str | None = None, clone: FlatClone = FlatClone.AUTO
    ) -> RootDiskConfig:
        """A disk with a copy of the image: `msb` does not support it."""
        return RootDiskConfig(RootDiskKind.FLAT, size_mib=size_mib, fstype=fstype, clone=clone)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """The source of a root file system; use the functions of `Image`."""

    _type: ImageSourceKind
    _path: str | None = None
    _reference: str | None = None
    _root_disk: RootDiskConfig | int | None = None
    _upper_size_mib: int | None = None
    _fstype: str | None = None
    _format: DiskImageFormat | None = None

    def _to_image_str(self) -> str:
        if not isinstance(self._type, ImageSourceKind):
            raise TypeError("ImageSource._type must be ImageSourceKind")
        found = self._reference if self._type is ImageSourceKind.OCI else self._path
        if found is None:
            raise ValueError(f"invalid ImageSource: type={self._type}")
        return found


def oci(
    reference: str, *, root_disk: RootDiskConfig | int | None = None, upper_size_mib: int | None = None
) -> ImageSource:
    """An image of a registry; `upper_size_mib` is an older name for the size of the root disk."""
    if root_disk is not None and upper_size_mib is not None:
        raise ValueError("pass either root_disk= or upper_size_mib=, not both")
    check_root_disk(root_disk)
    if upper_size_mib is not None:
        root_disk = RootDisk.managed(upper_size_mib)
    return ImageSource(ImageSourceKind.OCI, _reference=reference, _root_disk=root_disk, _upper_size_mib=upper_size_mib)


def bind(path: str) -> ImageSource:
    """A folder of the host with a root file system, which `msb` copies."""
    return ImageSource(ImageSourceKind.BIND, _path=path)


def disk(path: str, *, fstype: str | None = None) -> ImageSource:
    """A disk image of the host with a root file system: `msb` does not support it."""
    return ImageSource(ImageSourceKind.DISK, _path=path, _fstype=fstype)


def check_root_disk(root_disk: Any) -> None:
    """Raises TypeError unless it is a configuration, a size in MiB, or None."""
    if root_disk is not None and type(root_disk) not in (RootDiskConfig, int):
        raise TypeError("root_disk must be RootDiskConfig, int, or None")
