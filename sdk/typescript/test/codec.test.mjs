import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { decode, encode } from "../dist/esm/cbor.js";
import { ProtocolError, FrameDecoder, FrameError, encodeFrame, MAX_BODY_BYTES } from "../dist/esm/index.js";

const hex = (text) => new Uint8Array(Buffer.from(text, "hex"));
const toHex = (data) => Buffer.from(data).toString("hex");

const values = [
  [0, "00"],
  [23, "17"],
  [24, "1818"],
  [65536, "1a00010000"],
  [2 ** 53 - 1, "1b001fffffffffffff"],
  [2n ** 64n - 1n, "1bffffffffffffffff"],
  [-1, "20"],
  [-(2 ** 53 - 1), "3b001ffffffffffffe"],
  [-(2n ** 63n), "3b7fffffffffffffff"],
  [-(2n ** 64n), "3bffffffffffffffff"],
  [1.1, "fb3ff199999999999a"],
  [Infinity, "fb7ff0000000000000"],
  ["ü", "62c3bc"],
  ["\ufeffbom", "66efbbbf626f6d"],
  [hex("00ff"), "4200ff"],
  [[1, [true, false, null]], "820183f5f4f6"],
  [{ v: 1, t: "x", p: hex("a0") }, "a3617601617461786170" + "41a0"],
];

test("values survive a round trip, and have these bytes", () => {
  for (const [value, bytes] of values) {
    assert.equal(toHex(encode(value)), bytes);
    assert.deepEqual(decode(hex(bytes)), value);
  }
});

test("all lengths of byte strings survive", () => {
  for (const length of [0, 23, 24, 255, 256, 65535, 65536, 200_000]) {
    const data = new Uint8Array(length).fill(7);
    assert.deepEqual(decode(encode({ data })), { data });
  }
});

test("integers beyond 2^53 are exact", () => {
  assert.equal(decode(hex("1b0020000000000001")), 2n ** 53n + 1n);
  assert.equal(decode(hex("3b0020000000000001")), -(2n ** 53n) - 2n);
});

test("a key `__proto__` is data", () => {
  const value = decode(encode(new Map([["__proto__", { polluted: true }]])));
  assert.ok(Object.hasOwn(value, "__proto__"));
  assert.equal({}.polluted, undefined);
  assert.equal(Object.getPrototypeOf(value), Object.prototype);
});

test("tags are skipped, and other spellings decoded", () => {
  assert.deepEqual(decode(hex("d84043010203")), hex("010203"));
  assert.deepEqual(decode(hex("5f4201024103ff")), hex("010203"));
  assert.deepEqual(decode(hex("bf61619f0102ffff")), { a: [1, 2] });
  assert.equal(decode(hex("f93e00")), 1.5);
  assert.deepEqual(decode(hex("a10102")), new Map([[1, 2]]));
});

test("hostile bytes are refused", () => {
  const hostile = ["", "1901", "450102", "5b8000000000000000", "9affffffff00", "bb8000000000000000", "1c", "ff", "62c328"];
  hostile.push("0000", "a18000", "a2616101616102", "f820", "bf6161ff", "5f6161ff", "9f01", "81".repeat(33) + "00");
  hostile.push("c1".repeat(1000) + "00", "5b800000000000000000");
  for (const bytes of hostile) assert.throws(() => decode(hex(bytes)), ProtocolError, bytes);
});

test("random bytes never do anything but fail or decode", () => {
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 0x7fffffff);
  const valid = encode({ a: [1, "x", hex("00"), { b: -5 }], c: 1.5 });
  for (let round = 0; round < 20_000; round += 1) {
    const data = round % 2 ? Uint8Array.from({ length: random() % 40 }, () => random() % 256) : valid.slice();
    if (round % 2 === 0) data[random() % data.length] = random() % 256;
    try {
      decode(data);
    } catch (error) {
      assert.ok(error instanceof ProtocolError, String(error));
    }
  }
});

test("many small values are bounded", () => {
  const data = new Uint8Array(5 + (1 << 21));
  data.set(hex("9a00200000"));
  assert.throws(() => decode(data), /more than/);
});

test("frames are found however they are split", () => {
  const frames = [
    { id: 1, flags: 2, body: hex("") },
    { id: 0xffffffff, flags: 255, body: hex("010203") },
    { id: 7, flags: 0, body: new Uint8Array(70_000).fill(9) },
  ];
  const wire = Buffer.concat(frames.map(({ id, flags, body }) => encodeFrame(id, flags, body)));
  for (const size of [1, 2, 3, 8, 9, 4096, wire.length]) {
    const decoder = new FrameDecoder();
    const found = [];
    for (let at = 0; at < wire.length; at += size) {
      decoder.feed(wire.subarray(at, at + size));
      for (let frame = decoder.next(); frame; frame = decoder.next()) found.push(frame);
    }
    assert.deepEqual(found, frames, `in pieces of ${size}`);
    assert.equal(decoder.pendingBytes, 0);
  }
});

test("frames out of bounds are refused, without memory for them", () => {
  for (const [header, pattern] of [["00000004", /shorter/], ["00400001", /larger/], ["ffffffff", /larger/]]) {
    const decoder = new FrameDecoder();
    decoder.feed(hex(header));
    assert.throws(() => decoder.next(), (error) => error instanceof FrameError && pattern.test(error.message));
    assert.throws(() => decoder.next(), FrameError);
  }
  assert.throws(() => encodeFrame(1, 0, new Uint8Array(MAX_BODY_BYTES + 1)), FrameError);
  assert.equal(encodeFrame(1, 0, new Uint8Array(MAX_BODY_BYTES)).length, 4 + 4 * 1024 * 1024);
});

const vectors = new URL("../../conformance/vectors.json", import.meta.url);
test("the vectors of all languages", { skip: existsSync(vectors) ? false : "there is no conformance kit" }, () => {
  const from = (value) => {
    if (Array.isArray(value)) return value.map(from);
    if (value === null || typeof value !== "object") return value;
    if ("$hex" in value) return hex(value.$hex);
    if ("$int" in value) return BigInt(value.$int);
    if ("$float" in value) return Number(value.$float);
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, from(item)]));
  };
  const { cbor, cbor_decode_only: only, cbor_invalid: invalid } = JSON.parse(readFileSync(vectors, "utf8"));
  for (const { name, hex: bytes, value } of cbor) assert.equal(toHex(encode(from(value))), bytes, name);
  for (const { name, hex: bytes, value } of [...cbor, ...only]) assert.deepEqual(decode(hex(bytes)), from(value), name);
  for (const { name, hex: bytes } of invalid) assert.throws(() => decode(hex(bytes)), ProtocolError, name);
});
