"""The typed dicts that calls take and return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, Union

from ._enums import (
    ChangeKind,
    ModificationDisposition,
    ModificationPolicy,
    PlannedChangeKind,
    ResourceConvergenceState,
    ResourceKind,
    SandboxStatus,
    SecretChangeKind,
    ViolationAction,
)
from ._secrets import SecretSubstitution
from ._values import Rlimit, Stdin

__all__ = [
    "ConfigPlannedChange",
    "DiskCompactionDiskResult",
    "DiskCompactionResult",
    "ExecOptions",
    "InitOptions",
    "ModificationConflict",
    "ModificationWarning",
    "PlannedChange",
    "RawFrame",
    "ResourceResizeStatus",
    "SandboxModificationPlan",
    "SecretModifySpec",
    "SecretPlannedChange",
]


class _InitProgram(TypedDict):
    cmd: str


class InitOptions(_InitProgram, total=False):
    """The dict form of `InitConfig`."""

    args: list[str]
    env: dict[str, str]


class ExecOptions(TypedDict, total=False):
    """The dict that the exec methods take in place of a list of arguments."""

    args: list[str]
    cwd: str
    user: str
    env: Mapping[str, str]
    timeout: float
    stdin: Union[Stdin, bytes]
    stdin_data: bytes
    tty: bool
    rlimits: list[Rlimit]


class SecretModifySpec(TypedDict, total=False):
    """A secret for `modify`."""

    env: str
    value: str
    store: str
    placeholder: str
    allowed_hosts: list[str]
    substitution: SecretSubstitution
    violation_action: ViolationAction
    require_tls_identity: bool
    allow_placeholder_for: Sequence[str]
    passthrough: Sequence[str]


class DiskCompactionDiskResult(TypedDict):
    """The compaction of one disk."""

    guest_path: str
    input_layers: int
    selected_layers: int
    output_layers: int
    materialized_bytes: int
    total_us: int


class DiskCompactionResult(TypedDict):
    """The compaction of the disks of a sandbox."""

    dry_run: bool
    input_layers: int
    selected_layers: int
    output_layers: int
    materialized_bytes: int
    total_us: int
    pause_us: int
    disks: list[DiskCompactionDiskResult]


class ModificationConflict(TypedDict):
    """A reason that prevents a modification."""

    field: str
    message: str


class ModificationWarning(TypedDict):
    """A note about a modification."""

    field: str
    message: str


class ResourceResizeStatus(TypedDict):
    """The progress of a resize."""

    resource: ResourceKind
    requested: str
    actual: str
    enforced: str
    state: ResourceConvergenceState


class _ConfigChange(TypedDict):
    kind: Literal[PlannedChangeKind.CONFIG]
    field: str
    change: ChangeKind
    disposition: ModificationDisposition


class ConfigPlannedChange(_ConfigChange, total=False):
    """A planned change of a setting."""

    before: str
    after: str
    reason: str


class _SecretChange(TypedDict):
    kind: Literal[PlannedChangeKind.SECRET]
    field: str
    name: str
    change: SecretChangeKind
    disposition: ModificationDisposition


class SecretPlannedChange(_SecretChange, total=False):
    """A planned change of a secret, without its value."""

    before_ref: str
    after_ref: str
    allow_hosts: list[str]
    reason: str


PlannedChange = Union[ConfigPlannedChange, SecretPlannedChange]


class _Plan(TypedDict):
    sandbox: str
    status: SandboxStatus
    applied: bool
    policy: ModificationPolicy
    changes: list[Any]
    conflicts: list[ModificationConflict]
    warnings: list[ModificationWarning]


class SandboxModificationPlan(_Plan, total=False):
    """The changes of a `modify` call, planned or applied."""

    resize_status: list[ResourceResizeStatus]


class RawFrame(TypedDict):
    """A frame of the relay: `body` is CBOR."""

    id: int
    flags: int
    body: bytes
