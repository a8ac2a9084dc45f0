"""Files of a guest. Paths are absolute, and resolved in the guest only, with the rights of root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._frames import FLAG_TERMINAL
from ._fs import FileStat, FsEntry, absolute, answer_of, begin, entry_of, request_of, stat_of, to_bytes, while_busy
from ._opening import Opening
from .errors import FileError, MsbError, ProtocolError
from .transfers import PIECE_BYTES, FileReader, FileWriter

if TYPE_CHECKING:
    from ._guest import Guest

__all__ = ["FileReader", "FileStat", "FileWriter", "Files", "FsEntry"]

#: The most that `read` keeps unless another limit is given, in bytes.
MAX_READ_BYTES = 1024 * 1024 * 1024
#: The most names of one directory.
LISTED_ENTRIES_MAX = 1_000_000
LISTED_BYTES_MAX = 64 * 1024 * 1024


class Files:
    """The files of a guest. All methods raise `FileError` if the guest refuses, and `ConnectionLost`."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    async def read(self, path: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """Reads a regular file; raises `MsbError` with the code `too-large` for more than `max_bytes`."""
        parts, size = [], 0
        async with self.read_stream(path) as reader:
            async for part in reader:
                size += len(part)
                if size > max_bytes:
                    raise MsbError(f"{path} is larger than {max_bytes} bytes", code="too-large")
                parts.append(part)
        return b"".join(parts)

    async def read_text(self, path: str, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Reads a text file; raises UnicodeDecodeError, a ValueError, for anything else."""
        return (await self.read(path)).decode(encoding, errors)

    def read_stream(self, path: str) -> Opening[FileReader]:
        """Opens a file for reading in pieces of at most 128 KiB: `async for piece in fs.read_stream(path)`."""
        request = request_of("read", path)

        async def attempt() -> FileReader:
            return await FileReader(await self._guest._transfer(), request, path)._open()

        return Opening(lambda: while_busy(attempt))

    async def write(
        self,
        path: str,
        contents: bytes | bytearray | memoryview | str,
        *,
        mode: int | None = None,
        user: str | None = None,
        parents: bool = False,
    ) -> None:
        """Creates or replaces a file at once: no reader sees a part of it. A str is written as UTF-8.

        Args:
            mode: its permissions; 0644 by default.
            user: its owner as `name|uid[:group|gid]`; the user of commands by default.
            parents: creates missing parent directories.
        """
        if isinstance(contents, str):
            contents = contents.encode()
        if not isinstance(contents, (bytes, bytearray, memoryview)):
            raise TypeError(f"contents must be bytes or str, not {type(contents).__name__}")
        if len(contents) < PIECE_BYTES:
            request = request_of("write", path, mode=mode, user=user, parents=parents, data=bytes(contents))
            await self._operate("write", path, request)
            return
        async with self.write_stream(path, mode=mode, user=user, parents=parents) as writer:
            await writer.write(contents)

    def write_stream(
        self, path: str, *, mode: int | None = None, user: str | None = None, parents: bool = False
    ) -> Opening[FileWriter]:
        """Opens a file for writing in pieces. It appears when the writer is closed; an exception in `async with`
        abandons it. The arguments are those of `write`.
        """
        request = request_of("write", path, mode=mode, user=user, parents=parents)

        async def attempt() -> FileWriter:
            return await FileWriter(await self._guest._transfer(), request, path)._open()

        return Opening(lambda: while_busy(attempt))

    # Before `list`, which takes the place of the type in the rest of the class.
    async def _list(self, path: str, request: dict[str, Any]) -> list[FsEntry]:
        mailbox = begin(await self._guest._connection(), "list", request)
        entries: list[FsEntry] = []
        frames = size = 0
        try:
            while True:
                flags, payload = await answer_of(mailbox, path)
                part = payload.get("entries") or []
                if not isinstance(part, list):
                    raise ProtocolError("the guest sent a listing that is none")
                for raw in part:
                    entry = entry_of(raw, path)
                    size += len(entry.name) + len(entry.target or "") + 200
                    entries.append(entry)
                if len(entries) > LISTED_ENTRIES_MAX or size > LISTED_BYTES_MAX:
                    raise ProtocolError("the guest sent more names than a directory may have")
                if flags & FLAG_TERMINAL:
                    return sorted(entries, key=lambda entry: entry.name)
                frames += 1
                mailbox.post("core.fs.data.ack", {"frames": frames})
        finally:
            mailbox.close()

    async def list(self, path: str) -> list[FsEntry]:
        """Returns the entries of a directory, sorted by name."""
        request = request_of("list", path)
        return await while_busy(lambda: self._list(path, request))

    async def mkdir(self, path: str, *, mode: int | None = None, user: str | None = None, parents: bool = True) -> None:
        """Creates a directory and its missing parents; an existing one is no error."""
        await self._operate("mkdir", path, request_of("make_directory", path, mode=mode, user=user, parents=parents))

    async def symlink(self, target: str, path: str) -> None:
        """Creates a symbolic link at `path`, or replaces a file or link with one."""
        await self._operate("symlink", path, request_of("make_link", path, data=to_bytes(target)))

    async def remove(self, path: str) -> None:
        """Removes a file or a link; raises `PathNotFound` for a missing one, and `FileError` for a directory."""
        if (await self.stat(path)).is_dir:
            raise FileError(f"{path} is a directory", kind="is_directory", path=path, errno=21, errno_name="EISDIR")
        await self._operate("remove", path, request_of("remove", path))

    async def remove_dir(self, path: str) -> None:
        """Removes a directory with its contents; raises `PathNotFound` for a missing one."""
        if not (await self.stat(path)).is_dir:
            raise FileError(
                f"{path} is not a directory", kind="not_directory", path=path, errno=20, errno_name="ENOTDIR"
            )
        await self._operate("remove", path, request_of("remove", path, recursive=True))

    async def stat(self, path: str, *, follow: bool = False) -> FileStat:
        """Returns the metadata of a file; of a link itself unless `follow` is true, which older agents cannot."""
        request = request_of("stat", path, follow=True if follow else None)
        payload = await self._operate("stat", path, request, feature="fs_tree" if follow else "fs")
        return FileStat(**stat_of(payload.get("stat")))

    async def copy(self, path: str, to: str, *, recursive: bool = False) -> None:
        """Copies a file or link inside the guest, or with `recursive` a directory; raises `Unsupported` if the agent is
        too old.
        """
        request = request_of("copy", path, to=absolute(to), recursive=recursive)
        await self._operate("copy", path, request, feature="fs_tree")

    async def rename(self, path: str, to: str) -> None:
        """Gives a file or directory another path in the same file system; raises `Unsupported` if the agent is too
        old.
        """
        await self._operate("rename", path, request_of("rename", path, to=absolute(to)), feature="fs_tree")

    async def real_path(self, path: str) -> str:
        """Returns the path without links, `.` and `..`; raises `Unsupported` if the agent is too old."""
        payload = await self._operate("resolve", path, request_of("real_path", path), feature="fs_tree")
        found = payload.get("path")
        if not isinstance(found, bytes):
            raise ProtocolError("the guest sent no path")
        return found.decode("utf-8", "surrogateescape")

    async def read_link(self, path: str) -> str:
        """Returns the target of a link; raises `FileError` for anything else."""
        target = (await self.stat(path)).target
        if target is None:
            raise FileError(f"{path} is not a link", kind="wrong_kind", path=path, errno=22, errno_name="EINVAL")
        return target

    async def exists(self, path: str) -> bool:
        """Returns whether there is a file, directory or link."""
        try:
            await self.stat(path)
        except FileError as error:
            if error.kind in ("not_found", "not_directory"):
                return False
            raise
        return True

    async def copy_from_host(self, host_path: Any, guest_path: str) -> None:
        """Copies a file or directory of the host into the guest, as `msb cp` does."""
        await self._guest._copy(host_path, guest_path, into=True)  # type: ignore[attr-defined]

    async def copy_to_host(self, guest_path: str, host_path: Any) -> None:
        """Copies a file or directory of the guest to the host, as `msb cp` does."""
        await self._guest._copy(host_path, guest_path, into=False)  # type: ignore[attr-defined]

    async def _operate(self, operation: str, path: str, request: dict[str, Any], feature: str = "fs") -> dict[Any, Any]:
        """Runs an operation with one answer."""

        async def attempt() -> dict[Any, Any]:
            mailbox = begin(await self._guest._connection(), operation, request, feature)
            try:
                return (await answer_of(mailbox, path))[1]
            finally:
                mailbox.close()

        return await while_busy(attempt)
