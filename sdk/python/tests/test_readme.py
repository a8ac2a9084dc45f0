"""Runs every example of README.md and COMPAT.md, and `examples/agent_loop.py`, with MSB_IMAGE in place of `alpine`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

import msb

from .support import needs_vm

ROOT = Path(__file__).resolve().parents[1]
#: What the examples that are no programs are in.
FRAME = """
import asyncio
import msb

async def main():
    client = msb.Client()
    async with client.create("readme", image="alpine", ephemeral=True) as sandbox:
{}

asyncio.run(main())
"""


def blocks(page: str = "README.md") -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)


@needs_vm
class Readme(unittest.TestCase):
    def setUp(self) -> None:
        home = tempfile.TemporaryDirectory(prefix="msb-t-")
        self.addCleanup(home.cleanup)
        self.image = os.environ["MSB_IMAGE"]
        self.folder = Path(home.name)
        package = Path(msb.__file__).parents[1]
        self.env = {**os.environ, "MSB_HOME": str(self.folder / "h"), "PYTHONPATH": str(package)}
        project = self.folder / "examples" / "project"
        project.mkdir(parents=True)
        text = (ROOT / "examples" / "project" / "Sandboxfile").read_text(encoding="utf-8")
        (project / "Sandboxfile").write_text(text.replace('"alpine"', f'"{self.image}"'), encoding="utf-8")

    def run_program(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-X", "dev", *arguments],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertNotIn("ResourceWarning", done.stderr)
        return done.stdout

    def test_examples(self) -> None:
        outputs = []
        for number, block in enumerate(blocks(), 1):
            program = (
                block
                if re.search(r"^(async )?(def|with) ", block, re.M) and "import" in block
                else FRAME.format(textwrap.indent(block, "        "))
            )
            with self.subTest(number):
                outputs.append(self.run_program("-c", program.replace('"alpine"', repr(self.image))))
        self.assertEqual(outputs[0], "hello from a sandbox\n")
        self.assertEqual(outputs[1], "Linux\n")

    def test_programs_for_microsandbox(self) -> None:
        programs = [block.replace('"alpine"', repr(self.image)) for block in blocks("COMPAT.md")]
        outputs = [self.run_program("-c", program) for program in programs]
        self.assertEqual(outputs, ["hello from a sandbox\n", "b'one\\n'\n"])

    def test_agent_loop(self) -> None:
        output = self.run_program(str(ROOT / "examples" / "agent_loop.py"), self.image)
        self.assertIn("program 1: exit code 0", output)
        self.assertIn("program 2: ended after 5 s; it wrote 'thinking\\n'", output)
        self.assertIn("answer.txt: the answer is 42", output)


if __name__ == "__main__":
    unittest.main()
