"""The path of `msb`, as `microsandbox._runtime` has it."""

from pathlib import Path

from msb.compat._runtime_setup import resolve_runtime

__all__ = ["msb_path"]


def msb_path() -> Path:
    """Returns the path of `msb`; raises `RuntimeNotInstalledError`."""
    return Path(resolve_runtime().msb_path)
