"""The events of commands and pulls, as `microsandbox.events` has them."""

from msb.compat._enums import ExecEventType, PullEventType
from msb.compat._exec import ExecEvent, ExitedEvent, StartedEvent, StderrEvent, StdoutEvent
from msb.compat._progress import PullComplete, PullEvent, Resolved, Resolving

__all__ = [
    "ExecEvent",
    "ExecEventType",
    "ExitedEvent",
    "PullComplete",
    "PullEvent",
    "PullEventType",
    "Resolved",
    "Resolving",
    "StartedEvent",
    "StderrEvent",
    "StdoutEvent",
]
