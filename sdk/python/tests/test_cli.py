"""The calls that run `msb`, against a script in its place."""

from __future__ import annotations

import dataclasses
import asyncio
import os
import signal
import time
import unittest
from pathlib import Path

import msb
from msb._cli import failure
from msb.logs import LogEntry, log_arguments
from msb.options import create_arguments

from .support import WithFolder

REPORT = '{"version":1,"error":{"code":"%s","message":"it failed","causes":["one"],"hint":"do this","name":"web"}}'


class Failures(unittest.TestCase):
    def test_typed_failures(self) -> None:
        for code, kind in (("sandbox-not-found", msb.SandboxNotFound), ("in-use", msb.InUse), ("locked", msb.Locked)):
            error = failure(6, f"noise\n{REPORT % code}\n".encode(), None)
            self.assertIs(type(error), kind)
            self.assertEqual((error.code, error.hint, error.name, error.causes), (code, "do this", "web", ("one",)))
            self.assertEqual(str(error), "it failed: one (hint: do this)")

    def test_a_later_code_is_kept(self) -> None:
        error = failure(99, (REPORT % "moon-phase").encode(), None)
        self.assertEqual((type(error), error.code), (msb.MsbError, "moon-phase"))

    def test_texts_of_an_older_msb(self) -> None:
        for text, code in (
            ('error: there is no sandbox "x"', "sandbox-not-found"),
            ("error: a sandbox a already exists\nhint: --replace replaces it", "sandbox-exists"),
            ("error: b is not running", "sandbox-not-running"),
            (
                "error: invalid value 'bad' for '--cursor <CURSOR>': \"bad\" is not a cursor of msb logs",
                "invalid-cursor",
            ),
            ("error: missed a rotation: the next file 2 of exec.log was removed", "missed-rotation"),
            ("error: something else", "failed"),
            ("", "failed"),
        ):
            self.assertEqual(failure(1, text.encode(), "x").code, code)

    def test_a_broad_suffix(self) -> None:
        text = "msb::sandboxfile::suffix_too_broad\n\n  × `*.com` matches a whole top-level domain\n"
        error = failure(64, text.encode(), None)
        assert isinstance(error, msb.SuffixTooBroad)
        self.assertEqual((error.code, error.raw), ("suffix-too-broad", "*.com"))

    def test_findings(self) -> None:
        report = (
            '{"version":1,"error":{"code":"usage","message":"it has an error","causes":[],"hint":null},"findings":'
            '[{"code":"%s","message":"`*.com` matches a whole top-level domain","help":"name a domain below it"}]}'
        )
        error = failure(64, (report % "msb::sandboxfile::suffix_too_broad").encode(), None)
        assert isinstance(error, msb.SuffixTooBroad)
        self.assertEqual((error.raw, error.hint), ("*.com", "name a domain below it"))
        other = failure(64, (report % "msb::sandboxfile::other").encode(), None)
        self.assertEqual((other.code, other.message), ("usage", "`*.com` matches a whole top-level domain"))

    def test_exit_codes_without_a_text(self) -> None:
        for exit_code, code in ((3, "mismatch"), (4, "timed-out"), (5, "locked"), (64, "usage"), (130, "interrupted")):
            self.assertEqual(failure(exit_code, b"", None).code, code)


class Options(unittest.TestCase):
    def arguments(self, **options: object) -> list[str]:
        return create_arguments("web", "alpine", options)[0]

    def test_all(self) -> None:
        arguments = self.arguments(
            cpus=2,
            memory=512,
            disk="8G",
            env={"A": "1"},
            labels={"l": "v"},
            scripts={"s": "#!/bin/sh\n"},
            ports=[msb.Port(0, 80), msb.Port(53, 53, "::1", "udp")],
            volumes={
                "/a": msb.Mount.bind("/tmp", readonly=True, stat_virtualization="off"),
                "/v": msb.Mount.named("v"),
            },
            mounts={"/m": msb.Mount.tmpfs(size_mib=8)},
            network=dataclasses.replace(
                msb.Network.only("x.org", "*.y.org"), dns=["10.0.0.53:5353"], dns_search=["corp.example"]
            ),
            replace_with_timeout=1.5,
            max_duration=60,
            ulimits={"nofile": 1024, "nproc": (10, 20), "core": None, "stack": "8388608:unlimited"},
            shm_size=64,
            hosts={"db": "10.0.0.5", "six": "fd00::1"},
            stop_timeout=2.5,
            stop_signal="SIGINT",
            env_files=["a.env", Path("/etc/b.env")],
            command=["sh", "-c", "true"],
        )
        for expected in (
            "--name=web",
            "--cpus=2",
            "--memory=512M",
            "--disk=8G",
            "--env=A=1",
            "--label=l=v",
            "--script-raw=s=#!/bin/sh\n",
            "--port=127.0.0.1:0:80",
            "--port=[::1]:53:53/udp",
            "--volume=/tmp:/a:ro,stat-virt=off",
            "--volume=v:/v",
            "--tmpfs=/m:size=8M",
            "--net-default=deny",
            "--net-rule=allow@x.org",
            "--net-rule=allow@*.y.org",
            "--dns=10.0.0.53:5353",
            "--dns-search=corp.example",
            "--replace-with-timeout=1500ms",
            "--max-duration=60000ms",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=10:20",
            "--ulimit=core=unlimited:unlimited",
            "--ulimit=stack=8388608:unlimited",
            "--shm-size=64M",
            "--add-host=db=10.0.0.5",
            "--add-host=six=fd00::1",
            "--stop-timeout=2500ms",
            "--stop-signal=SIGINT",
        ):
            self.assertIn(expected, arguments)
        self.assertEqual(arguments[-5:], ["alpine", "--", "sh", "-c", "true"])
        # Their order is that of their precedence.
        files = [argument for argument in arguments if argument.startswith("--env-file")]
        self.assertEqual(files, [f"--env-file={Path('a.env').absolute()}", "--env-file=/etc/b.env"])

    def test_other_forms(self) -> None:
        limits = [msb.Rlimit("nofile", 1, 2), msb.Rlimit("cpu", 3)]
        arguments = self.arguments(ulimits=limits, shm_size="1G", stop_signal=signal.SIGINT)
        for expected in ("--stop-signal=2", "--ulimit=nofile=1:2", "--ulimit=cpu=3:3", "--shm-size=1G"):
            self.assertIn(expected, arguments)

    def test_secrets_are_not_on_the_command_line(self) -> None:
        secret = msb.Secret("KEY", ["api.example.org"], value="hush")
        arguments, variables = create_arguments("web", "alpine", {"secrets": [secret]})
        self.assertNotIn("hush", " ".join(arguments) + repr(secret))
        self.assertEqual(variables, {"MSB_SDK_SECRET_KEY": "hush"})
        self.assertIn("--secret=KEY@api.example.org:env=MSB_SDK_SECRET_KEY", arguments)

    def test_wrong_options(self) -> None:
        for error, options in (
            (TypeError, {"nonsense": 1}),
            (TypeError, {"cpus": "1"}),
            (ValueError, {"memory": -1}),
            (TypeError, {"env": ["A"]}),
            (TypeError, {"ports": [80]}),
            (TypeError, {"volumes": {"/a": 1}}),
            (ValueError, {"volumes": {"a": "/tmp"}}),
            (ValueError, {"volumes": {"/a": "/x:y"}}),
            (TypeError, {"command": "sh"}),
            (TypeError, {"network": 1}),
            (TypeError, {"ulimits": "nofile=1"}),
            (TypeError, {"ulimits": ["nofile=1"]}),
            (TypeError, {"ulimits": {"nofile": 1.5}}),
            (TypeError, {"ulimits": {1: 1}}),
            (ValueError, {"ulimits": {"nofile": -1}}),
            (ValueError, {"ulimits": {"a=b": "1"}}),
            (ValueError, {"ulimits": {"a=b": 1}}),
            (TypeError, {"shm_size": 1.5}),
            (TypeError, {"hosts": ["db=10.0.0.5"]}),
            (TypeError, {"hosts": {"db": 1}}),
            (TypeError, {"stop_timeout": "10s"}),
            (ValueError, {"stop_timeout": -1}),
            (TypeError, {"stop_signal": ["SIGINT"]}),
            (TypeError, {"env_files": ".env"}),
            (TypeError, {"env_files": [1]}),
        ):
            with self.subTest(options), self.assertRaises(error):
                self.arguments(**options)  # type: ignore[arg-type]
        with self.assertRaises(TypeError):
            msb.Mount.tmpfs(stat_virtualization="strict")  # type: ignore[call-arg]
        for host, guest in ((-1, 80), (80, 0), (70000, 80)):
            with self.assertRaises(ValueError):
                msb.Port(host, guest)

    def test_log_lines(self) -> None:
        entry = LogEntry.of(
            {
                "t": "2026-11-30T18:04:27.202Z",
                "name": "a",
                "s": "stdout",
                "id": 1,
                "d": "AP8=",
                "e": "b64",
                "cursor": "c",
            }
        )
        self.assertEqual((entry.data, entry.timestamp_ms), (b"\x00\xff", 1796061867202.0))
        with self.assertRaises(msb.MsbError):
            LogEntry.of({"t": "x"})
        with self.assertRaises(ValueError):
            log_arguments("a", sources=["nonsense"])


class Runs(WithFolder, unittest.IsolatedAsyncioTestCase):
    async def test_there_is_no_msb(self) -> None:
        with self.assertRaises(msb.MsbNotFound):
            await msb.Client(msb=self.folder / "none").list()

    async def test_an_older_msb(self) -> None:
        path = self.fake_msb(
            'echo "$@" >> "$MSB_HOME/calls"\n'
            'case "$*" in *--json*) echo "error: unexpected argument \'--json\' found" >&2; exit 64;; esac'
        )
        client = msb.Client(msb=path, home=self.folder)
        await client.remove("a")
        await client.remove("b", force=True)
        calls = (self.folder / "calls").read_text().splitlines()
        self.assertEqual(calls, ["rm --json -- a", "rm -- a", "rm --force -- b"])

    async def test_results_with_a_failure(self) -> None:
        document = (
            '{"version":1,"sandboxes":[{"name":"a","outcome":"failed","error":'
            '{"code":"sandbox-running","message":"a runs","causes":[],"hint":null,"name":"a"}}]}'
        )
        client = msb.Client(msb=self.fake_msb(f"echo '{document}'"))
        with self.assertRaises(msb.SandboxRunning):
            await client.remove("a")

    async def test_pages(self) -> None:
        entries = [
            f'{{"full_name":"{name}","state":"stopped","agent_socket":"/none",'
            f'"spec":{{"definition":{{"labels":{{"odd":"{number % 2}"}}}}}}}}'
            for number, name in enumerate("edcba")
        ]
        client = msb.Client(msb=self.fake_msb(f"echo '{{\"sandboxes\":[{','.join(entries)}]}}'"))
        page = await client.list(limit=2)
        self.assertEqual(([sandbox.name for sandbox in page], page.next_cursor), (["a", "b"], "b"))
        odd = await client.list(labels={"odd": "1"})
        self.assertEqual(([sandbox.name for sandbox in odd], odd.next_cursor), (["b", "d"], None))
        with self.assertRaises(ValueError):
            await client.list(limit=0)

    async def test_cancelling_ends_msb(self) -> None:
        path = self.fake_msb('echo $$ > "$MSB_HOME/pid"\nexec sleep 100')
        client = msb.Client(msb=path, home=self.folder)
        waiting = asyncio.ensure_future(client.list())
        for _ in range(100):
            await asyncio.sleep(0.05)
            if (self.folder / "pid").exists() and (self.folder / "pid").read_text().strip():
                break
        waiting.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 5)
        with self.assertRaises(ProcessLookupError):
            os.kill(int((self.folder / "pid").read_text()), 0)

    async def test_cancelling_ends_an_msb_that_ignores_sigterm(self) -> None:
        path = self.fake_msb("trap '' TERM\nwhile :; do sleep 0.1; done")
        began = time.monotonic()
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(msb.Client(msb=path).list(), 0.3)
        self.assertLess(time.monotonic() - began, 10)

    async def test_a_line_that_is_not_json(self) -> None:
        details = '{"sandboxes":[{"full_name":"a","state":"running","agent_socket":"/none"}]}'
        path = self.fake_msb(f"case $1 in logs) echo nonsense;; *) echo '{details}';; esac")
        sandbox = await msb.Client(msb=path).get("a")
        with self.assertRaises(msb.MsbError):
            await sandbox.logs()
        with self.assertRaises(msb.SandboxNotRunning):
            await sandbox.exec("true")

    async def test_missed_rotation(self) -> None:
        details = '{"sandboxes":[{"full_name":"a","state":"running","agent_socket":"/none"}]}'
        line = '{"t":"2026-11-30T18:04:27Z","name":"a","s":"stdout","id":1,"d":"x","cursor":"c1"}'
        text = "error: missed a rotation: the next file 2 of exec.log was removed; the oldest remaining one is 8"
        path = self.fake_msb(
            f"case $1 in logs) echo '{line}'; echo '{text}' >&2; echo 'hint: read without' >&2; exit 1;;"
            f" *) echo '{details}';; esac"
        )
        sandbox = await msb.Client(msb=path).get("a")
        seen = []
        with self.assertRaises(msb.MissedRotation) as caught:
            async for entry in sandbox.log_stream(follow=True, cursor="c0"):
                seen.append(entry.cursor)
        self.assertEqual((seen, caught.exception.hint), (["c1"], "read without"))
        self.assertEqual(caught.exception.dropped_from_offset, 2)


if __name__ == "__main__":
    unittest.main()
