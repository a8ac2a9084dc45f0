"""The names, signatures, errors and texts of the Python package `microsandbox`, for `msb`.

    from msb.compat import Sandbox          # instead of: from microsandbox import Sandbox

A program that cannot be changed finds it after `sys.modules["microsandbox"] = msb.compat`. COMPAT.md says what differs.
"""

from . import (
    _contracts,
    _enums,
    _errors,
    _mounts,
    _network,
    _rules,
    _runtime_setup,
    _secrets,
    _values,
    agent,
    errors,
    events,
    jobs,
    setup,
    types,
)
from ._agent import FLAG_SESSION_START, FLAG_SHUTDOWN, FLAG_TERMINAL, AgentClient, AgentStream
from ._contracts import *  # noqa: F403
from ._enums import *  # noqa: F403
from ._errors import *  # noqa: F403
from ._exec import ExecEvent, ExecHandle, ExecOutput, ExecSink, ExitedEvent, StartedEvent, StderrEvent, StdoutEvent
from ._files import FsEntry, FsMetadata, FsReadStream, FsWriteSink, SandboxFsOps
from ._handle import SandboxHandle, SandboxPage
from ._images import Image, ImageConfigDetail, ImageDetail, ImageHandle, ImageLayerDetail, ImagePruneReport
from ._lifecycle import SandboxPingResult, SandboxStopResult, SandboxTouchResult
from ._logs import LogEntry, LogStream
from ._metrics import MetricsStream, SandboxMetrics, all_sandbox_metrics
from ._mounts import *  # noqa: F403
from ._network import *  # noqa: F403
from ._progress import PullComplete, PullEvent, PullSession, Resolved, Resolving
from ._rules import *  # noqa: F403
from ._runtime_setup import *  # noqa: F403
from ._sandbox import Sandbox
from ._secrets import *  # noqa: F403
from ._snapshots import (
    ExternalMountWarning,
    ForkOutcome,
    Snapshot,
    SnapshotArchive,
    SnapshotCopyBuilder,
    SnapshotHandle,
)
from ._values import *  # noqa: F403
from ._volumes import Volume, VolumeFs, VolumeHandle

BranchOutcome = ForkOutcome
# The names of releases before 0.6.
SandboxFs = SandboxFsOps
SandboxSsh = _runtime_setup.SandboxSshOps
PullProgress = PullEvent

__all__ = [
    "FLAG_SESSION_START",
    "FLAG_SHUTDOWN",
    "FLAG_TERMINAL",
    "AgentClient",
    "AgentStream",
    "BranchOutcome",
    "ExecEvent",
    "ExecHandle",
    "ExecOutput",
    "ExecSink",
    "ExitedEvent",
    "ExternalMountWarning",
    "ForkOutcome",
    "FsEntry",
    "FsMetadata",
    "FsReadStream",
    "FsWriteSink",
    "Image",
    "ImageConfigDetail",
    "ImageDetail",
    "ImageHandle",
    "ImageLayerDetail",
    "ImagePruneReport",
    "LogEntry",
    "LogStream",
    "MetricsStream",
    "PullComplete",
    "PullEvent",
    "PullProgress",
    "PullSession",
    "Resolved",
    "Resolving",
    "Sandbox",
    "SandboxFs",
    "SandboxFsOps",
    "SandboxHandle",
    "SandboxMetrics",
    "SandboxPage",
    "SandboxPingResult",
    "SandboxSsh",
    "SandboxStopResult",
    "SandboxTouchResult",
    "Snapshot",
    "SnapshotArchive",
    "SnapshotCopyBuilder",
    "SnapshotHandle",
    "StartedEvent",
    "StderrEvent",
    "StdoutEvent",
    "Volume",
    "VolumeFs",
    "VolumeHandle",
    "agent",
    "all_sandbox_metrics",
    "errors",
    "events",
    "jobs",
    "setup",
    "types",
]
__all__ += _contracts.__all__
__all__ += _enums.__all__
__all__ += _errors.__all__
__all__ += _mounts.__all__
__all__ += _network.__all__
__all__ += _rules.__all__
__all__ += _runtime_setup.__all__
__all__ += _secrets.__all__
__all__ += _values.__all__
