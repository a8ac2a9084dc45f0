"""The raw tier, as `microsandbox.agent` has it."""

from msb.compat._agent import (
    FLAG_SESSION_START,
    FLAG_SHUTDOWN,
    FLAG_TERMINAL,
    AgentClient,
    AgentStream,
    RawFrame,
)

__all__ = [
    "FLAG_SESSION_START",
    "FLAG_SHUTDOWN",
    "FLAG_TERMINAL",
    "AgentClient",
    "AgentStream",
    "RawFrame",
]
