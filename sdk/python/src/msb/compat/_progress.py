"""The creation of a sandbox with its progress. `msb` reports less of it: no layers, and no bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from ._enums import PullEventType

__all__ = ["PullComplete", "PullEvent", "PullProgressIter", "PullSession", "Resolved", "Resolving"]


@dataclass(frozen=True)
class PullEvent:
    """An event of a creation."""

    event_type: PullEventType
    phase: str | None = None
    completed_bytes: int | None = None
    reference: str | None = None
    manifest_digest: str | None = None
    layer_count: int | None = None
    total_download_bytes: int | None = None
    layer_index: int | None = None
    digest: str | None = None
    diff_id: str | None = None
    downloaded_bytes: int | None = None
    total_bytes: int | None = None
    bytes_read: int | None = None


# The kinds of events in releases before 0.6, which told them apart by class.


class Resolving(PullEvent):
    """The event `resolving`."""


class Resolved(PullEvent):
    """The event `resolved`."""


class PullComplete(PullEvent):
    """The event `complete`."""


class PullSession:
    """A creation that runs: `progress` iterates over its events, and `result` waits for the sandbox."""

    def __init__(self, reference: str, creation: asyncio.Future[Any]) -> None:
        self._creation = creation
        self.progress = PullProgressIter(reference, creation)

    async def result(self) -> Any:
        """Waits for the sandbox, and returns it."""
        return await asyncio.shield(self._creation)

    def cancel(self) -> None:
        """Ends the creation."""
        self._creation.cancel()

    async def __aenter__(self) -> PullSession:
        return self

    async def __aexit__(self, *_exception: Any) -> bool:
        if not self._creation.done():
            self.cancel()
            await asyncio.wait([self._creation])
        return False


class PullProgressIter:
    """The events of a creation, for `async for`."""

    def __init__(self, reference: str, creation: asyncio.Future[Any]) -> None:
        self._events = self._iterate(reference, creation)

    async def _iterate(self, reference: str, creation: asyncio.Future[Any]) -> AsyncIterator[PullEvent]:
        yield Resolving(PullEventType.RESOLVING, reference=reference)
        await asyncio.wait([creation])
        if not creation.cancelled() and creation.exception() is None:
            yield Resolved(PullEventType.RESOLVED, reference=reference)
            yield PullComplete(PullEventType.COMPLETE, reference=reference)

    def __aiter__(self) -> PullProgressIter:
        return self

    async def __anext__(self) -> PullEvent:
        return await self._events.__anext__()
