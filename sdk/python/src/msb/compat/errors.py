"""The errors of `microsandbox.errors`."""

from msb.compat import _errors
from msb.compat._errors import *  # noqa: F403

__all__ = _errors.__all__
