"""Turns the errors of `msb` into those of `microsandbox`, with its texts."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .. import errors as native
from . import _errors as errors

__all__ = ["translate", "translated", "unsupported", "without_effect"]

Call = TypeVar("Call", bound=Callable[..., Coroutine[Any, Any, Any]])

#: The texts of Linux for the reasons of refused file operations.
_FILE_REASONS = {
    "not_found": "No such file or directory",
    "permission_denied": "Permission denied",
    "already_exists": "File exists",
    "not_directory": "Not a directory",
    "is_directory": "Is a directory",
    "directory_not_empty": "Directory not empty",
    "no_space": "No space left on device",
    "read_only": "Read-only file system",
    "busy": "Device or resource busy",
}

#: The classes and first words of errors that name their subject.
_NAMED: dict[type[native.MsbError], tuple[type[errors.MicrosandboxError], str]] = {
    native.SandboxNotFound: (errors.SandboxNotFoundError, "sandbox not found"),
    native.SandboxExists: (errors.SandboxAlreadyExistsError, "sandbox already exists"),
    native.SandboxRunning: (errors.SandboxStillRunningError, "sandbox still running"),
    native.VolumeNotFound: (errors.VolumeNotFoundError, "volume not found"),
    native.VolumeExists: (errors.MicrosandboxError, "volume already exists"),
    native.ImageNotFound: (errors.ImageNotFoundError, "image not found"),
    native.SnapshotNotFound: (errors.SnapshotNotFoundError, "snapshot not found"),
    native.SnapshotExists: (errors.MicrosandboxError, "snapshot already exists"),
}

#: The classes and first words of errors that keep the text of `msb`.
_PREFIXED: dict[type[native.MsbError], tuple[type[errors.MicrosandboxError], str]] = {
    native.UsageError: (errors.InvalidConfigError, "invalid config: "),
    native.Unsupported: (errors.UnsupportedOperationError, ""),
    native.MsbNotFound: (errors.RuntimeNotInstalledError, ""),
    native.InvalidCursor: (errors.InvalidCursorError, "invalid log cursor: "),
    native.ConnectionLost: (errors.MicrosandboxError, "agent client error: "),
    native.HandshakeFailed: (errors.MicrosandboxError, "agent client error: "),
    native.ProtocolError: (errors.MicrosandboxError, "agent client error: "),
    native.Closed: (errors.MicrosandboxError, "agent client error: "),
    native.IdsExhausted: (errors.MicrosandboxError, "agent client error: "),
}


def translate(error: native.MsbError, name: str | None = None) -> errors.MicrosandboxError:
    """Returns the error of `microsandbox` for an error of `msb`; `name` is what it is about, if `msb` does not say."""
    translated = _translate(error, error.name or name)
    translated.hint = error.hint
    if error.hint and type(error) not in _NAMED:
        translated.args = (f"{translated.args[0]} (hint: {error.hint})",)
    return translated


def _translate(error: native.MsbError, name: str | None) -> errors.MicrosandboxError:
    text = ": ".join((error.message, *error.causes))
    if isinstance(error, native.ExecTimeout):
        timeout = errors.ExecTimeoutError(f"exec timed out after {duration(error.timeout)}")
        timeout.timeout, timeout.stdout, timeout.stderr = error.timeout, error.stdout, error.stderr
        return timeout
    if isinstance(error, native.ExecFailed):
        failed = errors.ExecFailedError(f"exec failed: {error.message}")
        failed.kind, failed.stage = error.kind, error.stage
        failed.errno, failed.errno_name = error.errno, error.errno_name
        return failed
    if isinstance(error, native.FileError):
        reason = _FILE_REASONS.get(error.kind)
        return errors.FilesystemError("sandbox fs error: " + (f"{reason}: {text}" if reason else text))
    if isinstance(error, (native.SandboxNotRunning, native.SandboxPaused)):
        state = "paused" if isinstance(error, native.SandboxPaused) else "stopped"
        return errors.SandboxNotRunningError(f"'{name}' is not running (status: {state})" if name else text)
    if isinstance(error, native.MissedRotation):
        number = error.dropped_from_offset
        where = "" if number is None else f" (dropped from offset {number})"
        missed = errors.MissedRotationError(f"log stream missed rotation{where}")
        missed.dropped_from_offset = number
        return missed
    for kind, (target, words) in _NAMED.items():
        if isinstance(error, kind):
            return target(f"{words}: {name}" if name else text)
    for kind, (target, words) in _PREFIXED.items():
        if isinstance(error, kind):
            return target(words + text)
    if error.message.startswith(("cannot read the image", "cannot pull")):
        return errors.ImagePullFailedError(f"image error: {text}")
    return errors.MicrosandboxError(text)


def duration(seconds: float) -> str:
    """Writes a duration as `microsandbox` does: `30s`, `1.5s`, `200ms`."""
    return f"{seconds:g}s" if seconds >= 1 or seconds == 0 else f"{seconds * 1000:g}ms"


def translated(call: Call) -> Call:
    """Wraps an async function so that it raises errors of `microsandbox`.

    A method of an object with a `_subject` names it in the errors.
    """

    @functools.wraps(call)
    async def wrapper(*args: Any, **options: Any) -> Any:
        try:
            return await call(*args, **options)
        except native.MsbError as error:
            raise translate(error, getattr(args[0], "_subject", None) if args else None) from error

    return wrapper  # type: ignore[return-value]


def unsupported(what: str, instead: str) -> errors.UnsupportedError:
    """Returns the error for a feature that `msb` does not have; `instead` is what to do."""
    error = errors.UnsupportedError(f"msb does not support {what}; {instead}")
    error.hint = instead
    return error


def without_effect(what: str) -> None:
    """Warns of a setting that is only recorded."""
    warnings.warn(f"{what} has no effect with msb; it is only recorded", errors.CompatibilityWarning, stacklevel=4)
