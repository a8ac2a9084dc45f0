"""The places for file operations in the guest, and output that is not read, against a scripted relay."""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import msb

from .peer import Peer, PeerRelay, Received
from .support import WithFolder

BUSY = {"failure": {"kind": "busy", "message": "16 file operations are under way already"}}
STAT = {"kind": "file", "mode": 0o644, "uid": 0, "gid": 0, "size": 1, "modified_ns": 0}
MIB = 1024 * 1024


class Relay(WithFolder, unittest.IsolatedAsyncioTestCase):
    async def open(self, answer: Callable[[Peer, Received], None]) -> PeerRelay:
        relay = PeerRelay(self.folder / "relay.sock", answer)
        await self.enter(relay)
        return relay

    async def enter(self, context: Any) -> Any:
        entered = await context.__aenter__()
        self.addAsyncCleanup(context.__aexit__, None, None, None)
        return entered

    async def agent(self, answer: Callable[[Peer, Received], None]) -> msb.AgentClient:
        relay = await self.open(answer)
        return await self.enter(await msb.AgentClient.connect(relay.path, timeout=5))

    async def sandbox(self, answer: Callable[[Peer, Received], None]) -> tuple[msb.Sandbox, PeerRelay]:
        relay = await self.open(answer)
        details = {"full_name": "x", "state": "running", "agent_socket": str(relay.path)}
        sandbox = msb.Sandbox(msb.Client(), details)
        self.addAsyncCleanup(sandbox.close)
        return sandbox, relay


class Places(Relay):
    """A guest that refuses the first two requests of every three, as all its places are taken."""

    def setUp(self) -> None:
        super().setUp()
        self.requests = 0

    def answer(self, peer: Peer, message: Received) -> None:
        if message.kind == "core.fs.data":
            if not message.payload["data"]:
                peer.send(message.id, 1, "core.fs.response", {})
            return
        if message.kind != "core.fs.request":
            return
        self.requests += 1
        op = message.payload["op"]
        if self.requests % 3:
            peer.send(message.id, 1, "core.fs.response", BUSY)
        elif op == "read":
            peer.send(message.id, 0, "core.fs.data", {"data": b"x"})
            peer.send(message.id, 1, "core.fs.response", {"stat": STAT})
        elif op == "list":
            peer.send(message.id, 1, "core.fs.response", {"entries": [{"name": b"a", "stat": STAT}]})
        elif op != "write" or "data" in message.payload:
            peer.send(message.id, 1, "core.fs.response", {"stat": STAT})

    async def test_operations_wait_for_a_place(self) -> None:
        fs = (await self.agent(self.answer)).fs

        async def write_in_pieces() -> None:
            async with fs.write_stream("/x") as writer:
                await writer.write(b"x")

        async def read_in_pieces() -> list[bytes]:
            return [piece async for piece in fs.read_stream("/x")]

        calls: list[tuple[Callable[[], Awaitable[Any]], Any]] = [
            (lambda: fs.exists("/x"), True),
            (lambda: fs.write("/x", b"x"), None),
            (lambda: fs.write("/x", bytes(200_000)), None),
            (lambda: fs.read("/x"), b"x"),
            (read_in_pieces, [b"x"]),
            (write_in_pieces, None),
        ]
        for count, (call, expected) in enumerate(calls, 1):
            self.assertEqual(await asyncio.wait_for(call(), 5), expected)
            self.assertEqual(self.requests, 3 * count)
        self.assertEqual([entry.name for entry in await fs.list("/")], ["a"])

    async def test_the_wait_is_bounded_and_can_be_cancelled(self) -> None:
        fs = (await self.agent(lambda peer, it: peer.send(it.id, 1, "core.fs.response", BUSY))).fs
        waiting = asyncio.ensure_future(fs.stat("/x"))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 1)
        with mock.patch("msb._fs.BUSY_TIMEOUT", 0.2):
            for call in (fs.stat("/x"), fs.read("/x"), fs.write_stream("/x")):
                with self.assertRaises(msb.FileError) as caught:
                    await asyncio.wait_for(call, 2)
                self.assertEqual(caught.exception.kind, "busy")

    async def test_a_busy_file_is_an_error_at_once(self) -> None:
        failure = {"kind": "busy", "message": "it is busy", "errno": 16, "errno_name": "EBUSY"}
        requests: list[Received] = []

        def answer(peer: Peer, message: Received) -> None:
            requests.append(message)
            peer.send(message.id, 1, "core.fs.response", {"failure": failure})

        with self.assertRaises(msb.FileError):
            await (await self.agent(answer)).fs.stat("/x")
        self.assertEqual(len(requests), 1)


class Abandoned(Relay):
    """A guest whose transfers never end, and give their places back at the end of their connections."""

    def answer(self, peer: Peer, message: Received) -> None:
        if message.kind != "core.fs.request":
            return
        places = [it for one in peer.relay.peers for it in one.received if it.payload.get("op") in ("read", "write")]
        if len(places) > 16:
            peer.received.remove(message)
            peer.send(message.id, 1, "core.fs.response", BUSY)
        elif message.payload["op"] == "stat":
            peer.send(message.id, 1, "core.fs.response", {"stat": STAT})
        elif message.payload["op"] == "read":
            peer.send(message.id, 0, "core.fs.data", {"data": b"x"})

    async def only_the_shared_one(self, relay: PeerRelay, shared: int) -> None:
        for _ in range(100):
            if len(relay.peers) == shared:
                return
            await asyncio.sleep(0.02)
        self.fail(f"{len(relay.peers)} connections are open")

    async def test_transfers_of_a_sandbox_end_with_their_connection(self) -> None:
        sandbox, relay = await self.sandbox(self.answer)
        await sandbox.fs.stat("/x")
        for _ in range(20):
            async for _piece in sandbox.fs.read_stream("/x"):
                break
            reader = await sandbox.fs.read_stream("/x")
            await reader.close()
            writer = await sandbox.fs.write_stream("/x")
            await writer.abandon()
            with self.assertRaises(ZeroDivisionError):
                async with sandbox.fs.write_stream("/x"):
                    1 / 0
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(sandbox.fs.read("/x"), 0.01)
        await self.only_the_shared_one(relay, 1)
        await sandbox.fs.stat("/x")

    async def test_dropped_readers_end_too(self) -> None:
        sandbox, relay = await self.sandbox(self.answer)
        for _ in range(20):
            reader = await asyncio.wait_for(sandbox.fs.read_stream("/x").__aenter__(), 5)
            self.assertEqual(await reader.read(), b"x")
            del reader
        await self.only_the_shared_one(relay, 0)

    async def test_more_transfers_than_places_wait_for_each_other(self) -> None:
        sandbox, relay = await self.sandbox(self.answer)
        readers = [await sandbox.fs.read_stream("/x") for _ in range(16)]
        self.assertEqual(len(relay.peers), 16)
        waiting = asyncio.ensure_future(sandbox.fs.read_stream("/x").__aenter__())
        await asyncio.sleep(0.1)
        self.assertFalse(waiting.done())
        await readers[0].close()
        reader = await asyncio.wait_for(waiting, 5)
        for opened in (*readers, reader):
            await opened.close()
        await self.only_the_shared_one(relay, 0)

    async def test_closing_the_sandbox_ends_its_transfers(self) -> None:
        sandbox, relay = await self.sandbox(self.answer)
        reader = await sandbox.fs.read_stream("/x")
        self.assertEqual(await reader.read(), b"x")
        await sandbox.close()
        with self.assertRaises(msb.Closed):
            await asyncio.wait_for(reader.read(), 5)
        await self.only_the_shared_one(relay, 0)


class Output(Relay):
    """A guest that keeps to the window of 1 MiB of a command that writes to its standard error, then a line."""

    def setUp(self) -> None:
        super().setUp()
        self.size = 4 * MIB
        self.sent = self.acknowledged = 0

    def answer(self, peer: Peer, message: Received) -> None:
        if message.kind == "core.exec.request":
            peer.send(message.id, 0, "core.exec.started", {"pid": 42})
            peer.send(message.id, 0, "core.exec.stdout", {"data": b"first\n"})
            self.acknowledged = -6
        elif message.kind == "core.exec.output.ack":
            self.acknowledged = message.payload["bytes"] - 6
            assert self.acknowledged <= self.sent, "more was acknowledged than was sent"
        elif message.kind == "core.exec.signal":
            self.sent = self.size + 1
            peer.send(message.id, 1, "core.exec.exited", {"code": 143, "signal": 15})
        else:
            return
        while self.sent < self.size and self.sent + 65536 - self.acknowledged <= MIB:
            peer.send(message.id, 0, "core.exec.stderr", {"data": bytes(65536)})
            self.sent += 65536
        if self.sent == self.size:
            self.sent += 1
            peer.send(message.id, 0, "core.exec.stdout", {"data": b"last\n"})
            peer.send(message.id, 1, "core.exec.exited", {"code": 0})

    async def test_reading_one_stream_only(self) -> None:
        process = await (await self.agent(self.answer)).exec_stream("x")
        self.assertEqual(await asyncio.wait_for(process.stdout.read(), 5), b"first\nlast\n")
        self.assertEqual(len(await process.stderr.read()), self.size)

    async def test_waiting_after_reading_one_stream(self) -> None:
        self.size = 20 * MIB
        process = await (await self.agent(self.answer)).exec_stream("x")
        self.assertEqual(await process.stdout.readline(), b"first\n")
        self.assertTrue((await asyncio.wait_for(process.wait(), 5)).success)
        with self.assertRaises(msb.MsbError) as caught:
            await process.stderr.read()
        self.assertEqual(caught.exception.code, "too-large")

    async def test_the_command_waits_for_a_reader_after_8_mib(self) -> None:
        self.size = 20 * MIB
        process = await (await self.agent(self.answer)).exec_stream("x")
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(process.stdout.read(), 0.5)
        self.assertTrue(8 * MIB <= self.sent <= 9 * MIB + 65536, self.sent)
        self.assertEqual(len(await asyncio.wait_for(process.stderr.read(), 5)), self.size)

    async def test_collecting_after_reading_one_stream(self) -> None:
        self.size = 20 * MIB
        process = await (await self.agent(self.answer)).exec_stream("x")
        self.assertEqual(await process.stdout.readline(), b"first\n")
        output = await asyncio.wait_for(process.collect(), 5)
        self.assertEqual((output.stdout, len(output.stderr)), (b"last\n", self.size))

    async def test_a_flood_of_the_other_stream_ends_the_command(self) -> None:
        def answer(peer: Peer, message: Received) -> None:
            if message.kind == "core.exec.request":
                peer.send(message.id, 0, "core.exec.started", {"pid": 42})
                for _ in range(40):
                    peer.send(message.id, 0, "core.exec.stderr", {"data": bytes(MIB)})

        process = await (await self.agent(answer)).exec_stream("x")
        with self.assertRaises(msb.ProtocolError):
            await asyncio.wait_for(process.stdout.read(), 5)


if __name__ == "__main__":
    unittest.main()
