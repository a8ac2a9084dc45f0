"""An operation that can be awaited, entered with `async with`, or iterated with `async for`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

__all__ = ["Opening"]

T = TypeVar("T")


class Opening(Generic[T]):
    """The start of a stream, which happens when it is awaited, entered or iterated.

    `await` returns the object; `async with` also closes it at the end of the block; `async for` does so at the end of
    the iteration. These are the same:

        async for entry in sandbox.log_stream(): ...
        async for entry in await sandbox.log_stream(): ...
    """

    def __init__(self, start: Callable[[], Awaitable[T]]) -> None:
        self._start = start
        self._entered: T | None = None

    def __await__(self) -> Generator[Any, None, T]:
        return self._start().__await__()

    async def __aenter__(self) -> T:
        self._entered = await self._start()
        await self._entered.__aenter__()  # type: ignore[attr-defined]
        return self._entered

    async def __aexit__(self, *exception: Any) -> None:
        entered, self._entered = self._entered, None
        await entered.__aexit__(*exception)  # type: ignore[union-attr]

    async def __aiter__(self) -> AsyncIterator[Any]:
        opened = await self._start()
        async with opened:  # type: ignore[attr-defined]
            async for item in opened:  # type: ignore[attr-defined]
                yield item
