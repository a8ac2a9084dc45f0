"""Images, and the sources of root file systems."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..client import default_client
from ..errors import InUse
from ..storage import Image as NativeImage
from . import _errors as errors
from . import _mounts
from ._enums import ImageArchiveFormat
from ._translate import translated

__all__ = [
    "Image",
    "ImageConfigDetail",
    "ImageDetail",
    "ImageHandle",
    "ImageLayerDetail",
    "ImagePruneReport",
]


@dataclass(frozen=True)
class ImageConfigDetail:
    """The configuration of an image."""

    digest: str
    env: list[str]
    cmd: list[str] | None
    entrypoint: list[str] | None
    working_dir: str | None
    user: str | None
    labels: dict[str, Any] | None
    stop_signal: str | None


@dataclass(frozen=True)
class ImageLayerDetail:
    """A layer of an image."""

    diff_id: str
    blob_digest: str
    media_type: str | None
    compressed_size_bytes: int | None
    erofs_size_bytes: int | None
    position: int


@dataclass(frozen=True)
class ImageDetail:
    """An image with its configuration and layers."""

    handle: ImageHandle
    config: ImageConfigDetail | None
    layers: list[ImageLayerDetail]


@dataclass(frozen=True)
class ImagePruneReport:
    """The images that a prune has removed. `msb` counts images and bytes only."""

    skipped_in_use: int = 0
    image_refs_removed: int = 0
    manifests_removed: int = 0
    layers_removed: int = 0
    fsmeta_removed: int = 0
    vmdk_removed: int = 0
    bytes_reclaimed: int | None = None


@dataclass(frozen=True)
class ImageHandle:
    """An image of this machine; `last_used_at` is not known."""

    reference: str
    size_bytes: int | None
    manifest_digest: str | None
    architecture: str | None
    os: str | None
    layer_count: int
    last_used_at: float | None
    created_at: float | None
    _fields: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def _of(cls, native: NativeImage, *, requested: str | None = None) -> ImageHandle:
        fields = native.fields
        system, _, architecture = str(fields.get("platform") or "").partition("/")
        layers = fields.get("layers") or []
        size = fields.get("bytes")
        if size is None and layers:
            size = sum(layer["bytes"] for layer in layers)
        resolved = fields.get("resolved_unix")
        return cls(
            reference=requested or native.reference,
            size_bytes=size,
            manifest_digest=native.digest or None,
            architecture=architecture or None,
            os=system or None,
            layer_count=len(layers),
            last_used_at=None,
            created_at=None if resolved is None else float(resolved) * 1000,
            _fields=fields,
        )

    async def inspect(self) -> ImageDetail:
        """Returns its configuration and layers."""
        return await Image.inspect(self.reference)

    async def remove(self, *, force: bool = False) -> None:
        """Removes it; raises `ImageInUseError`."""
        await Image.remove(self.reference, force=force)


class Image:
    """The images of this machine; also makes sources for `Sandbox.create(image=…)`."""

    oci = staticmethod(_mounts.oci)
    bind = staticmethod(_mounts.bind)
    disk = staticmethod(_mounts.disk)

    @staticmethod
    @translated
    async def get(reference: str) -> ImageHandle:
        """Returns an image; raises `ImageNotFoundError`."""
        return ImageHandle._of(await default_client().images.get(reference), requested=reference)

    @staticmethod
    @translated
    async def load(input_path: str, *, tag: str | None = None) -> list[ImageHandle]:
        """Loads the images of an archive, and returns those that are new or have changed."""
        images = default_client().images
        before = {(image.reference, image.digest) for image in await images.list()}
        await images.load(input_path, name=tag)
        after = [image for image in await images.list() if (image.reference, image.digest) not in before]
        if not after and tag is not None:
            after = [await images.get(tag)]
        return [ImageHandle._of(image) for image in after]

    @staticmethod
    @translated
    async def list() -> list[ImageHandle]:
        """Returns all images that have a name."""
        return [ImageHandle._of(image) for image in await default_client().images.list()]

    @staticmethod
    @translated
    async def inspect(reference: str) -> ImageDetail:
        """Returns an image with its configuration and layers; raises `ImageNotFoundError`."""
        native = await default_client().images.get(reference)
        config = native.fields.get("config") or {}
        detail = ImageConfigDetail(
            digest=native.digest,
            env=[f"{name}={value}" for name, value in (config.get("env") or {}).items()],
            cmd=config.get("cmd") or None,
            entrypoint=config.get("entrypoint") or None,
            working_dir=config.get("workdir"),
            user=config.get("user"),
            labels=config.get("labels"),
            stop_signal=config.get("stop_signal"),
        )
        layers = [
            ImageLayerDetail("", layer["digest"], None, layer["bytes"], None, position)
            for position, layer in enumerate(native.fields.get("layers") or ())
        ]
        return ImageDetail(ImageHandle._of(native, requested=reference), detail, layers)

    @staticmethod
    @translated
    async def remove(reference: str, *, force: bool = False) -> None:
        """Removes an image; raises `ImageInUseError`, also with `force`: `msb` keeps images that are used."""
        try:
            await default_client().images.remove(reference)
        except InUse as error:
            raise errors.ImageInUseError(f"image in use by sandbox(es): {error.message}") from error

    @staticmethod
    @translated
    async def prune() -> ImagePruneReport:
        """Removes images that nothing uses and that have no name."""
        report = await default_client().images.prune()
        removed = len(report.get("references") or ()) + (report.get("built") or 0)
        return ImagePruneReport(image_refs_removed=removed, bytes_reclaimed=report.get("bytes"))

    @staticmethod
    @translated
    async def save(
        reference: str | Sequence[str],
        *,
        output_path: str,
        format: ImageArchiveFormat = ImageArchiveFormat.DOCKER,
    ) -> None:
        """Writes images to an archive, which is both an OCI layout and one of `docker save`."""
        if not isinstance(format, ImageArchiveFormat):
            raise TypeError("format must be ImageArchiveFormat")
        await default_client().images.save(reference, os.fspath(output_path))
