"""What needs a VM and is not a step of the conformance kit. Set MSB and MSB_IMAGE."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from datetime import datetime, timedelta, timezone

import msb
from msb import sync

from .support import needs_vm

GONE = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f 2>/dev/null | grep -q '^sleep 7777' && exit 1; done; exit 0"


@needs_vm
class Vm(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.home = tempfile.TemporaryDirectory(prefix="msb-t-")
        cls.image = os.environ["MSB_IMAGE"]
        with sync.Client(home=cls.home.name) as client:
            client.create("a", image=cls.image, memory=512)

    @classmethod
    def tearDownClass(cls) -> None:
        with sync.Client(home=cls.home.name) as client:
            client.remove("a", force=True)
        cls.home.cleanup()

    async def asyncSetUp(self) -> None:
        self.client = msb.Client(home=self.home.name)
        self.sandbox = await self.client.get("a")
        self.addAsyncCleanup(self.sandbox.close)

    async def test_a_cancelled_command_is_gone_within_a_second(self) -> None:
        for options in ({}, {"stdin": b"x" * 1000}):
            waiting = asyncio.ensure_future(self.sandbox.exec("sleep", ["7777"], **options))
            await asyncio.sleep(1)
            self.assertEqual((await self.sandbox.shell(GONE)).exit_code, 1)
            began = time.monotonic()
            waiting.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await waiting
            while not (await self.sandbox.shell(GONE)).success:
                self.assertLess(time.monotonic() - began, 5)
                await asyncio.sleep(0.05)

    async def test_many_commands_at_once(self) -> None:
        count = int(os.environ.get("MSB_TEST_EXECS", "200"))
        results = await asyncio.gather(*(self.sandbox.exec("echo", [str(n)]) for n in range(count)))
        self.assertEqual([int(result.stdout) for result in results], list(range(count)))

    async def test_a_slow_reader_slows_only_its_command(self) -> None:
        async with self.sandbox.exec_stream("dd", ["if=/dev/zero", "bs=64k", "count=320"]) as slow:
            await slow.stdout.read(1)
            for _ in range(3):
                self.assertEqual((await self.sandbox.exec("echo", ["x"])).stdout, b"x\n")
            self.assertEqual(len(await slow.stdout.read()), 320 * 65536 - 1)

    async def test_writing_to_a_command_that_does_not_read_can_be_cancelled(self) -> None:
        async with self.sandbox.exec_stream("sleep", ["100"], stdin=msb.PIPE) as process:
            assert process.stdin
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(process.stdin.write(bytes(4 << 20)), 1)

    async def test_the_sample_of_the_changelog(self) -> None:
        began = datetime.now(timezone.utc) - timedelta(seconds=5)
        await self.sandbox.exec("echo", ["for the log"])
        async for entry in self.sandbox.log_stream(follow=True, since=began):
            if entry.data == b"for the log":
                self.assertEqual((entry.source, entry.timestamp.tzinfo), ("stdout", timezone.utc))
                break

    async def test_a_log_stream_that_follows_can_be_cancelled(self) -> None:
        async def forever() -> None:
            async for _ in self.sandbox.log_stream(follow=True):
                pass

        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(forever(), 1)

    async def test_the_connection_survives_a_restart(self) -> None:
        async with self.client.create("b", image=self.image, ephemeral=True) as other:
            await other.exec("true")
            await other.restart()
            self.assertTrue((await other.exec("true")).success)
            waiting = asyncio.ensure_future(other.exec("sleep", ["100"]))
            await asyncio.sleep(0.5)
            await other.kill()
            with self.assertRaises(msb.ConnectionLost):
                await asyncio.wait_for(waiting, 10)
            with self.assertRaises(msb.SandboxNotRunning):
                await other.exec("true")
        with self.assertRaises(msb.SandboxNotFound):
            await self.client.get("b")

    async def test_files_in_the_guest(self) -> None:
        fs = self.sandbox.fs
        if "fs_tree" not in (await self.sandbox.connect())._link.ready.features:  # type: ignore[union-attr]
            with self.assertRaises(msb.Unsupported):
                await fs.copy("/a", "/b")
            return
        await fs.write("/tmp/one", "1")
        await fs.copy("/tmp/one", "/tmp/two")
        await fs.rename("/tmp/two", "/tmp/three")
        await fs.symlink("/tmp/three", "/tmp/link")
        self.assertEqual((await fs.stat("/tmp/link", follow=True)).kind, "file")
        self.assertEqual((await fs.real_path("/tmp/link"), await fs.read_link("/tmp/link")), ("/tmp/three",) * 2)

    async def test_abandoned_transfers_give_their_places_back(self) -> None:
        fs = self.sandbox.fs
        await fs.write("/tmp/large", bytes(4 * 1024 * 1024))
        for _ in range(20):
            async for _piece in fs.read_stream("/tmp/large"):
                break
            await (await fs.write_stream("/tmp/never")).abandon()
        self.assertEqual(len(await fs.read("/tmp/large")), 4 * 1024 * 1024)
        self.assertFalse(await fs.exists("/tmp/never"))

    async def test_an_abandoned_write_leaves_no_file(self) -> None:
        with self.assertRaises(KeyError):
            async with self.sandbox.fs.write_stream("/tmp/never") as writer:
                await writer.write(b"x" * 300_000)
                raise KeyError
        self.assertFalse(await self.sandbox.fs.exists("/tmp/never"))


@needs_vm
class Interrupted(unittest.TestCase):
    def test_ctrl_c_in_a_program_without_a_loop(self) -> None:
        program = (
            "import sys, msb.sync as msb\n"
            "with msb.Client(home=sys.argv[1]) as client:\n"
            "    with client.create('c', image=sys.argv[2], ephemeral=True) as sandbox:\n"
            "        try:\n"
            "            print('go', flush=True)\n"
            "            sandbox.exec('sleep', ['7777'])\n"
            "        except KeyboardInterrupt:\n"
            f"            sandbox.exec('sleep', ['0.3']); print(sandbox.shell({GONE!r}).exit_code, flush=True)\n"
        )
        with tempfile.TemporaryDirectory(prefix="msb-t-") as home:
            child = subprocess.Popen(
                [sys.executable, "-c", program, home, os.environ["MSB_IMAGE"]], stdout=subprocess.PIPE, text=True
            )
            assert child.stdout
            self.assertEqual(child.stdout.readline(), "go\n")
            time.sleep(1)
            child.send_signal(signal.SIGINT)
            self.assertEqual(child.communicate(timeout=60)[0], "0\n")
            self.assertEqual(child.returncode, 0)


if __name__ == "__main__":
    unittest.main()
