"""What the tests share: the vectors, the fake relay, and whether there is a VM."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

CONFORMANCE = Path(__file__).resolve().parents[2] / "conformance"
sys.path.insert(0, str(CONFORMANCE))

needs_kit = unittest.skipUnless(CONFORMANCE.is_dir(), "the conformance kit is not here")
needs_vm = unittest.skipUnless(os.environ.get("MSB") and os.environ.get("MSB_IMAGE"), "MSB and MSB_IMAGE are not set")


def vectors() -> dict[str, Any]:
    return json.loads((CONFORMANCE / "vectors.json").read_text(encoding="utf-8"))


def decode(value: Any) -> Any:
    """Returns the value of JSON with `$hex`, `$int` and `$float`."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    for key, of in (("$hex", bytes.fromhex), ("$int", int), ("$float", float)):
        if key in value:
            return of(value[key])
    return {key: decode(item) for key, item in value.items()}


class WithFolder:
    """A mix-in with a short temporary folder: paths of sockets are limited."""

    folder: Path

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="msb-t-"))
        self.addCleanup(shutil.rmtree, self.folder, True)  # type: ignore[attr-defined]

    def relay(self, scenario: str) -> Any:
        from fake_relay import FakeRelay

        relay = FakeRelay(scenario, str(self.folder / "relay.sock"))
        self.addCleanup(relay.close)  # type: ignore[attr-defined]
        return relay

    def fake_msb(self, body: str) -> str:
        """Writes a shell script in place of `msb`, and returns its path."""
        path = self.folder / "msb"
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)
