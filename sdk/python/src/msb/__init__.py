"""microVM sandboxes from Python.

    import asyncio, msb

    async def main():
        async with msb.Client().create("dev", image="alpine", ephemeral=True) as sandbox:
            output = await sandbox.exec("uname", ["-a"])
            print(output.stdout_text)

    asyncio.run(main())

`msb.sync` has the same names without `await`.
"""

from . import errors
from ._opening import Opening
from ._relay import Ready
from ._request import PIPE, Rlimit
from .agent import (
    FLAG_SESSION_START,
    FLAG_SHUTDOWN,
    FLAG_TERMINAL,
    AgentClient,
    AgentStream,
    Frame,
    Message,
)
from .client import Client, SandboxPage, default_client
from .errors import *  # noqa: F403
from .files import FileReader, Files, FileStat, FileWriter, FsEntry
from .logs import LogEntry, LogStream
from .metrics import MetricsStream, SandboxMetrics
from .options import Mount, Network, Port, Secret
from .process import ExecEvent, ExecOutput, ExitStatus, Process
from .project import Plan, Project, ProjectRun
from .sandbox import Sandbox
from .storage import Image, Images, Snapshot, Snapshots, Volume, Volumes
from .streams import ProcessInput, ProcessOutput

__version__ = "0.1.0"

__all__ = [
    "FLAG_SESSION_START",
    "FLAG_SHUTDOWN",
    "FLAG_TERMINAL",
    "PIPE",
    "AgentClient",
    "AgentStream",
    "Client",
    "ExecEvent",
    "ExecOutput",
    "ExitStatus",
    "FileReader",
    "FileStat",
    "FileWriter",
    "Files",
    "Frame",
    "FsEntry",
    "Image",
    "Images",
    "LogEntry",
    "LogStream",
    "Message",
    "MetricsStream",
    "Mount",
    "Network",
    "Opening",
    "Plan",
    "Port",
    "Process",
    "ProcessInput",
    "ProcessOutput",
    "Project",
    "ProjectRun",
    "Ready",
    "Rlimit",
    "Sandbox",
    "SandboxMetrics",
    "SandboxPage",
    "Secret",
    "Snapshot",
    "Snapshots",
    "Volume",
    "Volumes",
    "default_client",
    "errors",
]
__all__ += errors.__all__
