"""The paths of the runtime, as `microsandbox.setup` has them."""

from msb.compat._runtime_setup import (
    InstallOptions,
    ResolvedRuntime,
    RuntimeConfig,
    RuntimeOrigin,
    ensure_runtime,
    install_runtime,
    is_runtime_installed,
    resolve_runtime,
)

__all__ = [
    "InstallOptions",
    "ResolvedRuntime",
    "RuntimeConfig",
    "RuntimeOrigin",
    "ensure_runtime",
    "install_runtime",
    "is_runtime_installed",
    "resolve_runtime",
]
