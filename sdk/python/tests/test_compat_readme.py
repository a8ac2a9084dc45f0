"""Row 19 of the judging set: the examples in the README of the published package, as they are."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import textwrap
import unittest
from typing import Any
from unittest import mock

from .compat_support import CompatTest, published_readme
from .support import needs_vm

from microsandbox import Sandbox, UnsupportedError  # isort: skip

#: Examples with these words need a feature that `msb` does not have.
UNSUPPORTED = {
    "fork(": "the copy of a running sandbox",
    "ScopedUpstreamCACert(": "settings of TLS for some hosts",
    "Storage.": "the disk usage of everything",
}
#: An example with this word follows a file that grows forever.
ENDLESS = '"tail"'


def blocks() -> list[str]:
    """Returns the examples in Python."""
    return re.findall(r"```python\n(.*?)```", published_readme(), re.S)


def function_of(block: str) -> Any:
    """Compiles an example as the body of an async function, which has a `sandbox`."""
    # A complete program brings its own loop.
    block = re.sub(r"asyncio\.run\((.*)\)", r"await \1", block)
    # Later examples use the imports of the first one.
    namespace: dict[str, Any] = {"Sandbox": Sandbox}
    exec(compile(f"async def run(sandbox):\n{textwrap.indent(block, '    ')}", "README", "exec"), namespace)
    return namespace["run"]


@needs_vm
class Row19(CompatTest):
    """sdk/python/README.md: its examples, read from the published package."""

    async def asyncSetUp(self) -> None:
        blocks()
        work = tempfile.TemporaryDirectory(prefix="msb-t-")
        self.addCleanup(work.cleanup)
        before = os.getcwd()
        os.chdir(work.name)
        self.addCleanup(os.chdir, before)
        with open("local-file.txt", "w") as file:
            file.write("local")
        environment = mock.patch.dict(os.environ, OPENAI_API_KEY="hush")
        environment.start()
        self.addCleanup(environment.stop)
        printing = mock.patch("builtins.print")
        printing.start()
        self.addCleanup(printing.stop)
        self.sandbox = await self.create("readme")
        await self.sandbox.shell("echo out > /tmp/output.txt")

    async def run_block(self, block: str) -> None:
        try:
            await asyncio.wait_for(function_of(block)(self.sandbox), 60)
        finally:
            for handle in await Sandbox.list():
                if handle.name != self.sandbox.name:
                    await handle.destroy(force=True)

    async def test_examples(self) -> None:
        count = 0
        for block in blocks():
            if ENDLESS in block or any(word in block for word in UNSUPPORTED):
                continue
            with self.subTest(block.splitlines()[0:3]):
                await self.run_block(block)
                count += 1
        self.assertEqual(count, 11)

    async def test_examples_of_unsupported_features_say_so(self) -> None:
        for block in blocks():
            if any(word in block for word in UNSUPPORTED):
                with self.subTest(block.splitlines()[0:3]), self.assertRaises(UnsupportedError):
                    await self.run_block(block)

    @unittest.expectedFailure
    async def test_the_other_examples(self) -> None:
        """`msb` has no fork, no TLS settings for some hosts and no Storage; one never ends."""
        for block in blocks():
            if any(word in block for word in UNSUPPORTED):
                await self.run_block(block)


if __name__ == "__main__":
    unittest.main()
