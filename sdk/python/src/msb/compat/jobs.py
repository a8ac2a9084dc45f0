"""The values of jobs, as `microsandbox.jobs` has them."""

from msb.compat._runtime_setup import (
    JobEvent,
    JobExit,
    JobInfo,
    JobLogEntry,
    JobPage,
    JobState,
)

__all__ = [
    "JobEvent",
    "JobExit",
    "JobInfo",
    "JobLogEntry",
    "JobPage",
    "JobState",
]
