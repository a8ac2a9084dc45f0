"""The enums of `microsandbox`. Each member is a str, and equal to its value."""

from __future__ import annotations

import enum
from typing import Any

__all__ = [
    "Action",
    "BackendKind",
    "ChangeKind",
    "CpuPlacement",
    "DeploymentProfile",
    "DestGroup",
    "Direction",
    "DiskImageFormat",
    "ExecEventType",
    "FlatClone",
    "FsEntryKind",
    "GuestFlush",
    "HostPermissions",
    "ImageArchiveFormat",
    "ImageSourceKind",
    "LogLevel",
    "LogReadSource",
    "LogSource",
    "ModificationDisposition",
    "ModificationPolicy",
    "MountKind",
    "NamedVolumeMode",
    "NetworkDestinationKind",
    "NetworkProfile",
    "PatchKind",
    "PlannedChangeKind",
    "PortProtocol",
    "Protocol",
    "PullEventType",
    "PullPolicy",
    "ResourceConvergenceState",
    "ResourceKind",
    "RlimitResource",
    "RootDiskKind",
    "SandboxStatus",
    "SecretChangeKind",
    "SecurityProfile",
    "SnapshotFormat",
    "SnapshotScope",
    "SnapshotStateKind",
    "StatVirtualization",
    "StdinMode",
    "StrEnum",
    "ViolationAction",
    "VolumeKind",
    "VsockSocketType",
]


class StrEnum(str, enum.Enum):
    """`enum.StrEnum`, which Python 3.10 lacks: `str()` and `format()` of a member are its value."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)


def enum_value(value: Any, expected: type[enum.Enum], field: str) -> str:
    """Returns the value of a member; raises TypeError for anything else, even a str that is equal to a member."""
    if not isinstance(value, expected):
        raise TypeError(f"{field} must be {expected.__name__}")
    return str(value.value)


def optional_enum_value(value: Any, expected: type[enum.Enum], field: str) -> str | None:
    """Returns the value of a member, or None."""
    return None if value is None else enum_value(value, expected, field)


class PullPolicy(StrEnum):
    """The policy for querying registries."""

    ALWAYS = "always"
    IF_MISSING = "if-missing"
    NEVER = "never"


class CpuPlacement(StrEnum):
    """The placement of the threads of virtual processors on the host."""

    INHERIT = "inherit"
    AUTO = "auto"
    SPREAD = "spread"
    COMPACT = "compact"


class LogLevel(StrEnum):
    """The verbosity of the runtime's own log."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class SecurityProfile(StrEnum):
    """The rights of a sandbox in its own kernel."""

    DEFAULT = "default"
    RESTRICTED = "restricted"


class DeploymentProfile(StrEnum):
    """The isolation of tenants on the host."""

    SINGLE_TENANT = "single-tenant"
    MULTI_TENANT = "multi-tenant"


class SandboxStatus(StrEnum):
    """The state of a sandbox."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    CRASHED = "crashed"
    DRAINING = "draining"
    PAUSED = "paused"


class BackendKind(StrEnum):
    """The kind of a back end."""

    LOCAL = "local"
    CLOUD = "cloud"


class ModificationPolicy(StrEnum):
    """The time at which a modification may take effect."""

    NO_RESTART = "no_restart"
    NEXT_START = "next_start"
    RESTART = "restart"


class PlannedChangeKind(StrEnum):
    """The subject of a planned change."""

    CONFIG = "config"
    SECRET = "secret"


class ChangeKind(StrEnum):
    """The kind of change of a setting."""

    ADDED = "added"
    UPDATED = "updated"
    REMOVED = "removed"


class SecretChangeKind(StrEnum):
    """The kind of change of a secret."""

    ADDED = "added"
    ROTATED = "rotated"
    REMOVED = "removed"
    RENAMED = "renamed"
    HOSTS_UPDATED = "hosts updated"
    PLACEHOLDER_UPDATED = "placeholder updated"


class ModificationDisposition(StrEnum):
    """The time at which a planned change takes effect, if it does."""

    LIVE = "live"
    NEXT_START = "next start"
    REQUIRES_RESTART = "requires restart"
    UNSUPPORTED = "unsupported"


class ResourceKind(StrEnum):
    """A resource that can be resized."""

    CPUS = "cpus"
    MEMORY = "memory"


class ResourceConvergenceState(StrEnum):
    """The progress of a resize."""

    ACCEPTED = "accepted"
    CONVERGING = "converging"
    APPLIED = "applied"
    GUEST_REFUSED = "guest-refused"
    FAILED = "failed"


class StdinMode(StrEnum):
    """The source of the standard input of a command."""

    NULL = "null"
    PIPE = "pipe"
    BYTES = "bytes"


class ExecEventType(StrEnum):
    """The kind of an event of a command."""

    STARTED = "started"
    STDOUT = "stdout"
    STDERR = "stderr"
    EXITED = "exited"
    FAILED = "failed"
    STDIN_ERROR = "stdin_error"


class PullEventType(StrEnum):
    """The kind of an event of a pull."""

    STARTUP = "startup"
    RESOLVING = "resolving"
    RESOLVED = "resolved"
    LAYER_DOWNLOAD_PROGRESS = "layer_download_progress"
    LAYER_DOWNLOAD_COMPLETE = "layer_download_complete"
    LAYER_DOWNLOAD_VERIFYING = "layer_download_verifying"
    LAYER_MATERIALIZE_STARTED = "layer_materialize_started"
    LAYER_MATERIALIZE_PROGRESS = "layer_materialize_progress"
    LAYER_MATERIALIZE_WRITING = "layer_materialize_writing"
    LAYER_MATERIALIZE_COMPLETE = "layer_materialize_complete"
    STITCH_MERGING_TREES = "stitch_merging_trees"
    STITCH_WRITING_FSMETA = "stitch_writing_fsmeta"
    STITCH_WRITING_VMDK = "stitch_writing_vmdk"
    STITCH_COMPLETE = "stitch_complete"
    COMPLETE = "complete"


class Action(StrEnum):
    """The action of a network rule."""

    ALLOW = "allow"
    DENY = "deny"


class Direction(StrEnum):
    """The direction of a connection."""

    EGRESS = "egress"
    INGRESS = "ingress"
    ANY = "any"


class Protocol(StrEnum):
    """A protocol of a network rule."""

    TCP = "tcp"
    UDP = "udp"
    ICMPV4 = "icmpv4"
    ICMPV6 = "icmpv6"


class PortProtocol(StrEnum):
    """The protocol of a published port."""

    TCP = "tcp"
    UDP = "udp"


class VsockSocketType(StrEnum):
    """The type of a vsock socket."""

    STREAM = "stream"
    DGRAM = "dgram"


class DestGroup(StrEnum):
    """A group of addresses."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    LINK_LOCAL = "link-local"
    METADATA = "metadata"
    MULTICAST = "multicast"
    HOST = "host"


class NetworkProfile(StrEnum):
    """A group of addresses that a profile opens."""

    PUBLIC = "public"
    PRIVATE = "private"
    HOST = "host"


class ViolationAction(StrEnum):
    """The action when a secret is sent to another host. `PASSTHROUGH` is of releases before 0.7."""

    BLOCK = "block"
    BLOCK_AND_LOG = "block-and-log"
    BLOCK_AND_TERMINATE = "block-and-terminate"
    PASSTHROUGH = "passthrough"


class MountKind(StrEnum):
    """The kind of a mount."""

    BIND = "bind"
    NAMED = "named"
    OWNED = "owned"
    TMPFS = "tmpfs"
    DISK = "disk"


class StatVirtualization(StrEnum):
    """The storage of owners and modes of a mount's files."""

    STRICT = "strict"
    RELAXED = "relaxed"
    OFF = "off"


class HostPermissions(StrEnum):
    """The modes of a mount's files on the host."""

    PRIVATE = "private"
    MIRROR = "mirror"


class FsEntryKind(StrEnum):
    """The kind of a file."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"


class DiskImageFormat(StrEnum):
    """The format of a disk image."""

    QCOW2 = "qcow2"
    RAW = "raw"
    VMDK = "vmdk"


class VolumeKind(StrEnum):
    """The kind of a volume."""

    DIRECTORY = "dir"
    DISK = "disk"


class NamedVolumeMode(StrEnum):
    """The expected state of a named volume."""

    EXISTING = "existing"
    CREATE = "create"
    ENSURE_EXISTS = "ensure-exists"


class ImageArchiveFormat(StrEnum):
    """The format of an archive of images."""

    DOCKER = "docker"
    OCI = "oci"


class RootDiskKind(StrEnum):
    """The kind of a root disk."""

    MANAGED = "managed"
    TMPFS = "tmpfs"
    DISK_IMAGE = "disk-image"
    FLAT = "flat"


class FlatClone(StrEnum):
    """The way in which a flat root disk is copied."""

    AUTO = "auto"
    COPY = "copy"
    REFLINK = "reflink"


class ImageSourceKind(StrEnum):
    """The kind of source of a root file system."""

    OCI = "oci"
    BIND = "bind"
    DISK = "disk"


class PatchKind(StrEnum):
    """The kind of a patch."""

    TEXT = "text"
    FILE = "file"
    MKDIR = "mkdir"
    APPEND = "append"
    COPY_FILE = "copy_file"
    COPY_DIR = "copy_dir"
    SYMLINK = "symlink"
    REMOVE = "remove"


class NetworkDestinationKind(StrEnum):
    """The kind of a destination."""

    ANY = "any"
    IP = "ip"
    CIDR = "cidr"
    DOMAIN = "domain"
    DOMAIN_SUFFIX = "domain_suffix"
    GROUP = "group"


class SnapshotStateKind(StrEnum):
    """The kind of state in a snapshot."""

    FILE = "file"
    CHECKPOINT = "checkpoint"


class SnapshotFormat(StrEnum):
    """The format of the disk of a snapshot."""

    RAW = "raw"
    QCOW2 = "qcow2"


class GuestFlush(StrEnum):
    """The policy for writing back the caches of the guest first."""

    AUTO = "auto"
    REQUIRED = "required"
    SKIP = "skip"


class SnapshotScope(StrEnum):
    """The scope of a snapshot: the disk, or the memory too."""

    DISK = "disk"
    FULL = "full"


class RlimitResource(StrEnum):
    """A resource limit of a process."""

    CPU = "cpu"
    FSIZE = "fsize"
    DATA = "data"
    STACK = "stack"
    CORE = "core"
    RSS = "rss"
    NPROC = "nproc"
    NOFILE = "nofile"
    MEMLOCK = "memlock"
    AS = "as"
    LOCKS = "locks"
    SIGPENDING = "sigpending"
    MSGQUEUE = "msgqueue"
    NICE = "nice"
    RTPRIO = "rtprio"
    RTTIME = "rttime"


class LogSource(StrEnum):
    """The source of a log entry."""

    STDOUT = "stdout"
    STDERR = "stderr"
    OUTPUT = "output"
    SYSTEM = "system"


class LogReadSource(StrEnum):
    """A source of log entries to read."""

    STDOUT = "stdout"
    STDERR = "stderr"
    OUTPUT = "output"
    SYSTEM = "system"
    ALL = "all"
