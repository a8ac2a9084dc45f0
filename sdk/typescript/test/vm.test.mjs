// Tests against real sandboxes: they need MSB (the program) and MSB_IMAGE (an image with a busybox).
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AgentClient, Client } from "../dist/esm/index.js";

const image = process.env.MSB_IMAGE;
const skip = process.env.MSB && image ? false : "needs MSB and MSB_IMAGE";
const coded = (code) => (error) => assert.equal(error.code, code, error.stack) ?? true;

let home, client, sandbox;
before(async () => {
  if (skip) return;
  home = mkdtempSync(join(tmpdir(), "msb-ts-"));
  client = new Client({ home });
  sandbox = await client.create("dev", { image, memory: 256, labels: { team: "blue" }, ports: [{ host: 0, guest: 80 }] });
});
after(async () => {
  if (skip) return;
  await sandbox?.dispose();
  for (const { name } of await client.list()) await client.remove(name, { force: true });
  rmSync(home, { recursive: true, force: true });
});

test("the sample of the raw tier runs", { skip }, async () => {
  process.env.MSB_HOME = home;
  const frame = { type: "core.ping", payload: {} };
  const client = await AgentClient.connectSandbox("dev");
  const ready = client.ready();
  const response = await client.request(frame);
  assert.ok(ready.features.includes("fs"));
  assert.equal(response.type, "core.pong");
  await client.close();
  delete process.env.MSB_HOME;
});

test("commands", { skip }, async () => {
  const output = await sandbox.exec("sh", ["-c", "echo out; echo err >&2; exit 7"], { cwd: "/tmp", timeout: 20_000 });
  assert.deepEqual([output.exitCode, output.stdout, output.stderr], [7, "out\n", "err\n"]);
  assert.equal((await sandbox.shell("echo $0 $A", { env: { A: "b c" } })).stdout, "/bin/sh b c\n");
  assert.ok((await sandbox.ping()) > 0);
});

test("an abort ends the process in the guest within a second", { skip }, async () => {
  const controller = new AbortController();
  const run = sandbox.exec("sh", ["-c", "trap '' TERM; while :; do sleep 0.05; done # 515151"], { signal: controller.signal });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const began = Date.now();
  controller.abort();
  await assert.rejects(run, { name: "AbortError" });
  const left = await sandbox.shell("grep -l 51515[1] /proc/[0-9]*/cmdline 2>/dev/null; true");
  assert.equal(left.stdout, "");
  assert.ok(Date.now() - began < 3000);
});

test("the abort of one call leaves the others alone", { skip }, async () => {
  const controller = new AbortController();
  const long = sandbox.exec("sleep", ["60"], { signal: controller.signal });
  const other = sandbox.exec("sh", ["-c", "sleep 1; echo done"]);
  setTimeout(() => controller.abort(), 200);
  await assert.rejects(long, { name: "AbortError" });
  assert.equal((await other).stdout, "done\n");
});

test("an aborted transfer ends, and many do not use up the guest", { skip }, async () => {
  await sandbox.exec("dd", ["if=/dev/zero", "of=/tmp/big", "bs=1M", "count=16"]);
  for (let round = 0; round < 40; round += 1) {
    for await (const piece of sandbox.fs.readStream("/tmp/big")) {
      assert.ok(piece.length > 0);
      break;
    }
    const writer = await sandbox.fs.writeStream("/tmp/half");
    await writer.write("half");
    writer.abort();
  }
  assert.equal((await sandbox.fs.read("/tmp/big")).length, 16 << 20);
  assert.equal(await sandbox.fs.exists("/tmp/half"), false);
  await assert.rejects(sandbox.fs.read("/tmp/big", { max: 1000 }), coded("too-large"));
});

test("files", { skip }, async () => {
  await sandbox.fs.mkdir("/tmp/a/b");
  assert.equal(await sandbox.fs.write("/tmp/a/b/c", "text", { mode: 0o600, modified: new Date(1e12) }), 4);
  const stat = await sandbox.fs.stat("/tmp/a/b/c");
  assert.deepEqual([stat.kind, stat.mode, stat.size, stat.modified.getTime()], ["file", 0o600, 4, 1e12]);
  await sandbox.fs.symlink("c", "/tmp/a/b/l");
  assert.deepEqual((await sandbox.fs.list("/tmp/a/b")).map(({ name, target }) => [name, target]), [["c", null], ["l", "c"]]);
  await sandbox.fs.removeDir("/tmp/a");
  await assert.rejects(sandbox.fs.readText("/tmp/a/b/c"), coded("path-not-found"));
  writeFileSync(join(home, "in"), "from the host");
  await sandbox.copyFromHost(join(home, "in"), "/tmp/in");
  await sandbox.copyToHost("/tmp/in", join(home, "out"));
  assert.equal(readFileSync(join(home, "out"), "utf8"), "from the host");
});

test("log streams are awaitable and iterable, and continue after a cursor", { skip }, async () => {
  await sandbox.exec("sh", ["-c", "for i in 1 2 3; do echo entry $i; done"]);
  const entries = (await sandbox.logs({ sources: ["stdout"] })).filter((entry) => entry.text().startsWith("entry"));
  assert.deepEqual(entries.map((entry) => entry.text()), ["entry 1", "entry 2", "entry 3"]);
  for await (const entry of sandbox.logStream({ follow: true, cursor: entries[0].cursor })) {
    assert.ok(entry.timestamp instanceof Date);
    assert.deepEqual([entry.source, entry.text()], ["stdout", "entry 2"]);
    break;
  }
  const stream = await sandbox.logStream({ follow: true, cursor: entries[2].cursor });
  const waiting = stream.next({ signal: AbortSignal.timeout(200) });
  await assert.rejects(waiting, { name: "TimeoutError" });
  await stream.close();
  assert.equal(await stream.next(), undefined);
  await assert.rejects(sandbox.logs({ cursor: "bad" }), coded("invalid-cursor"));
});

test("an aborted follow ends, and its msb too", { skip }, async () => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error("stop")), 300);
  await assert.rejects(
    async () => {
      for await (const _ of sandbox.logStream({ follow: true, signal: controller.signal }));
    },
    { message: "stop" },
  );
});

test("metrics", { skip }, async () => {
  const metrics = await sandbox.metrics();
  assert.ok(metrics.uptimeMs > 0 && metrics.memoryLimitBytes === 256 << 20);
  const samples = [];
  for await (const sample of sandbox.metricsStream({ interval: 100 })) if (samples.push(sample) === 3) break;
  assert.ok(samples[2].uptimeMs > samples[0].uptimeMs);
  assert.deepEqual((await client.metrics()).map(({ name }) => name), ["dev"]);
});

test("lists, labels and ports", { skip }, async () => {
  assert.deepEqual([...(await client.list({ labels: { team: "blue" } }))].map(({ name }) => name), ["dev"]);
  assert.deepEqual([...(await client.list({ labels: { team: "red" } }))], []);
  const page = await client.list({ limit: 1 });
  assert.equal(page.nextCursor, null);
  const [port] = await sandbox.ports();
  assert.ok(port.host > 0 && port.guest === 80 && port.bind === "127.0.0.1");
});

test("failures are typed", { skip }, async () => {
  await assert.rejects(client.get("nope"), { code: "sandbox-not-found", subject: "nope" });
  await assert.rejects(client.create("dev", { image }), { code: "sandbox-exists", subject: "dev" });
  await assert.rejects(client.create("x", { image, network: { rules: ["allow@*.com"] } }), { code: "suffix-too-broad", raw: "*.com" });
  await assert.rejects(client.volumes.get("nope"), coded("volume-not-found"));
  await assert.rejects(client.snapshots.get("nope"), coded("snapshot-not-found"));
  await assert.rejects(client.images.inspect("nope"), coded("image-not-found"));
  await assert.rejects(new Client({ msb: "/nonexistent/msb" }).list(), coded("msb-not-found"));
  await assert.rejects(client.create("x", { image, signal: AbortSignal.abort() }), { name: "AbortError" });
});

test("a secret's value is not on a command line, and is a placeholder in the guest", { skip }, async () => {
  const secrets = [{ name: "TOKEN", hosts: ["api.example.org"], value: "s3cret-value" }];
  const other = await client.create("secret", { image, memory: 256, secrets, ephemeral: true });
  try {
    const { stdout } = await other.shell("echo $TOKEN");
    assert.ok(stdout.trim().length > 0 && !stdout.includes("s3cret-value"), stdout);
    await other.restart();
    assert.equal((await other.shell("echo $TOKEN")).exitCode, 0);
  } finally {
    await other.dispose();
  }
  await assert.rejects(client.get("secret"), coded("sandbox-not-found"));
});

test("pause, stop, start and the end of a scope", { skip }, async () => {
  await sandbox.pause();
  assert.equal(sandbox.info.state, "paused");
  await sandbox.resume();
  const lost = sandbox.exec("sleep", ["60"]);
  lost.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 500));
  await sandbox.stopWithTimeout(3000);
  await assert.rejects(lost, (error) => ["closed", "connection-lost"].includes(error.code));
  assert.equal(await sandbox.status(), "stopped");
  await assert.rejects(sandbox.exec("true"), coded("sandbox-not-running"));
  await sandbox.start();
  assert.equal((await sandbox.exec("true")).success, true);
  const second = await client.connectWithTimeout("dev", 10_000);
  await second.dispose();
  assert.equal(await sandbox.status(), "running");
});

test("a handle connects again after another one has restarted the sandbox", { skip }, async () => {
  const other = await client.connect("dev");
  await sandbox.restart();
  assert.equal((await other.exec("true")).success, true);
  await other.close();
  await assert.rejects(other.exec("true"), coded("closed"));
  const gone = await client.create("gone", { image, memory: 256 });
  await client.remove("gone", { force: true });
  await gone.dispose();
});

test("copies, renames and links in the guest, or an error that says that it is too old", { skip }, async () => {
  await sandbox.fs.write("/tmp/from", "x");
  await sandbox.fs.symlink("/tmp/from", "/tmp/link");
  assert.equal(await sandbox.fs.readLink("/tmp/link"), "/tmp/from");
  if ((await sandbox.agent().then(async (agent) => (await agent.close(), agent.ready()))).features.includes("fs_tree")) {
    await sandbox.fs.copy("/tmp/from", "/tmp/copy");
    await sandbox.fs.rename("/tmp/copy", "/tmp/renamed");
    assert.equal(await sandbox.fs.readText("/tmp/renamed"), "x");
    assert.equal(await sandbox.fs.realPath("/tmp/link"), "/tmp/from");
    assert.equal((await sandbox.fs.stat("/tmp/link", { follow: true })).kind, "file");
  } else {
    await assert.rejects(sandbox.fs.copy("/tmp/from", "/tmp/copy"), coded("unsupported"));
    await assert.rejects(sandbox.fs.stat("/tmp/link", { follow: true }), coded("unsupported"));
  }
});

test("a sandbox that dies rejects every waiter", { skip }, async () => {
  const handle = await client.get("dev");
  const waits = [handle.exec("sleep", ["60"]), handle.shell("sleep 61")];
  for (const wait of waits) wait.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 700));
  await sandbox.kill();
  for (const wait of waits) await assert.rejects(wait, coded("connection-lost"));
});
