"""Snapshots of the disks of sandboxes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from ..client import default_client
from ..storage import Snapshot as NativeSnapshot
from ._enums import GuestFlush, SnapshotFormat, SnapshotScope, SnapshotStateKind
from ._translate import translated, unsupported

__all__ = [
    "ExternalMountWarning",
    "ForkOutcome",
    "Snapshot",
    "SnapshotArchive",
    "SnapshotCopyBuilder",
    "SnapshotHandle",
]

Path = Any


class _Described:
    """The properties that snapshots and their handles share."""

    def __init__(self, native: NativeSnapshot) -> None:
        self._native = native

    @property
    def id(self) -> str:
        """Its digest, which identifies it."""
        return self._native.digest

    @property
    def reference(self) -> str:
        """Its name, for `Sandbox.restore`."""
        return self._native.name

    @property
    def reference_kind(self) -> str:
        """`id`: snapshots of `msb` have names, and no paths."""
        return "id"

    @property
    def path(self) -> str:
        """Snapshots of `msb` have no paths."""
        raise unsupported("paths of snapshots", "use reference, or Snapshot.save")

    @property
    def digest(self) -> str:
        """Its digest."""
        return self._native.digest

    @property
    def size_bytes(self) -> int | None:
        """The size of its data, in bytes."""
        return self._native.data_bytes

    @property
    def image_ref(self) -> str:
        """The image that its sandbox was created from."""
        return str(self._native.fields.get("base") or "")

    @property
    def state_kind(self) -> SnapshotStateKind:
        """The kind of its state."""
        return SnapshotStateKind.FILE

    @property
    def format(self) -> SnapshotFormat | None:
        """The format of its disk."""
        return SnapshotFormat.RAW

    @property
    def fstype(self) -> str | None:
        """The file system of its disk."""
        return "ext4"

    @property
    def checkpoint_manifest_digest(self) -> str | None:
        """None: it contains no memory."""
        return None

    @property
    def scope(self) -> SnapshotScope:
        """Its scope: the disk."""
        return SnapshotScope.DISK

    @property
    def head_update(self) -> dict[str, Any] | None:
        """None: `msb` has no groups of snapshots."""
        return None

    async def storage_usage(self) -> Any:
        """The usage of one snapshot is its `size_bytes`."""
        raise unsupported("the disk usage of a snapshot", "use size_bytes")

    async def save_to(self, out: Path, **options: Any) -> None:
        """Writes it with its image to an archive of `msb`."""
        await Snapshot.save(self.reference, out, **options)


class SnapshotHandle(_Described):
    """A snapshot, as it was when it was looked up."""

    @property
    def name(self) -> str | None:
        """Its name."""
        return self._native.name

    @property
    def group(self) -> str | None:
        """None: `msb` has no groups of snapshots."""
        return None

    @property
    def parent_digest(self) -> str | None:
        """None: each snapshot is complete."""
        return None

    @property
    def locality(self) -> str:
        """Its location."""
        return "local"

    @property
    def availability(self) -> str:
        """Its availability."""
        return "available"

    @property
    def migration_state(self) -> str:
        """Its migration state; there are no older releases."""
        return "current"

    @property
    def migration_error_code(self) -> str | None:
        """None: there are no older releases."""
        return None

    @property
    def created_at(self) -> float:
        """The time of its creation, in milliseconds since 1970."""
        return float(self._native.created_unix) * 1000

    @translated
    async def open(self) -> Snapshot:
        """Returns the snapshot; raises `SnapshotNotFoundError`."""
        return await Snapshot.open(self.reference)

    async def remove(self, *, force: bool = False) -> None:
        """Removes it."""
        await Snapshot.remove(self.reference, force=force)


class Snapshot(_Described):
    """A snapshot."""

    @property
    def image_manifest_digest(self) -> str:
        """The digest of the image that its sandbox was created from, if `msb` tells it."""
        return str(self._native.fields.get("base_digest") or "")

    @property
    def checkpoint_id(self) -> str | None:
        """None: it contains no memory."""
        return None

    @property
    def parent(self) -> str | None:
        """None: each snapshot is complete."""
        return None

    @property
    def created_at(self) -> str:
        """The time of its creation, as RFC 3339."""
        moment = datetime.fromtimestamp(self._native.created_unix, timezone.utc)
        return moment.isoformat().replace("+00:00", "Z")

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, which `msb` does not have."""
        return {}

    @property
    def source_sandbox(self) -> str | None:
        """The sandbox that it is of."""
        return self._native.sandbox

    def copy_to(self, output_archive_path: Path) -> SnapshotCopyBuilder:
        """Prepares a copy in an archive."""
        return SnapshotCopyBuilder(self.reference, output_archive_path)

    async def verify(self) -> dict[str, Any]:
        """`msb` verifies snapshots when it boots from them."""
        raise unsupported("the verification of a snapshot", "boot from it: `msb` verifies it then")

    @staticmethod
    @translated
    async def create(
        name: str = "",
        *,
        from_sandbox: str,
        group: str | None = None,
        dest_dir: Path | None = None,
        labels: dict[str, str] | None = None,
        force: bool = False,
        record_integrity: bool = False,
        full: bool = False,
        guest_flush: GuestFlush | None = None,
    ) -> Snapshot:
        """Creates a snapshot of the disk of a sandbox, which may run; `force` replaces one of this name."""
        _refuse(group=group, dest_dir=dest_dir, labels=labels, record_integrity=record_integrity, full=full)
        snapshots = default_client().snapshots
        return Snapshot(await snapshots.create(from_sandbox, name or None, replace=force))

    @staticmethod
    @translated
    async def create_archive(
        name: str, archive: Path, *, from_sandbox: str, force: bool = False, **others: Any
    ) -> SnapshotArchive:
        """Creates a snapshot, and writes it to an archive."""
        snapshot = await Snapshot.create(name, from_sandbox=from_sandbox, force=force, **others)
        await snapshot.save_to(archive)
        return SnapshotArchive(snapshot.id, snapshot.digest, os.fspath(archive))

    @staticmethod
    @translated
    async def open(path_or_name: str) -> Snapshot:
        """Returns a snapshot; raises `SnapshotNotFoundError`."""
        return Snapshot(await default_client().snapshots.get(path_or_name))

    @staticmethod
    @translated
    async def get(name_or_digest: str) -> SnapshotHandle:
        """Returns the handle of a snapshot; raises `SnapshotNotFoundError`."""
        for snapshot in await default_client().snapshots.list():
            if name_or_digest in (snapshot.name, snapshot.digest):
                return SnapshotHandle(snapshot)
        return SnapshotHandle(await default_client().snapshots.get(name_or_digest))

    @staticmethod
    @translated
    async def list() -> list[SnapshotHandle]:
        """Returns all snapshots."""
        return [SnapshotHandle(snapshot) for snapshot in await default_client().snapshots.list()]

    @staticmethod
    async def list_dir(dir: Path) -> Any:
        """Snapshots of `msb` are in its state folder only."""
        raise unsupported("snapshots in folders", "use Snapshot.list, or Snapshot.load")

    @staticmethod
    @translated
    async def remove(path_or_name: str, *, force: bool = False) -> None:
        """Removes a snapshot; with `force` also one that a sandbox boots from."""
        await default_client().snapshots.remove(path_or_name, force=force)

    @staticmethod
    @translated
    async def reindex(dir: Path | None = None) -> int:
        """Returns the number of snapshots: `msb` has no index to make."""
        return len(await default_client().snapshots.list())

    @staticmethod
    @translated
    async def save(name_or_path: str, out: Path, **options: Any) -> None:
        """Writes a snapshot with its image to an archive of `msb`."""
        options.pop("with_parents", None)
        options.pop("with_image", None)
        _refuse(**options)
        await default_client().snapshots.export(name_or_path, out)

    @staticmethod
    @translated
    async def load(
        archive: Path,
        *,
        dest: Path | None = None,
        base: str | None = None,
        group: str | None = None,
        set_head: bool = False,
    ) -> SnapshotHandle:
        """Adds the snapshot in an archive of `msb`."""
        _refuse(dest=dest, base=base, group=group, set_head=set_head)
        snapshots = default_client().snapshots
        before = {snapshot.name for snapshot in await snapshots.list()}
        await snapshots.import_(archive)
        added = [snapshot for snapshot in await snapshots.list() if snapshot.name not in before]
        return SnapshotHandle(added[0])

    @staticmethod
    async def load_many(archives: Sequence[Path], **options: Any) -> Any:
        """Adds the snapshots in archives of `msb`."""
        return [await Snapshot.load(archive, **options) for archive in archives]

    @staticmethod
    async def group_head(selector: str) -> dict[str, Any]:
        """`msb` has no groups of snapshots."""
        raise unsupported("groups of snapshots", "name the snapshots")

    # The names of releases before 0.6.
    export = save
    import_ = load


class SnapshotCopyBuilder:
    """A copy of a snapshot in an archive."""

    def __init__(self, name: str, archive: Path) -> None:
        self._name = name
        self._archive = archive

    def labels(self, labels: dict[str, str]) -> SnapshotCopyBuilder:
        """`msb` has no labels of snapshots."""
        _refuse(labels=labels)
        return self

    def record_integrity(self, enabled: bool) -> SnapshotCopyBuilder:
        """Archives of `msb` always have digests."""
        return self

    async def save(self) -> None:
        """Writes the archive."""
        await Snapshot.save(self._name, self._archive)


class SnapshotArchive:
    """A snapshot in an archive."""

    def __init__(self, id: str, descriptor_digest: str, path: str) -> None:
        self.id = id
        self.descriptor_digest = descriptor_digest
        self.path = path


class ExternalMountWarning:
    """A mount that was not restored. `msb` restores no mounts, and never makes one."""

    guest_path: str
    reason: str
    stale_inodes: list[int]


class ForkOutcome:
    """The outcome of a copy of a running sandbox. `msb` never makes one."""

    name: str
    sandbox: Any | None
    error: Exception | None


def _refuse(**options: Any) -> None:
    for name, value in options.items():
        if value:
            raise unsupported(f"{name}= for snapshots", "omit it; a snapshot is one complete disk with a name")
