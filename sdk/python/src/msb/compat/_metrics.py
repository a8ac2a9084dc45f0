"""The metrics of sandboxes."""

from __future__ import annotations

from dataclasses import dataclass

from .. import errors as native
from .._opening import Opening
from ..client import default_client
from ..metrics import MetricsStream as NativeStream
from ..metrics import SandboxMetrics as NativeMetrics
from ..sandbox import Sandbox as NativeSandbox
from ._translate import translate, translated

__all__ = ["MetricsStream", "SandboxMetrics", "all_sandbox_metrics", "open_stream"]


@dataclass(frozen=True)
class SandboxMetrics:
    """The metrics of a sandbox. `msb` does not measure those that are always None."""

    cpu_percent: float
    vcpu_time_ns: int
    memory_bytes: int
    memory_available_bytes: int | None
    memory_host_resident_bytes: int | None
    memory_limit_bytes: int
    disk_read_bytes: int
    disk_write_bytes: int
    net_rx_bytes: int
    net_tx_bytes: int
    upper_used_bytes: int | None
    upper_free_bytes: int | None
    upper_host_allocated_bytes: int | None
    uptime_ms: int
    timestamp_ms: float

    @classmethod
    def _of(cls, metrics: NativeMetrics) -> SandboxMetrics:
        return cls(
            cpu_percent=float(metrics.cpu_percent or 0.0),
            vcpu_time_ns=metrics.cpu_ms * 1_000_000,
            memory_bytes=metrics.memory_bytes,
            memory_available_bytes=None,
            memory_host_resident_bytes=metrics.memory_bytes,
            memory_limit_bytes=metrics.memory_limit_bytes,
            disk_read_bytes=metrics.disk_read_bytes,
            disk_write_bytes=metrics.disk_write_bytes,
            net_rx_bytes=metrics.net_rx_bytes,
            net_tx_bytes=metrics.net_tx_bytes,
            upper_used_bytes=None,
            upper_free_bytes=None,
            upper_host_allocated_bytes=None,
            uptime_ms=metrics.uptime_ms,
            timestamp_ms=metrics.timestamp_ms,
        )


class MetricsStream:
    """Metrics again and again, until the sandbox ends, for `async for`."""

    def __init__(self, stream: NativeStream, name: str) -> None:
        self._stream = stream
        self._subject = name

    def __aiter__(self) -> MetricsStream:
        return self

    async def __anext__(self) -> SandboxMetrics:
        try:
            metrics = await self._stream.next()
        except native.MsbError as error:
            raise translate(error, self._subject) from error
        if metrics is None:
            raise StopAsyncIteration
        return SandboxMetrics._of(metrics)

    async def close(self) -> None:
        """Ends the stream."""
        await self._stream.close()

    def __del__(self) -> None:
        # `microsandbox` has no `close`: programs leave the loop, and drop the stream.
        self._stream._lines.abandon()

    async def __aenter__(self) -> MetricsStream:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()


def open_stream(sandbox: NativeSandbox, interval: float) -> Opening[MetricsStream]:
    """Returns a stream that can be awaited, as in `microsandbox`, or iterated at once."""
    opening = sandbox.metrics_stream(interval)

    async def start() -> MetricsStream:
        try:
            return MetricsStream(await opening, sandbox.name)
        except native.MsbError as error:
            raise translate(error, sandbox.name) from error

    return Opening(start)


@translated
async def all_sandbox_metrics() -> dict[str, SandboxMetrics]:
    """Returns the metrics of all running sandboxes, by name."""
    found = await default_client().all_metrics()
    return {name: SandboxMetrics._of(metrics) for name, metrics in found.items()}
