"""The API without `await`: the same names, the same behaviour, and types that are current."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
import unittest
from pathlib import Path

import msb
from msb import sync

from .support import WithFolder, needs_kit

ROOT = Path(__file__).resolve().parents[1]


class Names(unittest.TestCase):
    def test_every_public_method_is_there(self) -> None:
        for core, facade in sync._FACADES.items():
            for name in dir(core):
                if not name.startswith("_"):
                    self.assertIsNotNone(inspect.getattr_static(facade, name, getattr(core, name)), f"{core} {name}")
            for special, own in (("__aenter__", "__enter__"), ("__aiter__", "__iter__")):
                self.assertEqual(hasattr(core, special), hasattr(facade, own), f"{core} {own}")
            self.assertEqual(facade.__doc__, core.__doc__)

    def test_every_public_name_is_there(self) -> None:
        for name in sync.__all__:
            self.assertTrue(hasattr(sync, name), name)

    @unittest.skipUnless((ROOT / "sync_stub.py").exists(), "sync_stub.py is not here")
    def test_the_types_are_current(self) -> None:
        done = subprocess.run([sys.executable, str(ROOT / "sync_stub.py"), "--check"], timeout=60)
        self.assertEqual(done.returncode, 0)


@needs_kit
class Calls(WithFolder, unittest.TestCase):
    def connect(self, scenario: str) -> sync.AgentClient:
        agent = sync.AgentClient.connect(self.relay(scenario).path)
        self.addCleanup(agent.close)
        return agent

    def test_exec(self) -> None:
        self.assertEqual(self.connect("plain").exec("x"), msb.ExecOutput(7, None, b"hello\n", b"oops\n"))

    def test_iteration_and_scope(self) -> None:
        with self.connect("joined").exec_stream("x") as process:
            self.assertEqual([line for line in process.stdout], [b"hello\n", b"hello\n"])
            self.assertEqual(process.wait().exit_code, 0)

    def test_events(self) -> None:
        kinds = [event.kind for event in self.connect("plain").exec_stream("x")]
        self.assertEqual(kinds, ["started", "stdout", "stderr", "exited"])

    def test_files(self) -> None:
        self.assertEqual(self.connect("read").fs.read_text("/x"), "part one, part two")
        (self.folder / "relay.sock").unlink()
        self.assertFalse(self.connect("missing").fs.exists("/x"))

    def test_errors(self) -> None:
        with self.assertRaises(msb.ConnectionLost):
            self.connect("close-mid-stream").exec("x")
        with self.assertRaises(msb.SandboxNotRunning):
            sync.AgentClient.connect(self.folder / "none")

    def test_raw(self) -> None:
        agent = self.connect("small-range")
        self.assertEqual(agent.request(msb.Frame.of("core.ping", {})).message().kind, "core.pong")
        self.assertEqual((agent.ready().agent_version, len(agent.ids)), ("0.1.0", 2))

    def test_after_close(self) -> None:
        agent = self.connect("plain")
        agent.close()
        with self.assertRaises(msb.Closed):
            agent.exec("x")
        agent.close()

    def test_no_thread_is_left(self) -> None:
        before = threading.active_count()
        with sync.Client(msb=self.fake_msb("echo 'msb 1.2.3'")) as client:
            self.assertEqual(client.version(), "1.2.3")
        self.assertLessEqual(threading.active_count(), before)
        with self.assertRaises(msb.Closed):
            client.version()


if __name__ == "__main__":
    unittest.main()
