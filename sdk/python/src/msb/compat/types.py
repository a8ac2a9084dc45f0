"""The values, enums and dicts of `microsandbox.types`."""

# The names are absolute, so that a second import of this file as `microsandbox.types` has the same classes.
from msb.compat import _contracts, _enums, _mounts, _network, _rules, _secrets, _values
from msb.compat._contracts import *  # noqa: F403
from msb.compat._enums import *  # noqa: F403
from msb.compat._mounts import *  # noqa: F403
from msb.compat._network import *  # noqa: F403
from msb.compat._rules import *  # noqa: F403
from msb.compat._secrets import *  # noqa: F403
from msb.compat._values import *  # noqa: F403

__all__ = [name for room in (_contracts, _enums, _mounts, _network, _rules, _secrets, _values) for name in room.__all__]


def __getattr__(name: str) -> object:
    if name == "Image":
        # Not at the top: the functions of images need this module.
        from msb.compat._images import Image

        return Image
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
