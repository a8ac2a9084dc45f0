import assert from "node:assert/strict";
import { test } from "node:test";
import { AgentClient, ExecTimeoutError, InvalidArgumentError } from "../dist/esm/index.js";
import { withRelay } from "./fake.mjs";

const bytes = (text) => new TextEncoder().encode(text);
const coded = (code) => (error) => assert.equal(error.code, code, error.stack) ?? true;

/** Plays a command that runs until it gets a signal, or ends by itself with a script. */
function command(script = () => {}) {
  return (peer, { id, type, payload }) => {
    if (type === "core.exec.request") {
      peer.send(id, 0, "core.exec.started", { pid: 42 });
      script(peer, id, payload);
    } else if (type === "core.exec.signal" && payload.signal === 15) {
      peer.send(id, 1, "core.exec.exited", { code: 143, signal: 15 });
    }
  };
}

async function withClient(answer, use, options) {
  await withRelay(
    answer,
    async (path) => {
      const client = await AgentClient.connect(path, { timeoutMs: 5000 });
      try {
        await use(client, path);
      } finally {
        await client.close();
      }
    },
    options,
  );
}

test("the handshake gives ids and the ready message", async () => {
  await withClient(
    (peer, { id }) => peer.send(id, 1, "core.pong", {}),
    async (client) => {
      assert.deepEqual(client.ids, [1000, 2000]);
      assert.equal(client.ready().agentVersion, "9.9.9");
      assert.deepEqual(client.ready().features, ["fs", "later"]);
      assert.equal(client.readyBytes()[3], client.readyBytes().length - 4);
      const response = await client.request({ type: "core.ping" });
      assert.deepEqual([response.id, response.type, response.terminal], [1000, "core.pong", true]);
    },
  );
});

test("an aborted handshake and a slow one reject", async () => {
  await withRelay(
    () => {},
    async (path) => {
      await assert.rejects(AgentClient.connect(path, { timeoutMs: 50 }), coded("timed-out"));
      await assert.rejects(AgentClient.connect(path, { signal: AbortSignal.timeout(50) }), { name: "TimeoutError" });
      await assert.rejects(AgentClient.connect(path, { signal: AbortSignal.abort() }), { name: "AbortError" });
    },
    { hello: () => {} },
  );
  await assert.rejects(AgentClient.connect("/nonexistent/agent.sock"), coded("sandbox-not-running"));
});

test("a command's output is collected and acknowledged", async () => {
  const acks = [];
  const script = (peer, id) => {
    peer.send(id, 0, "core.exec.stdout", { data: bytes("out") });
    peer.send(id, 0, "core.later.message", { x: 1 });
    peer.send(id, 0, "core.exec.stderr", { data: bytes("err") });
    peer.send(id, 1, "core.exec.exited", { code: 7 });
  };
  const answer = (peer, message) => {
    if (message.type === "core.exec.output.ack") acks.push(message.payload.bytes);
    command(script)(peer, message);
  };
  await withClient(answer, async (client) => {
    const output = await client.exec("x", ["y"], { env: { A: "1" } });
    assert.deepEqual([output.exitCode, output.stdout, output.stderr, output.success], [7, "out", "err", false]);
  });
});

test("all waiters reject when the connection ends", async () => {
  await withClient(command(), async (client) => {
    const process = await client.execStream("x", { stdin: "pipe" });
    await process.started();
    const waits = [process.wait(), process.stdout.read(), client.request({ type: "core.exec.request" }).then(() => client.request({ type: "core.later" }))];
    const other = client.exec("z");
    await client.execStream("last").then((last) => last.started());
    await client.close();
    for (const wait of [...waits, other]) await assert.rejects(wait, coded("closed"));
    await assert.rejects(process.stdin.write("x"), coded("stdin-closed"));
    await assert.rejects(client.exec("x"), coded("closed"));
  });
  const cut = command((peer) => setTimeout(() => peer.socket.destroy(), 30));
  await withClient(cut, async (client) => {
    await assert.rejects(client.exec("x"), coded("connection-lost"));
    await assert.rejects(client.request({ type: "core.ping" }), coded("connection-lost"));
  });
});

test("an abort and a timeout end the command", async () => {
  const signals = [];
  const answer = (peer, message) => {
    if (message.type === "core.exec.signal") signals.push(message.payload.signal);
    command((peer, id) => peer.send(id, 0, "core.exec.stdout", { data: bytes("partial") }))(peer, message);
  };
  await withClient(answer, async (client) => {
    const reason = new Error("enough");
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 30);
    await assert.rejects(client.exec("x", { signal: controller.signal }), (error) => error === reason);
    await assert.rejects(client.exec("x", { signal: controller.signal }), (error) => error === reason);
    await assert.rejects(client.exec("x", { timeout: 30 }), (error) => {
      assert.ok(error instanceof ExecTimeoutError);
      assert.deepEqual([error.timeoutMs, error.stdout], [30, bytes("partial")]);
      return true;
    });
    assert.deepEqual(signals, [15, 15]);
  });
});

test("a command that ignores SIGTERM gets SIGKILL", async () => {
  const answer = (peer, { id, type, payload }) => {
    if (type === "core.exec.request") peer.send(id, 0, "core.exec.started", { pid: 1 });
    if (type === "core.exec.signal" && payload.signal === 9) peer.send(id, 1, "core.exec.exited", { code: 137, signal: 9 });
  };
  await withClient(answer, async (client) => {
    const began = Date.now();
    await assert.rejects(client.exec("x", { timeout: 10, killAfter: 50 }), coded("exec-timeout"));
    assert.ok(Date.now() - began < 1000);
    for await (const event of client.execStream("x", { killAfter: 0 })) {
      assert.equal(event.type, "started");
      break;
    }
  });
});

test("events are a typed union, with failures and input errors", async () => {
  const script = (peer, id, { cmd }) => {
    if (cmd === "missing") {
      peer.send(id, 1, "core.exec.failed", { kind: "not_found", errno: 2, errno_name: "ENOENT", message: "no\u001b[31m", stage: "execve" });
      return;
    }
    peer.send(id, 0, "core.exec.stdin.error", { message: "closed", errno: 32, errno_name: "EPIPE" });
    peer.send(id, 0, "core.exec.stdout", { data: bytes("a") });
    peer.send(id, 1, "core.exec.exited", { code: 0 });
  };
  await withClient(command(script), async (client) => {
    const events = [];
    for await (const event of client.execStream("x")) events.push(event.type);
    assert.deepEqual(events, ["started", "stdin_error", "stdout", "exited"]);
    for await (const event of client.execStream("missing")) {
      if (event.type !== "failed") continue;
      assert.equal(event.error.kind, "not_found");
      assert.equal(event.error.message, "no\ufffd[31m");
    }
    await assert.rejects(client.exec("missing"), { code: "exec-failed", errno: 2, errnoName: "ENOENT", stage: "execve" });
  });
});

test("a session that ends without an exit is no success", async () => {
  const script = (peer, id) => peer.send(id, 1, "core.later.end", {});
  await withClient(command(script), async (client) => {
    await assert.rejects(client.exec("x"), coded("connection-lost"));
  });
});

test("malformed messages fail their session only", async () => {
  const script = (peer, id, { cmd }) => {
    if (cmd === "bad") peer.send(id, 0, "core.exec.stdout", { data: "text" });
    else peer.send(id, 1, "core.exec.exited", { code: 0 });
  };
  await withClient(command(script), async (client) => {
    await assert.rejects(client.exec("bad"), coded("protocol-error"));
    assert.equal((await client.exec("good")).exitCode, 0);
  });
});

test("output without acknowledgements is bounded", async () => {
  const script = (peer, id, { cmd }) => {
    if (cmd !== "flood") return peer.send(id, 1, "core.exec.exited", { code: 0 });
    const data = new Uint8Array(1 << 20);
    for (let count = 0; count < 40; count += 1) peer.send(id, 0, "core.exec.stdout", { data });
  };
  await withClient(command(script), async (client) => {
    const flood = await client.execStream("flood");
    await assert.rejects(flood.wait.call(await unread(flood)), coded("protocol-error"));
    await assert.rejects(client.exec("flood", { maxOutput: 1 << 20 }), coded("too-large"));
    assert.equal((await client.exec("x")).exitCode, 0);
  });
});

/** Claims the output and does not read it. */
async function unread(process) {
  await process.stdout.read();
  return process;
}

test("input waits for the command", async () => {
  let [received, id] = [0, 0];
  let peerOf;
  const answer = (peer, message) => {
    if (message.type === "core.exec.request") {
      [id, peerOf] = [message.id, peer];
      peer.send(id, 0, "core.exec.started", { pid: 1 });
    } else if (message.type === "core.exec.stdin") {
      received += message.payload.data.length;
      if (message.payload.data.length === 0) peer.send(id, 1, "core.exec.exited", { code: 0 });
    }
  };
  await withClient(answer, async (client) => {
    const process = await client.execStream("x", { stdin: "pipe" });
    const written = process.stdin.write(new Uint8Array(3 << 20));
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(received, 1 << 20);
    peerOf.send(id, 0, "core.exec.stdin.ack", { bytes: 1 << 20 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(received, 2 << 20);
    peerOf.send(id, 0, "core.exec.stdin.ack", { bytes: 99 << 20 });
    await written;
    await process.stdin.end();
    assert.equal((await process.wait()).exitCode, 0);
    await assert.rejects(process.stdin.write("late"), coded("stdin-closed"));
  });
});

test("wrong options are refused before anything is sent", async () => {
  await withClient(
    () => assert.fail("something was sent"),
    async (client) => {
      for (const run of [
        () => client.exec(""),
        () => client.exec("a\0b"),
        () => client.exec("a", ["b\0"]),
        () => client.exec("a", { timeout: -1 }),
        () => client.exec("a", { tiemout: 1 }),
        () => client.exec("a", { env: { "A=B": "1" } }),
        () => client.exec("a", { tty: true, stdin: "x" }),
        () => client.exec("a", { stdin: "pipe" }),
        () => client.exec("a", { tty: { rows: 0, cols: 1 } }),
        () => client.exec("a", { rlimits: [{ resource: "nofile", soft: 2, hard: 1 }] }),
        () => client.exec("a", { cwd: "/" }, { cwd: "/" }),
        () => client.execStream("a", "b"),
      ]) {
        await assert.rejects(async () => run(), (error) => error instanceof InvalidArgumentError, String(run));
      }
    },
  );
});

test("a listing with a path in it is refused", async () => {
  const stat = { kind: "file", mode: 0o644, uid: 0, gid: 0, size: 1, modified_ns: 0 };
  for (const name of ["../x", "a/b", "", ".", "..", "x\0"]) {
    const answer = (peer, { id }) => peer.send(id, 1, "core.fs.response", { entries: [{ name: bytes(name), stat }] });
    await withClient(answer, (client) => assert.rejects(client.fs.list("/"), coded("protocol-error"), name));
  }
});

test("a file is read and written within the window", async () => {
  let unacknowledged = 0;
  const answer = (peer, { id, type, payload }) => {
    if (type === "core.ping") return peer.send(id, 1, "core.pong", {});
    if (type === "core.fs.data") {
      unacknowledged += 1;
      assert.ok(unacknowledged <= 8);
      if (payload.data.length === 0) return peer.send(id, 1, "core.fs.response", {});
      if (unacknowledged === 8) {
        peer.send(id, 0, "core.fs.data.ack", { frames: (peer.frames = (peer.frames ?? 0) + 8) });
        unacknowledged = 0;
      }
    }
  };
  await withClient(answer, async (client) => {
    assert.equal(await client.fs.write("/x", new Uint8Array(4 << 20)), 4 << 20);
  });
});

test("file operations wait for a place in the guest", async () => {
  let requests = 0;
  const stat = { kind: "file", mode: 0o644, uid: 0, gid: 0, size: 1, modified_ns: 0 };
  const failure = { kind: "busy", message: "16 file operations are under way already" };
  const answer = (peer, { id, type, payload }) => {
    if (type === "core.ping") return peer.send(id, 1, "core.pong", {});
    if (type === "core.fs.data") return payload.data.length === 0 && peer.send(id, 1, "core.fs.response", {});
    if (type !== "core.fs.request") return;
    requests += 1;
    if (requests % 3 !== 0) return peer.send(id, 1, "core.fs.response", { failure });
    if (payload.op === "read") peer.send(id, 0, "core.fs.data", { data: bytes("x") });
    if (payload.op === "list") return peer.send(id, 1, "core.fs.response", { entries: [] });
    if (payload.op !== "write" || payload.data) peer.send(id, 1, "core.fs.response", { stat });
  };
  await withClient(answer, async (client) => {
    assert.equal(await client.fs.exists("/x"), true);
    await client.fs.write("/x", "x");
    await client.fs.write("/x", new Uint8Array(200_000));
    assert.deepEqual(await client.fs.read("/x"), bytes("x"));
    assert.deepEqual(await client.fs.list("/"), []);
    const writer = await client.fs.writeStream("/x");
    assert.equal(await writer.end(), 0);
    assert.equal(requests, 18);
  });
});

test("a busy file is an error at once, and the wait for a place can be aborted", async () => {
  let requests = 0;
  const failure = { kind: "busy", message: "busy", errno: 16, errno_name: "EBUSY" };
  const answer = (peer, { id }) => {
    requests += 1;
    peer.send(id, 1, "core.fs.response", { failure });
  };
  await withClient(answer, async (client) => {
    await assert.rejects(client.fs.stat("/x"), { kind: "busy" });
    assert.equal(requests, 1);
    delete failure.errno;
    await assert.rejects(client.fs.stat("/x", { signal: AbortSignal.timeout(100) }), { name: "TimeoutError" });
  });
});

test("random messages of a hostile guest settle every call", async () => {
  let seed = 7;
  const random = (below) => (seed = (seed * 48271) % 0x7fffffff) % below;
  const types = ["started", "stdout", "stderr", "stdin.ack", "stdin.error", "exited", "failed", "later"].map((t) => `core.exec.${t}`);
  types.push("core.error", "core.fs.response", "core.fs.data", "core.fs.data.ack", "core.pong", "core.ready", "");
  const keys = ["pid", "data", "bytes", "message", "errno", "code", "signal", "kind", "failure", "stat", "entries", "frames"];
  const values = [0, -1, 2 ** 40, 2n ** 64n - 1n, -(2n ** 63n), 1.5, NaN, "text", "not_found", bytes("bytes"), null, true, [], [1], {}, new Map([[1, 2]])];
  const answer = (peer, { id, type }) => {
    if (!/request$|ping$/.test(type)) return;
    for (let count = random(6); count > 0; count -= 1) {
      const payload = Object.fromEntries(Array.from({ length: random(4) }, () => [keys[random(keys.length)], values[random(values.length)]]));
      peer.send(id, random(8) === 0 ? 1 : 0, types[random(types.length)], payload);
    }
    peer.send(id, 1, "core.error", { kind: "other", message: "the end" });
  };
  await withRelay(
    answer,
    async (path) => {
      const client = await AgentClient.connect(path);
      let settled = 0;
      for (let round = 0; round < 300; round += 1) {
        const calls = [
          client.exec("x", { stdin: "input" }),
          client.fs.read("/x"),
          client.fs.list("/x"),
          client.fs.stat("/x"),
          client.fs.write("/x", "y"),
          client.fs.write("/x", new Uint8Array(300_000)),
          (async () => {
            for await (const event of client.execStream("x")) if (event.type === "failed") break;
          })(),
        ];
        for (const { reason } of await Promise.allSettled(calls)) {
          settled += 1;
          assert.ok(reason === undefined || typeof reason.code === "string", String(reason?.stack));
        }
      }
      assert.equal(settled, 2100);
      await client.close();
    },
    { hello: (peer) => peer.hello(1, 1_000_000) },
  );
});

test("1000 commands at once share a connection", async () => {
  const script = (peer, id) => peer.send(id, 1, "core.exec.exited", { code: 0 });
  await withRelay(
    command(script),
    async (path) => {
      const client = await AgentClient.connect(path);
      const outputs = await Promise.all(Array.from({ length: 1000 }, () => client.exec("x")));
      assert.ok(outputs.every(({ success }) => success));
      await assert.rejects(client.exec("x"), coded("ids-exhausted"));
      await client.close();
    },
  );
});
