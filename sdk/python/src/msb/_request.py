"""Checks the arguments of a command, and builds its request."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PIPE", "UNLIMITED", "Rlimit", "build_request", "check_args", "check_timeout", "limits_of"]


class _Pipe:
    def __repr__(self) -> str:
        return "msb.PIPE"


#: Keeps the standard input of a command open, for `process.stdin`.
PIPE = _Pipe()

#: A limit of the protocol that is none.
UNLIMITED = (1 << 64) - 1


@dataclass(frozen=True)
class Rlimit:
    """A resource limit of a command, or of every process of a sandbox.

    `resource` is a name in lower case without `RLIMIT_`, such as `nofile`, `nproc`, `as` or `cpu`. `soft` and `hard`
    are in the unit of the resource; `hard` is the same as `soft` unless given, and None means unlimited.
    """

    resource: str
    soft: int | None
    hard: int | None = -1

    def wire(self) -> dict[str, Any]:
        """Returns the limit as the protocol has it."""
        if not isinstance(self.resource, str) or not self.resource:
            raise TypeError("the resource of an rlimit must be a text such as 'nofile'")
        hard = self.soft if self.hard == -1 else self.hard
        values = {"soft": self.soft, "hard": hard}
        for name, value in values.items():
            if value is None:
                values[name] = UNLIMITED
            elif not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"the {name} limit of {self.resource!r} must be an int or None")
            elif not 0 <= value <= UNLIMITED:
                raise ValueError(f"the {name} limit of {self.resource!r} must be from 0 to 2^64-1")
        return {"resource": self.resource, **values}


def check_args(cmd: Any, args: Any) -> tuple[str, list[str]]:
    """Checks the program and its arguments."""
    if not isinstance(cmd, (str, os.PathLike)):
        raise TypeError(f"cmd must be a str, not {type(cmd).__name__}; the arguments belong into args")
    if isinstance(args, (str, bytes)):
        raise TypeError("args must be a list of str, not one str")
    cmd = os.fspath(cmd)
    args = [os.fspath(arg) if isinstance(arg, os.PathLike) else arg for arg in (() if args is None else args)]
    for arg in (cmd, *args):
        if not isinstance(arg, str):
            raise TypeError(f"args must be a list of str, but it contains {type(arg).__name__}")
        if "\0" in arg:
            raise ValueError("an argument of a command must not contain NUL")
    if not cmd:
        raise ValueError("cmd is empty")
    return cmd, args


def check_timeout(timeout: Any, name: str = "timeout") -> float | None:
    """Checks a number of seconds; None and infinity are no timeout."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(timeout).__name__}")
    if math.isnan(timeout) or timeout < 0:
        raise ValueError(f"{name} must not be negative")
    return None if math.isinf(timeout) else float(timeout)


def build_request(
    cmd: Any,
    args: Any,
    *,
    cwd: Any = None,
    user: Any = None,
    env: Mapping[str, str] | None = None,
    tty: bool = False,
    rows: int = 24,
    cols: int = 80,
    rlimits: Iterable[Rlimit] | Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the payload of `core.exec.request`; raises TypeError and ValueError for wrong arguments."""
    cmd, args = check_args(cmd, args)
    request: dict[str, Any] = {
        "cmd": cmd,
        "args": args,
        "env": [],
        "tty": bool(tty),
        "rows": check_size(rows, "rows"),
        "cols": check_size(cols, "cols"),
        "rlimits": [limit.wire() for limit in limits_of(rlimits, "rlimits")],
        "stdin_acks": True,
        "output_acks": True,
        "report_signal": True,
    }
    if cwd is not None:
        request["cwd"] = _text(os.fspath(cwd), "cwd")
    if user is not None:
        request["user"] = str(user) if isinstance(user, int) else _text(user, "user")
    if env is not None:
        if not isinstance(env, Mapping):
            raise TypeError("env must be a mapping of str to str")
        for name, value in env.items():
            if not name or "=" in _text(name, "a name in env"):
                raise ValueError(f"{name!r} is not a name of an environment variable")
            request["env"].append(f"{name}={_text(value, f'the value of {name} in env')}")
    return request


def check_size(value: Any, name: str) -> int:
    """Checks a number of rows or columns."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int")
    if not 1 <= value <= 65535:
        raise ValueError(f"{name} must be from 1 to 65535")
    return value


def limits_of(value: Any, name: str) -> list[Rlimit]:
    """Returns limits from a dict of resource to limit, or a list of `Rlimit`."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        pairs = ((key, limit if isinstance(limit, (tuple, list)) else (limit,)) for key, limit in value.items())
        return [Rlimit(key, *limit) for key, limit in pairs]
    limits = list(value)
    if not all(isinstance(limit, Rlimit) for limit in limits):
        raise TypeError(f"{name} must be a list of Rlimit, or a dict such as {{'nofile': 1024}}")
    return limits


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{name} must not contain NUL")
    return value
