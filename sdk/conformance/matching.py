"""Patterns of expectations, and variables in steps, as README.md describes them."""

from __future__ import annotations

import re
from typing import Any

_MISSING = object()


def mismatch(pattern: Any, value: Any, at: str = "") -> str | None:
    """Returns why the value does not match the pattern; None if it does."""
    where = at or "the answer"
    if isinstance(pattern, dict):
        if pattern and all(key.startswith("$") and key not in ("$hex", "$int", "$float") for key in pattern):
            for operator, argument in pattern.items():
                why = _operator(operator, argument, value, where)
                if why:
                    return why
            return None
        if not isinstance(value, dict):
            return f"{where} is {value!r}, not an object"
        for key, expected in pattern.items():
            why = mismatch(expected, value.get(key, _MISSING), f"{at}.{key}" if at else key)
            if why:
                return why
        return None
    if value is _MISSING:
        return None if pattern is None else f"{where} is missing"
    if isinstance(pattern, list):
        if not isinstance(value, list) or len(value) != len(pattern):
            return f"{where} is not a list of {len(pattern)}"
        for index, (expected, item) in enumerate(zip(pattern, value)):
            why = mismatch(expected, item, f"{where}.{index}")
            if why:
                return why
        return None
    if pattern != value or isinstance(pattern, bool) != isinstance(value, bool):
        return f"{where} is {value!r}, not {pattern!r}"
    return None


def _operator(operator: str, argument: Any, value: Any, where: str) -> str | None:
    present = value is not _MISSING and value is not None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if operator == "$any":
        passes = present
    elif operator == "$absent":
        passes = not present
    elif operator == "$contains":
        passes = isinstance(value, str) and argument in value
    elif operator == "$matches":
        passes = isinstance(value, str) and re.search(argument, value) is not None
    elif operator == "$gte":
        passes = number and value >= argument
    elif operator == "$lte":
        passes = number and value <= argument
    elif operator == "$count":
        passes = isinstance(value, list) and len(value) == argument
    elif operator == "$has":
        items = value if isinstance(value, list) else []
        passes = all(any(mismatch(pattern, item) is None for item in items) for pattern in argument)
    elif operator == "$not":
        passes = mismatch(argument, value) is not None
    elif operator == "$one_of":
        passes = any(mismatch(pattern, value) is None for pattern in argument)
    else:
        raise ValueError(f"there is no operator {operator}")
    if passes:
        return None
    return f"{where} is {value!r}, not {operator} {argument!r}" if value is not _MISSING else f"{where} is missing"


def substitute(value: Any, variables: dict[str, Any]) -> Any:
    """Replaces `${name}` in all texts; a text that is only a variable becomes its value."""
    if isinstance(value, dict):
        return {key: substitute(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, variables) for item in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\$\{(\w+)\}", value)
    if whole and whole[1] in variables:
        return variables[whole[1]]
    return re.sub(r"\$\{(\w+)\}", lambda found: str(variables.get(found[1], found[0])), value)


def pick(value: Any, path: str) -> Any:
    """Returns the value at a path such as `ports.0.host`."""
    for key in path.split("."):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value
