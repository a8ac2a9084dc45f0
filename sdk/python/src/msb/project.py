"""Projects: the sandboxes of a Sandboxfile."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._cli import JsonLines, failure
from ._opening import Opening
from .errors import MsbError
from .options import duration

if TYPE_CHECKING:
    from .client import Client
    from .sandbox import Sandbox

__all__ = ["Plan", "Project", "ProjectRun"]


@dataclass(frozen=True)
class Plan:
    """What `up` would do.

    Attributes:
        project: the name of the project.
        changes: one dict for each sandbox, with `name`, `action` (`create`, `unchanged`, …), `reason`, `drift` and
            `fields`.
        steps: the steps by name, with what each ensures and which steps it is after.
        document: all that `msb plan --json` prints.
    """

    project: str
    changes: list[dict[str, Any]]
    steps: dict[str, Any]
    document: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.steps


class ProjectRun:
    """A running `up` or `down`: its events, as dicts with `event` and further keys.

    `async for` iterates over the events, and raises the failure at the end; `wait` returns the last event.
    """

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines
        #: The last event, whose kind is `finished`, after the end.
        self.summary: dict[str, Any] | None = None

    async def next(self) -> dict[str, Any] | None:
        """Returns the next event; None at the end. Raises the failure of `msb` after the last event."""
        event: dict[str, Any] | None = await self._lines.next(check=False)
        if event is not None:
            if event.get("event") == "finished":
                self.summary = event
            return event
        if self._lines.exit_code:
            raise self._failure()
        return None

    def _failure(self) -> MsbError:
        error = self._lines.failure()
        report = (self.summary or {}).get("error")
        if error.code != "failed" or not isinstance(report, dict):
            return error
        return failure(self._lines.exit_code or 1, f"error: {report.get('message')}".encode(), None)

    async def wait(self) -> dict[str, Any]:
        """Waits for the end; returns the last event, or raises the failure."""
        async for _ in self:
            pass
        return self.summary or {}

    async def close(self) -> None:
        """Interrupts it unless it has ended."""
        await self._lines.close()

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        while (event := await self.next()) is not None:
            yield event

    async def __aenter__(self) -> ProjectRun:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        await self.close()


class Project:
    """The project of a folder or of a Sandboxfile. Paths are relative to the working directory of this program."""

    def __init__(self, client: Client, path: str | os.PathLike[str] = ".", *, name: str | None = None) -> None:
        self._client = client
        absolute = os.path.abspath(os.fspath(path))
        self.folder = absolute if os.path.isdir(absolute) else os.path.dirname(absolute)
        self._options = [] if os.path.isdir(absolute) else [f"--file={absolute}"]
        if name is not None:
            self._options.append(f"--project={name}")

    async def plan(self, *sandboxes: str, trust: bool = False, frozen: bool = False) -> Plan:
        """Returns what `up` would do.

        Args:
            sandboxes: only these sandboxes, and those that they depend on.
            trust: allows the Sandboxfile to reach beyond its folder this time; raises `Mismatch` without it if it does.
            frozen: raises `Mismatch` unless the lock file pins every image.
        """
        flags = [*(["--trust"] if trust else []), *(["--frozen"] if frozen else [])]
        document = await self._client._cli.json([*self._options, "plan", *flags, *sandboxes], cwd=self.folder)
        plan, report = document["plan"], document["report"]
        return Plan(plan["project"], list(report["changes"]), dict(plan["steps"]), document)

    def up(
        self,
        *sandboxes: str,
        trust: bool = False,
        wait: bool = True,
        wait_timeout: float | None = None,
        approve_losses: bool = False,
    ) -> Opening[ProjectRun]:
        """Creates, updates and starts the sandboxes; await it for the `ProjectRun`, or iterate over its events.

        Args:
            sandboxes: only these, and those that they depend on.
            trust: allows the Sandboxfile to reach beyond its folder this time.
            wait: waits until all sandboxes are healthy, or running if they have no health check.
            wait_timeout: the most seconds of this wait; raises `TimedOut` after it.
            approve_losses: applies a plan that destroys data.
        """
        flags = ["up", "--json", *(["--trust"] if trust else []), *(["--yes"] if approve_losses else [])]
        limit = duration(wait_timeout, "wait_timeout")
        flags += [f"--wait-timeout={limit}"] if limit else ["--wait"] if wait else []
        return self._run([*flags, *sandboxes])

    def down(self, *sandboxes: str, volumes: bool = False, timeout: float | None = None) -> Opening[ProjectRun]:
        """Stops and removes the sandboxes; with `volumes`, removes volumes with their contents too.

        `timeout` is the time in seconds for a guest to shut down before it is killed, 10 by default.
        """
        flags = ["down", "--json", *(["--volumes", "--yes"] if volumes else [])]
        limit = duration(timeout, "timeout")
        return self._run([*flags, *([f"--timeout={limit}"] if limit else []), *sandboxes])

    def _run(self, arguments: list[str]) -> Opening[ProjectRun]:
        async def start() -> ProjectRun:
            return ProjectRun(await JsonLines.start(self._client._cli, [*self._options, *arguments], cwd=self.folder))

        return Opening(start)

    async def sandboxes(self) -> list[Sandbox]:
        """Returns the sandboxes of the project that exist."""
        document = await self._client._cli.json([*self._options, "ps"], cwd=self.folder)
        return await self._client._sandboxes(document["sandboxes"])
