"""The errors of `microsandbox`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "CloudHttpError",
    "CompatibilityWarning",
    "ExecFailedError",
    "ExecTimeoutError",
    "FilesystemError",
    "ImageInUseError",
    "ImageNotFoundError",
    "ImagePullFailedError",
    "InvalidConfigError",
    "InvalidCursorError",
    "IoError",
    "JobError",
    "MetricsDisabledError",
    "MetricsUnavailableError",
    "MicrosandboxError",
    "MissedRotationError",
    "NetworkPolicyError",
    "NoDefaultCommandError",
    "PathNotFoundError",
    "PublishedSnapshotArtifact",
    "RuntimeIncompleteError",
    "RuntimeNotInstalledError",
    "SandboxAlreadyExistsError",
    "SandboxNotFoundError",
    "SandboxNotRunningError",
    "SandboxReplacedError",
    "SandboxStillRunningError",
    "SandboxStopTimedOutError",
    "SecretViolationError",
    "SnapshotMigrationError",
    "SnapshotNotFoundError",
    "SnapshotSourceRecoveryError",
    "StopTimeoutError",
    "TlsError",
    "UnsupportedError",
    "UnsupportedOperationError",
    "VolumeNotFoundError",
]


class CompatibilityWarning(UserWarning):
    """A setting was accepted although it has no effect with `msb`."""


class MicrosandboxError(Exception):
    """The base of all errors. `hint` says what to do about it, if something is known to help."""

    code: str = "microsandbox-error"
    hint: str | None = None


class RuntimeNotInstalledError(MicrosandboxError):
    """There is no `msb`."""

    code = "runtime-not-installed"


class RuntimeIncompleteError(MicrosandboxError):
    """A part of the runtime is missing."""

    code = "runtime-incomplete"


class InvalidConfigError(MicrosandboxError):
    """The configuration of a sandbox is invalid."""

    code = "invalid-config"


class NoDefaultCommandError(MicrosandboxError):
    """The sandbox has no default command."""

    code = "no-default-command"


class CloudHttpError(MicrosandboxError):
    """A request to the cloud failed."""

    code = "cloud-http"


class SandboxNotFoundError(MicrosandboxError):
    """There is no sandbox of this name."""

    code = "sandbox-not-found"


class SandboxNotRunningError(MicrosandboxError):
    """The sandbox does not run."""

    code = "sandbox-not-running"


class SandboxAlreadyExistsError(MicrosandboxError):
    """The name of the new sandbox is taken."""

    code = "sandbox-already-exists"


class SandboxReplacedError(MicrosandboxError):
    """Another sandbox has the name of the handle now."""

    code = "sandbox-replaced"


class SandboxStillRunningError(MicrosandboxError):
    """The operation needs the sandbox stopped."""

    code = "sandbox-still-running"


class SandboxStopTimedOutError(MicrosandboxError):
    """The sandbox was not stopped in time, and may still stop."""

    code = "sandbox-stop-timed-out"


class ExecTimeoutError(MicrosandboxError):
    """A command was ended at its timeout.

    Attributes:
        timeout: the timeout, in seconds.
        stdout, stderr: the output until then.
    """

    code = "exec-timeout"
    timeout: float | None = None
    stdout: bytes = b""
    stderr: bytes = b""


class ExecFailedError(MicrosandboxError):
    """A command could not be started.

    Attributes:
        kind: the reason, such as `not_found` or `bad_cwd`.
        errno, errno_name: the error number of Linux, and its name.
        stage: the failed step, such as `execve`.
    """

    code = "exec-failed"
    kind: str = "other"
    errno: int | None = None
    errno_name: str | None = None
    stage: str | None = None


class FilesystemError(MicrosandboxError):
    """The guest refused a file operation."""

    code = "filesystem-error"


class PathNotFoundError(MicrosandboxError):
    """There is no such file in the guest."""

    code = "path-not-found"


class VolumeNotFoundError(MicrosandboxError):
    """There is no volume of this name."""

    code = "volume-not-found"


class ImageNotFoundError(MicrosandboxError):
    """There is no such image."""

    code = "image-not-found"


class ImageInUseError(MicrosandboxError):
    """A sandbox uses the image."""

    code = "image-in-use"


class ImagePullFailedError(MicrosandboxError):
    """An image could not be pulled."""

    code = "image-pull-failed"


class NetworkPolicyError(MicrosandboxError):
    """A network policy is invalid."""

    code = "network-policy-error"


class SecretViolationError(MicrosandboxError):
    """A secret was sent to a host that may not receive it."""

    code = "secret-violation"


class TlsError(MicrosandboxError):
    """The interception of TLS failed."""

    code = "tls-error"


class IoError(MicrosandboxError):
    """The host refused an operation on files."""

    code = "io-error"


class MetricsDisabledError(MicrosandboxError):
    """The sandbox has no metrics."""

    code = "metrics-disabled"


class MetricsUnavailableError(MicrosandboxError):
    """There are no metrics of this run."""

    code = "metrics-unavailable"


class UnsupportedOperationError(MicrosandboxError):
    """`msb`, or the guest's agent, does not support an operation."""

    code = "unsupported-operation"


class UnsupportedError(MicrosandboxError):
    """`msb` does not support a feature."""

    code = "unsupported"


class SnapshotMigrationError(MicrosandboxError):
    """A snapshot of an older release could not be migrated."""

    code = "snapshot-migration"


class StopTimeoutError(MicrosandboxError, TimeoutError):
    """A shutdown did not complete in time."""

    code = "stop-timeout"


class SnapshotNotFoundError(MicrosandboxError, FileNotFoundError):
    """There is no snapshot of this name; `microsandbox` raises `FileNotFoundError` for it."""

    code = "snapshot-not-found"


class MissedRotationError(MicrosandboxError):
    """Log entries after the cursor were removed by rotation; `microsandbox` raises the base class for it."""

    code = "missed-rotation"
    dropped_from_offset: int | None = None


class InvalidCursorError(MicrosandboxError):
    """A text is not a cursor of this log; `microsandbox` raises the base class for it."""

    code = "invalid-cursor"


@dataclass(frozen=True)
class PublishedSnapshotArtifact:
    """A snapshot that was completed before an error."""

    kind: Literal["installed", "archive"]
    path: str
    snapshot_id: str
    digest: str


class SnapshotSourceRecoveryError(MicrosandboxError):
    """A snapshot was taken, and its sandbox needs a recovery. `msb` never raises it."""

    code = "snapshot-source-recovery"

    def __init__(
        self,
        message: str,
        *,
        source_sandbox: str,
        checkpoint_id: str,
        checkpoint_root: str,
        checkpoint_path: str,
        artifact: dict[str, Any] | None,
        detail: str,
        publication_error: str | None,
    ) -> None:
        super().__init__(message)
        self.source_sandbox = source_sandbox
        self.checkpoint_id = checkpoint_id
        self.checkpoint_root = checkpoint_root
        self.checkpoint_path = checkpoint_path
        self.artifact = None if artifact is None else PublishedSnapshotArtifact(**artifact)
        self.detail = detail
        self.publication_error = publication_error


class JobError(MicrosandboxError):
    """A job was refused or has failed."""

    def __init__(self, code: str, message: str, job_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.job_id = job_id
