"""Patches: changes of the files of a new sandbox, which are made after it has booted and before `create` returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import errors as native
from ..sandbox import Sandbox as NativeSandbox
from . import _errors as errors
from ._enums import PatchKind
from ._files import ROOT
from ._values import PatchConfig

__all__ = ["apply_patches"]


async def apply_patches(sandbox: NativeSandbox, patches: Sequence[PatchConfig]) -> None:
    """Makes all changes in their order; raises `MicrosandboxError`."""
    for patch in patches:
        try:
            await _apply(sandbox.fs, patch, patch._to_dict())
        except (native.MsbError, OSError) as error:
            raise errors.MicrosandboxError(f"patch failed: {error}") from error


async def _apply(fs: Any, patch: PatchConfig, values: dict[str, Any]) -> None:
    kind, mode = patch.kind, values.get("mode")
    target = values.get("path") or values.get("dst") or values.get("link")
    if kind in (PatchKind.TEXT, PatchKind.FILE, PatchKind.COPY_FILE, PatchKind.COPY_DIR, PatchKind.SYMLINK):
        if not patch.replace and await fs.exists(target):
            raise errors.MicrosandboxError(f"patch failed: {target} already exists (hint: pass replace=True)")
    if kind in (PatchKind.TEXT, PatchKind.FILE):
        await fs.write(target, values["content"], mode=mode, user=ROOT, parents=True)
    elif kind is PatchKind.APPEND:
        await _append(fs, values["path"], values["content"].encode())
    elif kind is PatchKind.MKDIR:
        await fs.mkdir(target, mode=mode, user=ROOT)
    elif kind is PatchKind.COPY_FILE:
        with open(values["src"], "rb") as source:
            await fs.write(target, source.read(), mode=mode, user=ROOT, parents=True)
    elif kind is PatchKind.COPY_DIR:
        await fs.copy_from_host(values["src"], target)
    elif kind is PatchKind.SYMLINK:
        await fs.symlink(values["target"], target)
    else:
        await _remove(fs, values["path"])


async def _append(fs: Any, path: str, content: bytes) -> None:
    """Appends to a file, and keeps its mode and owner; creates it if it is missing."""
    try:
        stat = await fs.stat(path, follow=True)
    except native.PathNotFound:
        await fs.write(path, content, user=ROOT, parents=True)
        return
    before = await fs.read(path)
    await fs.write(path, before + content, mode=stat.mode & 0o7777, user=f"{stat.uid}:{stat.gid}")


async def _remove(fs: Any, path: str) -> None:
    try:
        if (await fs.stat(path)).is_dir:
            await fs.remove_dir(path)
        else:
            await fs.remove(path)
    except native.PathNotFound:
        pass
