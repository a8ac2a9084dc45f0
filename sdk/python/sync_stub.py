"""Writes `src/msb/sync.pyi`, the types of `msb.sync`, from those of `msb`.

    sync_stub.py [--check]

With `--check` it writes nothing, and exits with 1 if the file is not current.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

import msb  # noqa: E402
from msb import sync  # noqa: E402

STUB = Path(sync.__file__).with_suffix(".pyi")
#: The attributes that are set in `__init__`.
ATTRIBUTES = {
    "Client": {"volumes": "Volumes", "images": "Images", "snapshots": "Snapshots"},
    "Sandbox": {
        "client": "Client",
        "name": "str",
        "status": "str",
        "labels": "dict[str, str]",
        "ports": "_List[Port]",
        "owned": "bool",
        "ephemeral": "bool",
        "details": "dict[str, Any]",
        "agent_socket": "str",
    },
    "Process": {
        "pid": "int",
        "tty": "bool",
        "status": "ExitStatus | None",
        "stdin": "ProcessInput | None",
        "stdout": "ProcessOutput",
        "stderr": "ProcessOutput",
    },
    "FileReader": {"stat": "FileStat | None"},
    "Project": {"folder": "str"},
    "ProjectRun": {"summary": "dict[str, Any] | None"},
}
HEAD = """# Written by sync_stub.py from the types of `msb`.
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msb._relay import CONNECT_TIMEOUT as CONNECT_TIMEOUT

"""


def types(text: str) -> str:
    """Returns an annotation without what is asynchronous."""
    text = text.strip("'")
    text = re.sub(r"Opening\[(\w+)\]", r"\1", text)
    text = re.sub(r"\bAsyncIterator\b", "Iterator", text)
    text = re.sub(r"\blist\[", "_List[", text)
    return text.replace("_Sandboxes", "_List[Sandbox]")


def signature(function: object, name: str) -> str:
    parts = []
    star = False
    for parameter in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        kind = parameter.kind
        if kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(kind, "")
        star = star or kind is parameter.VAR_POSITIONAL
        text = prefix + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {types(str(parameter.annotation))}"
        if parameter.default is not parameter.empty:
            text += " = ..."
        parts.append(text)
    result = types(str(inspect.signature(function).return_annotation))  # type: ignore[arg-type]
    return f"    def {name}({', '.join(parts)}) -> {result}: ..."


def class_of(core: type) -> list[str]:
    lines = [f"class {core.__name__}:"]
    lines += [f"    {name}: {kind}" for name, kind in ATTRIBUTES.get(core.__name__, {}).items()]
    if core is msb.Client:
        lines.append(signature(core.__init__, "__init__"))
    for name in dir(core):
        original = inspect.getattr_static(core, name)
        if name == "__aiter__":
            result = types(str(inspect.signature(original).return_annotation))
            lines.append(f"    def __iter__(self) -> {result}: ...")
        elif name == "__aenter__":
            lines.append(f"    def __enter__(self) -> {core.__name__}: ...")
            lines.append("    def __exit__(self, *exception: Any) -> None: ...")
        elif name.startswith("_"):
            continue
        elif isinstance(original, property):
            result = types(str(inspect.signature(original.fget).return_annotation))  # type: ignore[arg-type]
            lines += ["    @property", f"    def {name}(self) -> {result}: ..."]
        elif isinstance(original, (classmethod, staticmethod)):
            kind = "classmethod" if isinstance(original, classmethod) else "staticmethod"
            if name not in ("connectSandbox", "socketPath"):
                lines += [f"    @{kind}", signature(original.__func__, name)]
        elif inspect.isfunction(original):
            lines.append(signature(original, name))
    return lines


def main() -> int:
    classes = ["\n".join(class_of(core)) for core in sorted(sync._FACADES, key=lambda core: core.__name__)]
    own = {core.__name__ for core in sync._FACADES} | {"default_client", "Opening", "SandboxPage"}
    shared = [f"from msb import {name} as {name}\n" for name in sorted(set(msb.__all__) - own)]
    stub = (
        HEAD
        + "".join(shared)
        + "\n_List = list\n\n"
        + "\n\n".join(classes)
        + "\n\nclass SandboxPage(_List[Sandbox]):\n    next_cursor: str | None\n\ndef default_client() -> Client: ...\n"
    )
    if "--check" in sys.argv[1:]:
        if STUB.read_text(encoding="utf-8") == stub:
            return 0
        print(f"{STUB} is not current; run sync_stub.py", file=sys.stderr)
        return 1
    STUB.write_text(stub, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
