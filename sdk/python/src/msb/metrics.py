"""The metrics of running sandboxes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from ._cli import JsonLines
from .errors import MsbError, SandboxNotRunning

__all__ = ["MetricsStream", "SandboxMetrics"]


@dataclass(frozen=True)
class SandboxMetrics:
    """The metrics of one sandbox.

    Attributes:
        name: its name.
        timestamp_ms: the time of the measurement, in milliseconds since 1970.
        uptime_ms: the time since its start, in milliseconds.
        cpu_percent: its use of processors since the measurement before; 100 is one processor.
        cpu_ms: the processor time since its start, in milliseconds.
        vcpus: its virtual processors.
        memory_bytes, memory_limit_bytes: the memory that it takes of the host, and may take.
        disk_read_bytes, disk_write_bytes, net_rx_bytes, net_tx_bytes: counted since its start.
        paused: whether it is paused.
        fields: all fields of `msb metrics --json`.
    """

    name: str
    timestamp_ms: float
    uptime_ms: int
    cpu_percent: float | None
    cpu_ms: int
    vcpus: int
    memory_bytes: int
    memory_limit_bytes: int
    disk_read_bytes: int
    disk_write_bytes: int
    net_rx_bytes: int
    net_tx_bytes: int
    paused: bool
    fields: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, entry: Any) -> SandboxMetrics:
        """Builds the metrics of an entry of `msb metrics --json`."""
        try:
            return cls(
                entry["full_name"],
                time.time() * 1000 - (entry.get("age_ms") or 0),
                entry.get("uptime_ms") or 0,
                entry.get("cpu_percent"),
                entry.get("cpu_ms") or 0,
                entry.get("vcpus") or 0,
                entry.get("memory_bytes") or 0,
                entry.get("memory_limit_bytes") or 0,
                entry.get("disk_read_bytes") or 0,
                entry.get("disk_written_bytes") or 0,
                entry.get("net_received_bytes") or 0,
                entry.get("net_sent_bytes") or 0,
                bool(entry.get("paused")),
                entry,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise MsbError(f"msb printed metrics that are none: {error!r}") from error


class MetricsStream:
    """Metrics again and again; close it, or use `async with`."""

    def __init__(self, lines: JsonLines, name: str) -> None:
        self._lines = lines
        self._name = name

    async def next(self) -> SandboxMetrics | None:
        """Returns the next metrics; None when the sandbox has ended."""
        while (document := await self._lines.next()) is not None:
            entries = document.get("sandboxes") or []
            if entries:
                return SandboxMetrics.of(entries[0])
            if document.get("missing"):
                await self.close()
                return None
        return None

    async def close(self) -> None:
        """Ends the stream."""
        await self._lines.close()

    async def __aiter__(self) -> AsyncIterator[SandboxMetrics]:
        while (metrics := await self.next()) is not None:
            yield metrics

    async def __aenter__(self) -> MetricsStream:
        return self

    async def __aexit__(self, *_exception: Any) -> None:
        await self.close()


def metrics_of(document: Any, name: str) -> SandboxMetrics:
    """Returns the metrics of the only sandbox; raises `SandboxNotRunning` if there are none."""
    entries = document.get("sandboxes") if isinstance(document, dict) else None
    if not entries:
        raise SandboxNotRunning(f"{name} has no metrics: it does not run, or has just started", name=name)
    return SandboxMetrics.of(entries[0])
