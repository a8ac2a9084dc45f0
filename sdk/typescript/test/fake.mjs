// A relay without a guest: it shakes hands and answers messages as a test says.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decode } from "../dist/esm/cbor.js";
import { FrameDecoder, encodeBody, encodeFrame } from "../dist/esm/index.js";

export const READY = encodeBody("core.ready", {
  boot_time_ns: 1,
  init_time_ns: 2,
  ready_time_ns: 3,
  agent_version: "9.9.9",
  features: ["fs", "later"],
  unknown: { nested: [1] },
});

/** One client of the fake relay. */
class Peer {
  received = [];

  constructor(socket) {
    this.socket = socket;
  }

  send(id, flags, type, payload) {
    this.socket.write(encodeFrame(id, flags, encodeBody(type, payload)));
  }

  hello(start = 1000, end = 2000) {
    const ids = Buffer.alloc(8);
    ids.writeUInt32BE(start, 0);
    ids.writeUInt32BE(end, 4);
    this.socket.write(Buffer.concat([ids, encodeFrame(0, 0, READY)]));
  }
}

/** Serves `answer(peer, {id, flags, type, payload})` for each message, and calls `use(path)`. */
export async function withRelay(answer, use, { hello = (peer) => peer.hello() } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "msb-ts-"));
  const path = join(folder, "agent.sock");
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    const [peer, decoder] = [new Peer(socket), new FrameDecoder()];
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      decoder.feed(chunk);
      for (let frame = decoder.next(); frame; frame = decoder.next()) {
        const { t, p } = decode(frame.body);
        const message = { id: frame.id, flags: frame.flags, type: t, payload: decode(p) };
        peer.received.push(message);
        answer(peer, message);
      }
    });
    hello(peer);
  });
  await new Promise((resolve) => server.listen(path, resolve));
  try {
    return await use(path);
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true, force: true });
  }
}
