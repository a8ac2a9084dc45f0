"""Volumes, images and snapshots."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ._cli import Cli
from .errors import MsbError, SnapshotNotFound, VolumeExists

__all__ = ["Image", "Images", "Snapshot", "Snapshots", "Volume", "Volumes"]


@dataclass(frozen=True)
class Volume:
    """A volume.

    Attributes:
        name: its full name.
        project: the project that it belongs to, if it does.
        kind: `directory` or `disk`.
        size_mib: its size, or the most that it can contain, in MiB.
        used_bytes: the space that it takes.
        path: where its contents are on the host.
        mounted_by: the sandboxes that mount it.
        fields: all fields of `msb volume inspect --json`.
    """

    name: str
    project: str | None
    kind: str
    size_mib: int | None
    used_bytes: int | None
    path: str
    mounted_by: tuple[str, ...]
    fields: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Volume:
        return cls(
            entry["full_name"],
            entry.get("project"),
            entry["kind"],
            entry.get("size_mib"),
            entry.get("used_bytes"),
            entry["path"],
            tuple(entry.get("mounted_by") or ()),
            entry,
        )


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of the disk of a sandbox; boot from it with the image `snapshot:NAME`."""

    name: str
    digest: str
    sandbox: str
    created_unix: int
    data_bytes: int
    used_by: tuple[str, ...]
    fields: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Snapshot:
        return cls(
            entry["name"],
            entry["digest"],
            entry["sandbox"],
            entry["created_unix"],
            entry["data_bytes"],
            tuple(entry.get("used_by") or ()),
            entry,
        )


@dataclass(frozen=True)
class Image:
    """An image: its name and digest, and all fields that `msb` tells."""

    reference: str
    digest: str
    fields: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Image:
        return cls(str(entry.get("reference") or entry.get("name") or ""), str(entry.get("digest") or ""), entry)


class Volumes:
    """The volumes of all projects, and those of none."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli

    async def list(self) -> list[Volume]:
        """Returns all volumes."""
        return [Volume.of(entry) for entry in (await self._cli.json(["volume", "ls", "--all"]))["volumes"]]

    async def get(self, name: str) -> Volume:
        """Returns a volume; raises `VolumeNotFound`."""
        return Volume.of(await self._cli.json(["volume", "inspect", name], name=name))

    async def create(
        self, name: str, *, size_mib: int | None = None, kind: str | None = None, shared: bool = False
    ) -> Volume:
        """Creates a volume that belongs to no project; raises `VolumeExists`, which an older `msb` does not tell.

        Args:
            size_mib: the size of the disk, or the most that the directory can contain, in MiB.
            kind: `directory`, or `disk`, which is the default with a size.
            shared: whether several sandboxes may write to the directory at the same time.
        """
        arguments = ["volume", "create", *([f"--size={size_mib}M"] if size_mib is not None else [])]
        arguments += [f"--kind={kind}"] if kind is not None else []
        document = await self._cli.change([*arguments, *(["--shared"] if shared else []), "--", name], name=name)
        if isinstance(document, dict) and document.get("created") is False:
            raise VolumeExists(f"there is a volume {name!r} already", name=name)
        return await self.get(name)

    async def remove(self, name: str) -> None:
        """Removes a volume with its contents; raises `VolumeNotFound`, or `InUse` if a sandbox mounts it."""
        await self._cli.change(["volume", "rm", "--yes", "--", name], name=name)


class Snapshots:
    """The snapshots of this machine."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli

    async def list(self) -> list[Snapshot]:
        """Returns all snapshots."""
        return [Snapshot.of(entry) for entry in (await self._cli.json(["snapshot", "ls"]))["snapshots"]]

    async def get(self, name: str) -> Snapshot:
        """Returns a snapshot; raises `SnapshotNotFound`."""
        for snapshot in await self.list():
            if snapshot.name == name:
                return snapshot
        raise SnapshotNotFound(f"there is no snapshot {name!r}", name=name)

    async def create(self, sandbox: str, name: str | None = None, *, replace: bool = False) -> Snapshot:
        """Creates a snapshot of a sandbox's disk, by the sandbox's name unless another is given.

        Raises `SandboxNotFound`, or `SnapshotExists` unless `replace` is true.
        """
        arguments = ["snapshot", "create", *(["--replace"] if replace else []), "--", sandbox]
        await self._cli.change([*arguments, *([name] if name is not None else [])], name=name or sandbox)
        return await self.get(name or sandbox)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Removes a snapshot; raises `InUse` if a sandbox boots from it, unless `force` is true."""
        await self._cli.change(["snapshot", "rm", *(["--force"] if force else []), "--", name], name=name)

    async def export(self, name: str, file: str | os.PathLike[str]) -> None:
        """Writes a snapshot with its image to one file."""
        await self._cli.run(["snapshot", "export", f"--output={os.path.abspath(file)}", "--", name], name=name)

    async def import_(self, file: str | os.PathLike[str], name: str | None = None, *, replace: bool = False) -> None:
        """Adds the snapshot in a file."""
        arguments = ["snapshot", "import", *(["--replace"] if replace else []), "--", os.path.abspath(file)]
        await self._cli.change([*arguments, *([name] if name is not None else [])], name=name)


class Images:
    """The images of this machine."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli

    async def list(self) -> list[Image]:
        """Returns the images that have a name."""
        return [Image.of(entry) for entry in (await self._cli.json(["image", "ls"]))["images"]]

    async def get(self, image: str) -> Image:
        """Returns an image with its configuration and layers; raises `ImageNotFound`."""
        return Image.of(await self._cli.json(["image", "inspect", image], name=image))

    async def pull(self, *images: str) -> None:
        """Pulls images, and prepares them for booting."""
        if not images:
            raise TypeError("pull takes at least one image")
        await self._cli.change(["image", "pull", "--", *images], name=images[0])

    async def load(self, path: str | os.PathLike[str], *, name: str | None = None) -> None:
        """Loads images from an OCI layout or an archive."""
        arguments = ["image", "load", *([f"--name={name}"] if name is not None else [])]
        await self._cli.run([*arguments, "--", os.path.abspath(path)])

    async def save(self, images: str | Sequence[str], file: str | os.PathLike[str]) -> None:
        """Writes images to an archive."""
        names = [images] if isinstance(images, str) else [*images]
        await self._cli.run(["image", "save", f"--output={os.path.abspath(file)}", "--", *names])

    async def remove(self, image: str) -> None:
        """Removes an image; raises `ImageNotFound`, or `InUse` if a sandbox uses it."""
        await self._cli.change(["image", "rm", "--", image], name=image)

    async def prune(self, *, all: bool = False) -> Any:
        """Removes images that nothing uses; with `all`, those that only have a name too. Returns what `msb` tells."""
        return await self._cli.json(["image", "prune", *(["--all"] if all else [])])

    async def usage(self) -> dict[str, Any]:
        """Returns the disk usage of images."""
        document = await self._cli.json(["image", "df"])
        if not isinstance(document, dict):
            raise MsbError("msb printed no usage of images")
        return document
