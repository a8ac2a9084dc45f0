"""The codec and the frames: vectors, round trips, hostile bytes."""

from __future__ import annotations

import math
import random
import unittest

from msb import _cbor
from msb._frames import MAX_BODY_BYTES, Frame, FrameDecoder
from msb.errors import FrameError, ProtocolError

from .support import decode, needs_kit, vectors


@needs_kit
class Vectors(unittest.TestCase):
    def test_values(self) -> None:
        for vector in vectors()["cbor"]:
            with self.subTest(vector["name"]):
                self.assertEqual(_cbor.dumps(decode(vector["value"])).hex(), vector["hex"])
                self.assertEqual(_cbor.loads(bytes.fromhex(vector["hex"])), decode(vector["value"]))

    def test_values_that_are_only_decoded(self) -> None:
        for vector in vectors()["cbor_decode_only"]:
            with self.subTest(vector["name"]):
                decoded, expected = _cbor.loads(bytes.fromhex(vector["hex"])), decode(vector["value"])
                same = decoded == expected or (math.isnan(decoded) and math.isnan(expected))
                self.assertTrue(same, decoded)

    def test_invalid_values(self) -> None:
        for vector in vectors()["cbor_invalid"]:
            with self.subTest(vector["name"]), self.assertRaises(_cbor.CborError):
                _cbor.loads(bytes.fromhex(vector["hex"]))

    def test_frames_split_everywhere(self) -> None:
        for name, vector in vectors()["frames"].items():
            data = bytes.fromhex(vector["hex"])
            for cut in range(len(data) + 1):
                decoder = FrameDecoder()
                decoder.feed(data[:cut])
                first = decoder.next()
                self.assertEqual(first is None, cut < len(data), name)
                decoder.feed(data[cut:])
                frame = first or decoder.next()
                assert frame
                self.assertEqual((frame.id, frame.flags), (vector["id"], vector["flags"]))
                self.assertEqual(frame.encode(), data)
                self.assertEqual(decoder.pending_bytes, 0)
            if vector["type"] is None:
                with self.assertRaises(ProtocolError):
                    frame.message()
            else:
                message = frame.message()
                self.assertEqual((message.kind, message.payload), (vector["type"], decode(vector["payload"])))

    def test_invalid_frames(self) -> None:
        for vector in vectors()["frames_invalid"]:
            decoder = FrameDecoder()
            decoder.feed(bytes.fromhex(vector["hex"]))
            for _ in range(2):
                with self.assertRaises(FrameError) as caught:
                    decoder.next()
                self.assertEqual(caught.exception.code, vector["code"])


class Hostile(unittest.TestCase):
    def test_round_trips(self) -> None:
        chance = random.Random(1)
        for _ in range(200):
            value = _value(chance, 0)
            self.assertEqual(_cbor.loads(_cbor.dumps(value)), value)

    def test_damaged_bytes_raise_nothing_else(self) -> None:
        chance = random.Random(2)
        for _ in range(3000):
            data = bytearray(_cbor.dumps(_value(chance, 2))[:500])
            for _ in range(3):
                data[chance.randrange(len(data))] = chance.randrange(256)
            try:
                _cbor.loads(data)
            except _cbor.CborError:
                pass

    def test_random_bytes_raise_nothing_else(self) -> None:
        chance = random.Random(3)
        for _ in range(30000):
            data = chance.randbytes(chance.randrange(40))
            try:
                _cbor.loads(data)
            except _cbor.CborError:
                pass
            try:
                Frame(0, data).message()
            except ProtocolError:
                pass

    def test_too_many_items(self) -> None:
        with self.assertRaisesRegex(_cbor.CborError, "items"):
            _cbor.loads(b"\x9a\x00\x10\x00\x00" + bytes(1 << 20))

    def test_values_that_cannot_be_encoded(self) -> None:
        nested: list[object] = []
        for _ in range(40):
            nested = [nested]
        for value in (1 << 64, -(1 << 64) - 1, object(), {"a": set()}, nested, "\ud800"):
            with self.assertRaises(_cbor.CborError):
                _cbor.dumps(value)

    def test_the_largest_body(self) -> None:
        self.assertEqual(len(Frame(0, bytes(MAX_BODY_BYTES), 1).encode()), 4 + 4 * 1024 * 1024)
        with self.assertRaises(FrameError):
            Frame(0, bytes(MAX_BODY_BYTES + 1), 1).encode()

    def test_many_frames_in_one_chunk(self) -> None:
        decoder, frame = FrameDecoder(), Frame(1, b"abc", 7)
        decoder.feed(frame.encode() * 1000 + b"\x00")
        self.assertEqual(sum(1 for _ in iter(decoder.next, None)), 1000)
        self.assertEqual(decoder.pending_bytes, 1)


def _value(chance: random.Random, depth: int) -> object:
    edge = chance.choice([0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1])
    choices = [
        edge,
        -1 - edge,
        chance.randbytes(chance.choice([0, 23, 24, 300])),
        "ä" * chance.randrange(40),
        None,
        True,
    ]
    choices.append(chance.random())
    if depth < 4:
        choices.append([_value(chance, depth + 1) for _ in range(chance.randrange(8))])
        choices.append({f"k{n}": _value(chance, depth + 1) for n in range(chance.randrange(8))})
    return chance.choice(choices)


if __name__ == "__main__":
    unittest.main()
