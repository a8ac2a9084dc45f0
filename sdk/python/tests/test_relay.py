"""Connections, commands and files against the fake relay."""

from __future__ import annotations

import asyncio
import unittest

import msb
from msb import _cbor
from msb._frames import decode_body

from .support import WithFolder, needs_kit


@needs_kit
class Relay(WithFolder, unittest.IsolatedAsyncioTestCase):
    async def connect(self, scenario: str) -> msb.AgentClient:
        self.fake = self.relay(scenario)
        agent = await msb.AgentClient.connect(self.fake.path, timeout=5)
        self.addAsyncCleanup(agent.close)
        return agent

    def sent(self) -> list[str]:
        return [decode_body(body).kind for _, _, body in self.fake.received]

    async def test_frozen_commands(self) -> None:
        for scenario in ("plain", "unknown", "tag-64", "split", "joined", "foreign"):
            with self.subTest(scenario):
                agent = await self.connect(scenario)
                output = await asyncio.wait_for(agent.exec("x"), 10)
                self.assertTrue(output.stdout)
                await agent.close()
                self.fake.close()

    async def test_the_sample_of_the_changelog(self) -> None:
        agent = await self.connect("small-range")
        ready = agent.ready()
        response = await agent.request(msb.Frame.of("core.ping", {}))
        self.assertEqual((ready.agent_version, response.message().kind), ("0.1.0", "core.pong"))
        self.assertEqual(agent.ready_bytes[4:8], bytes(4))
        self.assertEqual((await agent.request(0, msb.Frame.of("core.ping", {}).body)).id, 17)

    async def test_the_end_wakes_every_waiter(self) -> None:
        agent = await self.connect("close-mid-stream")
        calls = [agent.exec("x") for _ in range(10)]
        calls += [agent.fs.read("/x") for _ in range(5)]  # type: ignore[misc]
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
        self.assertEqual({type(result) for result in results}, {msb.ConnectionLost})

    async def test_a_stream_without_an_exit_is_no_success(self) -> None:
        agent = await self.connect("close-mid-stream")
        process = await agent.exec_stream("x")
        self.assertEqual(await process.stdout.read(100), b"hello\n")
        for call in (process.wait(), process.stdout.read(), process.collect()):
            with self.assertRaises(msb.ConnectionLost):
                await asyncio.wait_for(call, 5)

    async def test_close_wakes_every_waiter(self) -> None:
        agent = await self.connect("timeout")
        waiting = asyncio.ensure_future(agent.exec("x"))
        await asyncio.sleep(0.1)
        await agent.close()
        with self.assertRaises(msb.Closed):
            await asyncio.wait_for(waiting, 5)
        with self.assertRaises(msb.Closed):
            await agent.exec("x")

    async def test_cancelling_sends_the_signal(self) -> None:
        agent = await self.connect("timeout")
        waiting = asyncio.ensure_future(agent.exec("x", grace=0.2))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 1)
        await asyncio.sleep(0.5)
        numbers = [
            _cbor.loads(_cbor.loads(body)["p"])["signal"]
            for _, _, body in self.fake.received
            if decode_body(body).kind == "core.exec.signal"
        ]
        self.assertEqual(numbers, [15, 9])

    async def test_a_timeout_has_the_output(self) -> None:
        agent = await self.connect("timeout-term")
        with self.assertRaises(msb.ExecTimeout) as caught:
            await agent.exec("x", timeout=0.2)
        self.assertEqual((caught.exception.timeout, caught.exception.stdout), (0.2, b"hello\n"))
        self.assertIsInstance(caught.exception, TimeoutError)

    async def test_wait_for_around_a_call(self) -> None:
        agent = await self.connect("timeout")
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(agent.exec("x"), 0.2)

    async def test_scope_ends_the_command(self) -> None:
        agent = await self.connect("timeout-term")
        async with agent.exec_stream("x") as process:
            self.assertEqual(process.pid, 42)
        self.assertEqual(process.status, msb.ExitStatus(137, 9))

    async def test_detach_leaves_the_command(self) -> None:
        agent = await self.connect("timeout")
        async with agent.exec_stream("x") as process:
            process.detach()
        await asyncio.sleep(0.1)
        self.assertNotIn("core.exec.signal", self.sent())

    async def test_too_much_output_ends_the_command(self) -> None:
        agent = await self.connect("largest")
        with self.assertRaises(msb.MsbError) as caught:
            await agent.exec("x", max_output=1000)
        self.assertEqual(caught.exception.code, "too-large")
        self.assertLess(len(str(caught.exception)), 200)

    async def test_one_malformed_message_leaves_the_connection(self) -> None:
        agent = await self.connect("malformed")
        with self.assertRaises(msb.ProtocolError):
            await agent.exec("x")
        self.assertEqual((await agent.exec("x")).exit_code, 0)

    async def test_refusals(self) -> None:
        for scenario in ("refused", "bad-range", "not-ready", "close-handshake"):
            with self.subTest(scenario), self.assertRaises(msb.HandshakeFailed):
                await self.connect(scenario)
            self.fake.close()

    async def test_connecting_is_bounded_and_can_be_cancelled(self) -> None:
        fake = self.relay("silent")
        with self.assertRaises(msb.TimedOut):
            await msb.AgentClient.connect(fake.path, timeout=0.2)
        waiting = asyncio.ensure_future(msb.AgentClient.connect(fake.path))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 1)

    async def test_a_long_path(self) -> None:
        deep = self.folder / ("d" * 60) / ("e" * 60)
        deep.mkdir(parents=True)
        fake = self.relay("plain")
        (self.folder / "relay.sock").rename(deep / "relay.sock")
        agent = await msb.AgentClient.connect(deep / "relay.sock")
        self.assertEqual((await agent.exec("x")).exit_code, 7)
        await agent.close()
        fake.close()

    async def test_raw_frames_of_foreign_ids_are_refused(self) -> None:
        agent = await self.connect("plain")
        with self.assertRaises(ValueError):
            await agent.send(1, 0, b"")
        for wrong in ((msb.Frame(0, b""), b""), (0, None), ("x", b"")):
            with self.assertRaises(TypeError):
                await agent.request(*wrong)  # type: ignore[arg-type]

    async def test_iteration_over_what_is_awaitable(self) -> None:
        agent = await self.connect("plain")
        self.assertEqual(
            [event.kind async for event in agent.exec_stream("x")], ["started", "stdout", "stderr", "exited"]
        )

    async def test_lines_and_pieces(self) -> None:
        agent = await self.connect("joined")
        process = await agent.exec_stream("x")
        self.assertEqual([line async for line in process.stdout], [b"hello\n", b"hello\n"])
        self.assertEqual(await process.stderr.read(), b"oops\n")
        self.assertEqual(await process.stdout.read(5), b"")
        self.assertTrue((await process.wait()).success)


class Arguments(unittest.IsolatedAsyncioTestCase):
    async def test_wrong_arguments_of_commands(self) -> None:
        agent = msb.AgentClient(None)  # type: ignore[arg-type]
        wrong: list[tuple[type[Exception], dict[str, object]]] = [
            (TypeError, {"args": "one text"}),
            (TypeError, {"args": [1]}),
            (TypeError, {"args": [], "cwd": 1}),
            (TypeError, {"args": [], "env": ["A=1"]}),
            (TypeError, {"args": [], "env": {"A": 1}}),
            (ValueError, {"args": [], "env": {"A=": "1"}}),
            (TypeError, {"args": [], "timeout": "1"}),
            (ValueError, {"args": [], "timeout": -1}),
            (ValueError, {"args": [], "timeout": float("nan")}),
            (ValueError, {"args": [], "stdin": b"x", "tty": True}),
            (TypeError, {"args": [], "stdin": 1}),
            (TypeError, {"args": [], "rlimits": ["nofile"]}),
            (ValueError, {"args": [], "rlimits": {"nofile": -2}}),
            (ValueError, {"args": ["a\0b"]}),
        ]
        for error, options in wrong:
            with self.subTest(options), self.assertRaises(error):
                await agent.exec("x", **options)  # type: ignore[arg-type]
        with self.assertRaises(ValueError):
            await agent.exec("")
        with self.assertRaises(TypeError):
            agent.exec_stream("x", stdin=b"x")
        for path in ("relative", "/a\0b"):
            with self.assertRaises(ValueError):
                await agent.fs.read(path)


if __name__ == "__main__":
    unittest.main()
