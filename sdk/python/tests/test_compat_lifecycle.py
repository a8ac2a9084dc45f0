"""Behavior beyond the rows of the judging set: the end of a program, snapshots, images, mounts and the network."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import msb

from .compat_support import IMAGE, CompatTest
from .support import needs_vm

from microsandbox import (  # isort: skip
    AgentClient,
    Image,
    ImageNotFoundError,
    MicrosandboxError,
    Network,
    NetworkPolicy,
    NoDefaultCommandError,
    Patch,
    PullEventType,
    PullPolicy,
    Rule,
    Sandbox,
    SandboxNotRunningError,
    SandboxReplacedError,
    SandboxStatus,
    SandboxStillRunningError,
    Secret,
    Snapshot,
    SnapshotNotFoundError,
    Volume,
    VolumeKind,
)

#: A program that creates two sandboxes, and ends without stopping them.
_ABANDON = """
import asyncio, sys
from msb.compat import Sandbox

async def main():
    for name, detached in zip(sys.argv[2:], (False, True)):
        await Sandbox.create(name, image=sys.argv[1], detached=detached)
    if "fail" in sys.argv:
        raise SystemExit(3)

asyncio.run(main())
"""


@needs_vm
class Lifecycle(CompatTest):
    async def test_sandboxes_end_with_their_program_unless_they_are_detached(self) -> None:
        names = [self.unique("attached"), self.unique("detached")]
        env = {**os.environ, "PYTHONPATH": str(Path(msb.__file__).parents[1])}
        command = [sys.executable, "-c", _ABANDON, IMAGE, *names, "fail"]
        done = await asyncio.to_thread(subprocess.run, command, env=env, timeout=120)
        self.assertEqual(done.returncode, 3)
        statuses = [(await Sandbox.get(name)).status for name in names]
        self.assertEqual(statuses, [SandboxStatus.STOPPED, SandboxStatus.RUNNING])

    async def test_requests_do_not_wait(self) -> None:
        sandbox = await self.create("request")
        waiting = asyncio.ensure_future(sandbox.wait_until_stopped())
        await asyncio.sleep(0.3)
        await sandbox.request_stop()
        result = await asyncio.wait_for(waiting, 30)
        self.assertEqual((result.name, result.status), (sandbox.name, SandboxStatus.STOPPED))
        again = await (await Sandbox.get(sandbox.name)).connect_or_start(detached=True)
        self.assertIs((await again.wait_for_status(SandboxStatus.RUNNING)).status, SandboxStatus.RUNNING)
        with self.assertRaisesRegex(SandboxStillRunningError, "sandbox still running"):
            await Sandbox.remove(sandbox.name)
        await again.request_kill()
        await asyncio.wait_for(again.wait_for_status(SandboxStatus.STOPPED), 30)

    async def test_pause_restart_and_destroy(self) -> None:
        sandbox = await self.create("pause")
        await sandbox.pause()
        handle = await Sandbox.get(sandbox.name)
        self.assertIs(handle.status, SandboxStatus.PAUSED)
        connected = await handle.connect_or_start()
        self.assertTrue((await connected.shell("true")).success)
        again = await sandbox.restart(detached=True)
        self.assertIs(await again.owns_lifecycle, False)
        self.assertTrue((await again.shell("true")).success)
        await again.destroy(force=True)
        self.assertNotIn(sandbox.name, [handle.name for handle in await Sandbox.list()])

    async def test_a_handle_notices_that_its_sandbox_was_replaced(self) -> None:
        sandbox = await self.create("same")
        handle = await Sandbox.get(sandbox.name)
        await Sandbox.create(sandbox.name, image=IMAGE, replace=True)
        with self.assertRaises(SandboxReplacedError):
            await handle.refresh()

    async def test_connect_or_create_and_progress(self) -> None:
        name = self.unique("either")
        first = await Sandbox.connect_or_create(name, image=IMAGE)
        second = await Sandbox.connect_or_create(name, image=IMAGE)
        self.assertEqual((first.id, await second.owns_lifecycle), (second.id, False))
        session = Sandbox.create_with_progress(self.unique("progress"), image=IMAGE)
        async with session:
            events = [event.event_type async for event in session.progress]
            sandbox = await session.result()
        self.assertEqual(events[0], PullEventType.RESOLVING)
        self.assertEqual(events[-1], PullEventType.COMPLETE)
        self.assertTrue((await sandbox.shell("true")).success)

    async def test_a_creation_that_fails_or_is_cancelled_leaves_no_sandbox(self) -> None:
        name = self.unique("never")
        with self.assertRaisesRegex(ImageNotFoundError, "image not found: no-such-image"):
            await Sandbox.create(name, image="no-such-image", pull_policy=PullPolicy.NEVER)
        for delay in (0.1, 0.4):
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(
                    Sandbox.create(name, image=IMAGE, patches=[Patch.text("/x", "x", replace=True)] * 500), delay
                )
            await asyncio.sleep(0.5)
            self.assertNotIn(name, [handle.name for handle in await Sandbox.list()])

    async def test_default_commands(self) -> None:
        sandbox = await self.create("default", cmd=["echo", "from cmd"], entrypoint=[])
        self.assertEqual((await sandbox.exec_default()).stdout_text, "from cmd\n")
        image = await self.create("image")
        handle = await image.exec_default_stream(timeout=10.0)
        self.assertEqual(await handle.wait(), (0, True))
        folder = await self.create("folder", image=Path(os.environ["MSB_IMAGE"]))
        with self.assertRaises(NoDefaultCommandError):
            await folder.exec_default()

    async def test_a_script_runs_with_the_shell_of_the_sandbox(self) -> None:
        sandbox = await self.create("shell", shell="/bin/ash")
        self.assertEqual((await sandbox.shell("echo $0")).stdout_text, "/bin/ash\n")

    async def test_agent_client_of_a_stopped_sandbox(self) -> None:
        sandbox = await self.create("agent")
        await sandbox.stop()
        with self.assertRaises(SandboxNotRunningError):
            await AgentClient.connect_sandbox(sandbox.name)


@needs_vm
class Things(CompatTest):
    async def test_snapshots(self) -> None:
        sandbox = await self.create("origin")
        await sandbox.shell("echo kept > /root/mark; sync")
        snapshot = await Snapshot.create(self.unique("snap"), from_sandbox=sandbox.name)
        self.assertEqual((snapshot.source_sandbox, snapshot.scope), (sandbox.name, "disk"))
        self.assertIn("alpine", snapshot.image_ref)
        with tempfile.TemporaryDirectory() as folder:
            await snapshot.save_to(f"{folder}/s")
            await Snapshot.remove(snapshot.reference)
            loaded = await Snapshot.load(f"{folder}/s")
        self.assertEqual(loaded.digest, snapshot.digest)
        restored = await Sandbox.restore(loaded, name=self.unique("restored"))
        self.assertEqual(await restored.fs.read_text("/root/mark"), "kept\n")
        older = await Sandbox.create(self.unique("older"), from_snapshot=loaded.name)
        self.assertEqual(await older.fs.read_text("/root/mark"), "kept\n")
        for used in (restored, older):
            await used.destroy(force=True)
        await Snapshot.remove(loaded.reference)
        with self.assertRaises(SnapshotNotFoundError):
            await Snapshot.get(loaded.reference)

    async def test_images(self) -> None:
        handle = await Image.get("alpine")
        self.assertEqual((handle.reference, handle.os, handle.layer_count), ("alpine", "linux", 1))
        detail = await handle.inspect()
        assert detail.config is not None
        self.assertEqual(detail.config.cmd, ["/bin/sh"])
        self.assertTrue(detail.config.env[0].startswith("PATH="))
        self.assertGreaterEqual(len(await Image.list()), 2)
        with tempfile.TemporaryDirectory() as folder:
            await Image.save("alpine", output_path=f"{folder}/i")
            (loaded,) = await Image.load(f"{folder}/i", tag="again:1")
        self.assertIn("again:1", loaded.reference)
        await Image.remove("again:1")
        with self.assertRaisesRegex(ImageNotFoundError, "image not found: again:1"):
            await Image.get("again:1")
        self.assertEqual((await Image.prune()).manifests_removed, 0)

    async def test_disks_and_binds(self) -> None:
        volume = await Volume.create(self.unique("disk").replace("-", "_"), kind=VolumeKind.DISK, size_mib=32)
        self.addAsyncCleanup(Volume.remove, volume.name)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "given").write_text("host")
            mounts = {
                "/disk": Volume.named(volume.name),
                "/bind": Volume.bind(folder, readonly=True),
                "/tmpfs": Volume.tmpfs(size_mib=8),
            }
            sandbox = await self.create("mounts", volumes=mounts)
            output = await sandbox.shell("cat /bind/given; echo x > /disk/y && echo ok; df -m /tmpfs | tail -1")
            self.assertTrue(output.stdout_text.startswith("hostok\n"), output.stdout_text)
            kinds = [mount["type"] for mount in (await Sandbox.get(sandbox.name)).config()["mounts"]]
            self.assertEqual(sorted(kinds), ["Bind", "Bind", "Tmpfs"])
            await sandbox.destroy(force=True)

    async def test_a_network_and_a_secret(self) -> None:
        policy = NetworkPolicy(rules=(*Rule.allow_dns(), Rule.allow(destination="api.example.org", port=443)))
        secret = Secret.env("KEY", value="hush", allow=("api.example.org",), placeholder="placeholder-1")
        sandbox = await self.create("network", network=Network(policy=policy), secrets=[secret])
        self.assertEqual((await sandbox.shell("echo $KEY")).stdout_text, "placeholder-1\n")
        config = (await Sandbox.get(sandbox.name)).config()
        self.assertEqual(config["network"]["policy"]["rules"][2]["destination"], {"domain": "api.example.org"})
        self.assertNotIn("hush", str((await Sandbox.get(sandbox.name))._native.details))
        refused = await sandbox.shell("wget -T 2 -q -O - http://1.1.1.1/", timeout=20.0)
        self.assertFalse(refused.success)
        with self.assertRaisesRegex(MicrosandboxError, "invalid config: .*com"):
            broad = NetworkPolicy(rules=(Rule.allow(destination="*.com"),))
            await self.create("broad", network=Network(policy=broad))


if __name__ == "__main__":
    unittest.main()
