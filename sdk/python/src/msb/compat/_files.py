"""The files of a sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import errors as native
from ..files import FileReader, FileStat, FileWriter
from ..files import FsEntry as NativeEntry
from ..sandbox import Sandbox as NativeSandbox
from ._enums import FsEntryKind
from ._translate import translate, translated

__all__ = ["FsEntry", "FsMetadata", "FsReadStream", "FsWriteSink", "ROOT", "SandboxFsOps"]

#: The owner of files that are written, as in `microsandbox`.
ROOT = "0:0"


@dataclass(frozen=True)
class FsEntry:
    """An entry of a directory; `modified` is in milliseconds since 1970."""

    path: str
    kind: FsEntryKind
    size: int
    mode: int
    modified: float | None


@dataclass(frozen=True)
class FsMetadata:
    """The metadata of a file; `modified` is in milliseconds since 1970, and `created` is not known."""

    kind: FsEntryKind
    size: int
    mode: int
    readonly: bool
    modified: float | None
    created: float | None = None


def _entry(entry: NativeEntry) -> FsEntry:
    return FsEntry(entry.path, FsEntryKind(entry.kind), entry.size, entry.mode, entry.modified_ns / 1e6)


def _metadata(stat: FileStat) -> FsMetadata:
    is_readonly = stat.mode & 0o222 == 0
    return FsMetadata(FsEntryKind(stat.kind), stat.size, stat.mode, is_readonly, stat.modified_ns / 1e6)


class SandboxFsOps:
    """The files of a sandbox. All methods raise `FilesystemError`."""

    def __init__(self, sandbox: NativeSandbox) -> None:
        self._sandbox = sandbox
        self._files = sandbox.fs
        self._subject = sandbox.name

    @translated
    async def read(self, path: str) -> bytes:
        """Reads a file."""
        return await self._files.read(path)

    @translated
    async def read_text(self, path: str) -> str:
        """Reads a file as UTF-8."""
        return await self._files.read_text(path)

    @translated
    async def read_stream(self, path: str) -> FsReadStream:
        """Opens a file for reading in pieces."""
        return FsReadStream(await self._files.read_stream(path))

    @translated
    async def write(self, path: str, data: bytes) -> None:
        """Creates or replaces a file, which root owns."""
        await self._files.write(path, data, user=ROOT)

    @translated
    async def write_stream(self, path: str) -> FsWriteSink:
        """Opens a file for writing in pieces; it appears when it is closed."""
        return FsWriteSink(await self._files.write_stream(path, user=ROOT))

    @translated
    async def list(self, path: str) -> list[FsEntry]:
        """Returns the entries of a directory."""
        return [_entry(entry) for entry in await self._files.list(path)]

    @translated
    async def mkdir(self, path: str) -> None:
        """Creates a directory and its missing parents."""
        await self._files.mkdir(path, user=ROOT)

    @translated
    async def remove(self, path: str) -> None:
        """Removes a file."""
        await self._files.remove(path)

    @translated
    async def remove_dir(self, path: str) -> None:
        """Removes a directory with its contents."""
        await self._files.remove_dir(path)

    @translated
    async def copy(self, src: str, dst: str) -> None:
        """Copies a file inside the sandbox."""
        await self._files.copy(src, dst)

    @translated
    async def rename(self, src: str, dst: str) -> None:
        """Gives a file or directory another path."""
        await self._files.rename(src, dst)

    @translated
    async def stat(self, path: str) -> FsMetadata:
        """Returns the metadata of a file; links are followed."""
        return _metadata(await self._files.stat(path, follow=True))

    @translated
    async def exists(self, path: str) -> bool:
        """Returns whether there is a file or directory."""
        return await self._files.exists(path)

    @translated
    async def copy_from_host(self, host_path: str, guest_path: str) -> None:
        """Copies a file or directory of the host into the sandbox."""
        await self._files.copy_from_host(host_path, guest_path)

    @translated
    async def copy_to_host(self, guest_path: str, host_path: str) -> None:
        """Copies a file or directory of the sandbox to the host."""
        await self._files.copy_to_host(guest_path, host_path)


class FsReadStream:
    """A file that is read in pieces."""

    def __init__(self, reader: FileReader) -> None:
        self._reader = reader

    def __aiter__(self) -> FsReadStream:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._reader.read()
        except native.MsbError as error:
            raise translate(error) from error
        if not piece:
            raise StopAsyncIteration
        return piece

    @translated
    async def collect(self) -> bytes:
        """Returns all remaining bytes."""
        return await self._reader.collect()


class FsWriteSink:
    """A file that is written in pieces; an exception in `async with` abandons it."""

    def __init__(self, writer: FileWriter) -> None:
        self._writer = writer

    @translated
    async def write(self, data: bytes) -> None:
        """Writes bytes."""
        await self._writer.write(data)

    @translated
    async def close(self) -> None:
        """Completes the file."""
        await self._writer.close()

    async def __aenter__(self) -> FsWriteSink:
        return self

    @translated
    async def __aexit__(self, *exception: Any) -> bool:
        await self._writer.__aexit__(*exception)
        return False
