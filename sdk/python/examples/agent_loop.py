"""Runs generated code in a sandbox: no network but one host, a time limit, and only its files come out.

    agent_loop.py [IMAGE]

A real agent would ask a model for the next program; this one has three prepared: one that works, one that never ends,
and one that tries to reach a host that is not allowed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import msb

#: The only host that generated code may connect to.
ALLOWED_HOST = "api.example.org"
#: The longest run of one program, in seconds.
TIME_LIMIT = 5.0
#: The most output that goes back to the model, in bytes.
OUTPUT_LIMIT = 1024 * 1024

PROGRAMS = [
    "mkdir -p /work/out && echo 'the answer is 42' > /work/out/answer.txt && echo done",
    "echo thinking; while :; do :; done",
    "ping -c 1 -W 1 192.0.2.1",
]


async def run_program(sandbox: msb.Sandbox, program: str) -> str:
    """Runs one program, and returns what the model is told about it."""
    await sandbox.fs.write("/work/program.sh", program, parents=True)
    try:
        output = await sandbox.exec(
            "sh", ["/work/program.sh"], cwd="/work", timeout=TIME_LIMIT, max_output=OUTPUT_LIMIT
        )
    except msb.ExecTimeout as error:
        return f"ended after {error.timeout:g} s; it wrote {error.stdout.decode(errors='replace')!r}"
    except msb.MsbError as error:
        return f"{error.code}: {error}"
    return f"exit code {output.exit_code}; it wrote {output.stdout_text + output.stderr_text!r}"


async def main() -> None:
    image = sys.argv[1] if len(sys.argv) > 1 else "alpine"
    client = msb.Client()
    async with client.create(
        f"agent-{os.getpid()}",
        image=image,
        memory=256,
        network=msb.Network.only(ALLOWED_HOST),
        max_duration=600,
        ephemeral=True,
    ) as sandbox:
        for number, program in enumerate(PROGRAMS, 1):
            print(f"program {number}: {await run_program(sandbox, program)}")
        with tempfile.TemporaryDirectory() as folder:
            await sandbox.fs.copy_to_host("/work/out", folder)
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file():
                    print(f"{path.relative_to(folder)}: {path.read_text().strip()}")


if __name__ == "__main__":
    asyncio.run(main())
