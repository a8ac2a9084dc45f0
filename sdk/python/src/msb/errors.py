"""The errors of this package. Every one has a `code`, which is the same text in the SDKs of all languages.

Wrong arguments are the language's own `TypeError` and `ValueError`.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = [
    "Closed",
    "ConnectionLost",
    "ExecFailed",
    "ExecTimeout",
    "FileError",
    "FrameError",
    "HandshakeFailed",
    "IdsExhausted",
    "ImageNotFound",
    "InUse",
    "InvalidCursor",
    "JobNotFound",
    "Locked",
    "Mismatch",
    "MissedRotation",
    "MsbError",
    "MsbNotFound",
    "PathNotFound",
    "ProtocolError",
    "SandboxExists",
    "SandboxNotFound",
    "SandboxNotRunning",
    "SandboxPaused",
    "SandboxRunning",
    "SnapshotExists",
    "SnapshotNotFound",
    "SuffixTooBroad",
    "TimedOut",
    "Unresponsive",
    "Unsupported",
    "UsageError",
    "VolumeExists",
    "VolumeNotFound",
]


class MsbError(Exception):
    """The base of all errors.

    Attributes:
        code: the kind of the error, the same in all languages.
        message: the text without causes and hint.
        causes: the texts of the causes, the nearest first.
        hint: what to do about it, if something is known to help.
        name: the sandbox, volume, image or snapshot that it is about, if it is about one.
        exit_code: the exit code of `msb`, if a run of it failed.
    """

    code = "failed"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        causes: tuple[str, ...] = (),
        hint: str | None = None,
        name: str | None = None,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.causes = causes
        self.hint = hint
        self.name = name
        self.exit_code = exit_code

    def __str__(self) -> str:
        text = ": ".join((self.message, *self.causes))
        return f"{text} (hint: {self.hint})" if self.hint else text


class Mismatch(MsbError):
    """The lock file does not match, or the Sandboxfile is not trusted."""

    code = "mismatch"


class TimedOut(MsbError, TimeoutError):
    """A wait has reached its deadline."""

    code = "timed-out"


class Locked(MsbError):
    """Another `msb` holds the lock of the project."""

    code = "locked"


class SandboxNotFound(MsbError, LookupError):
    """There is no sandbox of this name."""

    code = "sandbox-not-found"


class VolumeNotFound(MsbError, LookupError):
    """There is no volume of this name."""

    code = "volume-not-found"


class ImageNotFound(MsbError, LookupError):
    """There is no such image."""

    code = "image-not-found"


class SnapshotNotFound(MsbError, LookupError):
    """There is no snapshot of this name."""

    code = "snapshot-not-found"


class JobNotFound(MsbError, LookupError):
    """The sandbox has no such job."""

    code = "job-not-found"


class SandboxExists(MsbError):
    """The name of the new sandbox is taken."""

    code = "sandbox-exists"


class VolumeExists(MsbError):
    """The name of the new volume is taken."""

    code = "volume-exists"


class SnapshotExists(MsbError):
    """The name of the new snapshot is taken."""

    code = "snapshot-exists"


class SandboxRunning(MsbError):
    """The sandbox runs, and the operation needs it stopped."""

    code = "sandbox-running"


class InUse(MsbError):
    """A sandbox uses the volume, image or snapshot."""

    code = "in-use"


class SandboxNotRunning(MsbError):
    """The sandbox does not run."""

    code = "sandbox-not-running"


class SandboxPaused(MsbError):
    """The sandbox is paused."""

    code = "sandbox-paused"


class Unsupported(MsbError):
    """This `msb`, this driver or this guest cannot do it."""

    code = "unsupported"


class Unresponsive(MsbError):
    """The guest did not answer in time."""

    code = "unresponsive"


class UsageError(MsbError):
    """`msb` refused the options of a call."""

    code = "usage"


class SuffixTooBroad(UsageError):
    """A network rule names a public suffix, such as `*.com`.

    Attributes:
        raw: the suffix as it was written.
    """

    code = "suffix-too-broad"

    def __init__(self, message: str, *, raw: str | None = None, **rest: Any) -> None:
        super().__init__(message, **rest)
        self.raw = raw


class MsbNotFound(MsbError):
    """The program `msb` is neither given nor in `MSB` nor on `PATH`."""

    code = "msb-not-found"


class MissedRotation(MsbError):
    """The log was rotated past the cursor, so that entries are missing.

    Attributes:
        dropped_from_offset: the number of the oldest missing segment, if it is known.
    """

    code = "missed-rotation"

    def __init__(self, message: str, *, dropped_from_offset: int | None = None, **rest: Any) -> None:
        super().__init__(message, **rest)
        if dropped_from_offset is None:
            # msb says it in its texts only.
            wanted = re.search(r"the next file (\d+) of", "\n".join((message, *self.causes)))
            dropped_from_offset = int(wanted[1]) if wanted else None
        self.dropped_from_offset = dropped_from_offset


class InvalidCursor(MsbError, ValueError):
    """A text is not a cursor, or not one of this log."""

    code = "invalid-cursor"


class ConnectionLost(MsbError, ConnectionError):
    """The connection ended in the middle of an operation, or the sandbox did."""

    code = "connection-lost"


class Closed(MsbError):
    """This client has been closed."""

    code = "closed"


class HandshakeFailed(MsbError, ConnectionError):
    """The relay refused the connection, or did not answer as a relay does."""

    code = "handshake-failed"


class ProtocolError(MsbError):
    """The relay or the guest sent a malformed message."""

    code = "protocol-error"


class FrameError(ProtocolError):
    """A frame is too short or too large. The connection is closed then."""

    code = "invalid-frame"


class IdsExhausted(MsbError):
    """All session ids of this connection have been used."""

    code = "ids-exhausted"


class ExecFailed(MsbError):
    """A command was not started.

    Attributes:
        kind: the reason: `not_found`, `permission_denied`, `not_executable`, `bad_cwd`, `bad_args`,
            `resource_limit`, `user_setup_failed`, `out_of_memory`, `pty_setup_failed` or `other`.
        errno: the error number of Linux, if there is one.
        errno_name: its name, such as `ENOENT`.
        stage: the failed step, such as `execve` or `chdir`.
    """

    code = "exec-failed"

    def __init__(
        self,
        message: str,
        *,
        kind: str = "other",
        errno: int | None = None,
        errno_name: str | None = None,
        stage: str | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(message, **rest)
        self.kind = kind
        self.errno = errno
        self.errno_name = errno_name
        self.stage = stage


class ExecTimeout(TimedOut):
    """A command was ended at its timeout.

    Attributes:
        timeout: the timeout, in seconds.
        stdout: the standard output until then.
        stderr: the standard error until then.
    """

    code = "exec-timeout"

    def __init__(self, message: str, *, timeout: float, stdout: bytes = b"", stderr: bytes = b"", **rest: Any) -> None:
        super().__init__(message, **rest)
        self.timeout = timeout
        self.stdout = stdout
        self.stderr = stderr


class FileError(MsbError, OSError):
    """The guest refused a file operation.

    Attributes:
        kind: the reason: `not_found`, `permission_denied`, `already_exists`, `not_directory`, `is_directory`,
            `directory_not_empty`, `no_space`, `read_only`, `wrong_kind`, `bad_request`, `no_such_user`, `busy` or
            `other`.
        path: the path in the guest.
        errno: the error number of Linux, if there is one.
        errno_name: its name, such as `ENOSPC`.
    """

    code = "file-failed"

    def __init__(
        self,
        message: str,
        *,
        kind: str = "other",
        path: str | None = None,
        errno: int | None = None,
        errno_name: str | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(message, **rest)
        self.kind = kind
        self.path = path
        self.errno = errno
        self.errno_name = errno_name


class PathNotFound(FileError, FileNotFoundError):
    """There is no such file in the guest."""

    code = "path-not-found"


_CLASSES: dict[str, type[MsbError]] = {
    kind.code: kind
    for kind in (
        Mismatch,
        TimedOut,
        Locked,
        SandboxNotFound,
        VolumeNotFound,
        ImageNotFound,
        SnapshotNotFound,
        JobNotFound,
        SandboxExists,
        VolumeExists,
        SnapshotExists,
        SandboxRunning,
        InUse,
        SandboxNotRunning,
        SandboxPaused,
        Unsupported,
        Unresponsive,
        UsageError,
        SuffixTooBroad,
        MissedRotation,
        InvalidCursor,
    )
}


def from_report(report: Any, *, exit_code: int | None = None) -> MsbError:
    """Builds the error of a report of `msb`: `{code, message, causes, hint, name}`.

    An unknown code is kept as the `code` of a plain `MsbError`.
    """
    if not isinstance(report, dict):
        report = {}
    code = report.get("code")
    code = code if isinstance(code, str) else "failed"
    causes = report.get("causes")
    hint, name = report.get("hint"), report.get("name")
    return _CLASSES.get(code, MsbError)(
        str(report.get("message") or "msb failed"),
        code=code,
        causes=tuple(str(cause) for cause in causes) if isinstance(causes, list) else (),
        hint=hint if isinstance(hint, str) else None,
        name=name if isinstance(name, str) else None,
        exit_code=exit_code,
    )
