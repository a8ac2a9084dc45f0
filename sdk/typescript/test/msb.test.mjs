// The contract with msb, played by a script instead of msb.
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import * as sdk from "../dist/esm/index.js";

const { Client, MsbError } = sdk;

/** Calls `use(client)` with a msb that runs this shell script. */
async function withScript(script, use) {
  const folder = mkdtempSync(join(tmpdir(), "msb-ts-"));
  const msb = join(folder, "msb");
  writeFileSync(msb, `#!/bin/sh\n${script}\n`);
  chmodSync(msb, 0o755);
  try {
    return await use(new Client({ msb, home: folder }), folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const failing = (error, exit) => `echo 'warning: x' >&2; echo '${JSON.stringify({ version: 1, error })}' >&2; exit ${exit}`;

test("every code of a failure has its class", async () => {
  const classes = {
    "sandbox-not-found": ["SandboxNotFoundError", 6],
    "volume-not-found": ["VolumeNotFoundError", 6],
    "image-not-found": ["ImageNotFoundError", 6],
    "snapshot-not-found": ["SnapshotNotFoundError", 6],
    "job-not-found": ["JobNotFoundError", 6],
    "sandbox-exists": ["SandboxExistsError", 7],
    "volume-exists": ["VolumeExistsError", 7],
    "snapshot-exists": ["SnapshotExistsError", 7],
    "sandbox-running": ["SandboxRunningError", 8],
    "in-use": ["InUseError", 8],
    "sandbox-not-running": ["SandboxNotRunningError", 9],
    "sandbox-paused": ["SandboxPausedError", 9],
    "timed-out": ["TimedOutError", 4],
    locked: ["LockedError", 5],
    mismatch: ["MismatchError", 3],
    unsupported: ["UnsupportedError", 10],
    unresponsive: ["UnresponsiveError", 11],
    usage: ["UsageError", 64],
    interrupted: ["InterruptedError", 130],
    terminated: ["InterruptedError", 143],
    failed: ["CommandFailedError", 1],
    "of-a-later-version": ["CommandFailedError", 1],
    __proto__x: ["CommandFailedError", 1],
    constructor: ["CommandFailedError", 1],
  };
  for (const [code, [name, exit]] of Object.entries(classes)) {
    const error = { code, message: "it failed", causes: ["why", "deeper"], hint: "do this", name: "web" };
    await withScript(failing(error, exit), (client) =>
      assert.rejects(client.create("web", { image: "x" }), (thrown) => {
        assert.ok(thrown instanceof sdk[name] && thrown instanceof MsbError, `${code}: ${thrown.name}`);
        assert.deepEqual([thrown.code, thrown.message, thrown.causes], [code, "it failed", ["why", "deeper"]]);
        assert.deepEqual([thrown.hint, thrown.subject, thrown.name], ["do this", "web", name]);
        return true;
      }),
    );
  }
});

test("a failure without JSON is recognised by its text and its exit code", async () => {
  for (const [text, exit, code] of [
    ["error: there is no sandbox \"web\"", 1, "sandbox-not-found"],
    ["error: a sandbox web already exists", 1, "sandbox-exists"],
    ["error: web: web is not running (`msb start web` starts it)", 1, "sandbox-not-running"],
    ["error: something else", 1, "failed"],
    ["error: the project is locked", 5, "locked"],
    ["{not json", 11, "unresponsive"],
    ["", 1, "failed"],
  ]) {
    await withScript(`printf '%s\\n' '${text}' >&2; exit ${exit}`, (client) =>
      assert.rejects(client.create("web", { image: "x" }), { code }, text),
    );
  }
});

test("documents that are none are refused", async () => {
  for (const output of ["", "[]", "null", "{}", '{"sandboxes":7}', '{"sandboxes":[1]}', '{"sandboxes":[{}]}', "nonsense"]) {
    await withScript(`echo '${output}'`, (client) => assert.rejects(client.get("web"), { code: "protocol-error" }, output));
  }
});

test("names cannot be options", async () => {
  await withScript("exit 99", async (client) => {
    for (const name of ["", "--all", "-f", "a\0b"]) await assert.rejects(client.get(name), { code: "sandbox-not-found" });
    await assert.rejects(client.create("x", { image: "--help" }), { code: "invalid-argument" });
    await assert.rejects(client.create("x", { image: "i", nonsense: 1 }), { code: "invalid-argument" });
    await assert.rejects(client.create("x", { image: "i", memory: -1 }), { code: "invalid-argument" });
  });
});

test("wrong limits, hosts and files of a sandbox are refused before msb runs", async () => {
  await withScript("exit 99", async (client) => {
    for (const options of [
      { ulimits: "nofile=1" },
      { ulimits: null },
      { ulimits: ["nofile=1"] },
      { ulimits: { nofile: 1.5 } },
      { ulimits: { nofile: -1 } },
      { ulimits: { nofile: true } },
      { ulimits: { nofile: null } },
      { ulimits: { nofile: [2, 1] } },
      { ulimits: { "a=b": 1 } },
      { ulimits: { "": "1" } },
      { shmSize: 1.5 },
      { hosts: ["db=10.0.0.5"] },
      { hosts: { db: 1 } },
      { hosts: { "a=b": "10.0.0.5" } },
      { stopTimeout: -1 },
      { stopSignal: ["SIGINT"] },
      { envFiles: ".env" },
    ]) {
      const creation = client.create("x", { image: "i", ...options });
      await assert.rejects(creation, { code: "invalid-argument" }, JSON.stringify(options));
    }
  });
});

test("the options of a sandbox become flags, and secrets only a variable", async () => {
  const script = 'for it in "$@"; do printf "%s\\n" "$it"; done > "$MSB_HOME/args"; env > "$MSB_HOME/env"; exit 1';
  await withScript(script, async (client, folder) => {
    const { readFileSync } = await import("node:fs");
    const options = {
      image: "alpine",
      command: ["sleep", "--json"],
      cpus: 2,
      memory: 512,
      disk: "2G",
      env: { A: "b c" },
      labels: { l: "1" },
      volumes: {
        "/src": { bind: "src", readonly: true, statVirtualization: "relaxed", hostPermissions: "mirror" },
        "/data": { volume: "data" },
        "/mem": { tmpfs: true, size: 16, mode: 0o755 },
      },
      files: { "/etc/x": { source: "./x", mode: 0o600 } },
      ports: [{ host: 0, guest: 80 }, { host: 1, guest: 2, bind: "::1", protocol: "udp" }],
      scripts: { hi: "#!/bin/sh\necho hi\n" },
      network: {
        default: "deny",
        rules: ["allow@example.com"],
        dns: ["10.0.0.53:5353"],
        dnsSearch: ["corp.example"],
      },
      secrets: [{ name: "T", hosts: ["a.example", "b.example"], value: "s3cret", inject: ["headers", "query"] }],
      replaceWithTimeout: 1500,
      idleTimeout: "2h",
      envFiles: ["./a.env", "/etc/b.env"],
      ulimits: { nofile: 1024, nproc: [10, 20n], core: Infinity, stack: "8388608:unlimited" },
      shmSize: 64,
      hosts: { db: "10.0.0.5", six: "fd00::1" },
      stopTimeout: 2500,
      stopSignal: "SIGINT",
    };
    await assert.rejects(client.create("web", options));
    const args = readFileSync(join(folder, "args"), "utf8");
    for (const flag of [
      "--name=web",
      "--memory=512M",
      "--disk=2G",
      "--env=A=b c",
      "--volume=./src:/src:ro,stat-virt=relaxed,host-perms=mirror",
      "--volume=data:/data",
      "--tmpfs=/mem:size=16M,mode=755",
      "--add-file=./x:/etc/x:mode=0600",
      "--port=0:80",
      "--port=[::1]:1:2/udp",
      "--net-default=deny",
      "--dns=10.0.0.53:5353",
      "--dns-search=corp.example",
      "--secret=T@a.example,b.example:env=MSB_SDK_SECRET_0,inject=headers+query",
      "--replace-with-timeout=1500ms",
      "--idle-timeout=2h",
      "--env-file=./a.env\n--env-file=/etc/b.env\n",
      "--ulimit=nofile=1024:1024\n",
      "--ulimit=nproc=10:20\n",
      "--ulimit=core=unlimited:unlimited\n",
      "--ulimit=stack=8388608:unlimited\n",
      "--shm-size=64M\n",
      "--add-host=db=10.0.0.5\n",
      "--add-host=six=fd00::1\n",
      "--stop-timeout=2500ms\n",
      "--stop-signal=SIGINT\n",
      "alpine\n--json\n--\nsleep\n--json\n",
    ]) {
      assert.ok(args.includes(flag), `${flag} in ${args}`);
    }
    assert.ok(!args.includes("s3cret"));
    assert.ok(readFileSync(join(folder, "env"), "utf8").includes("MSB_SDK_SECRET_0=s3cret"));
    const ulimits = [{ resource: "nofile", soft: 1, hard: 2 }, { resource: "cpu", soft: 3 }];
    await assert.rejects(client.create("web", { image: "alpine", ulimits }), { code: "failed" });
    assert.ok(readFileSync(join(folder, "args"), "utf8").includes("--ulimit=nofile=1:2\n--ulimit=cpu=3:3\n"));
  });
});

test("an aborted call ends msb and rejects with the reason", async () => {
  await withScript('echo $$ > "$MSB_HOME/pid"; exec sleep 100', async (client, folder) => {
    const { readFileSync } = await import("node:fs");
    const began = Date.now();
    await assert.rejects(client.list({ signal: AbortSignal.timeout(500) }), { name: "TimeoutError" });
    assert.ok(Date.now() - began < 3000);
    assert.throws(() => process.kill(Number(readFileSync(join(folder, "pid"), "utf8")), 0), { code: "ESRCH" });
  });
});

test("a msb that ignores SIGTERM holds up no aborted call", async () => {
  await withScript("trap '' TERM; sleep 4 & wait; sleep 4", async (client) => {
    const began = Date.now();
    await assert.rejects(client.list({ signal: AbortSignal.timeout(300) }), { name: "TimeoutError" });
    assert.ok(Date.now() - began < 4000);
  });
});

test("lines of a log are split, decoded and bounded in number", async () => {
  const line = (more) => JSON.stringify({ t: "2026-01-02T03:04:05.678Z", name: "web", s: "stdout", id: 3, cursor: "c", ...more });
  const script = `printf '%s\\n' '${line({ d: "text" })}' '${line({ d: "YQD/Yg==", e: "b64" })}'; printf '%s' '${line({ d: "end" }).slice(0, 20)}'; sleep 0.1; printf '%s\\n' '${line({ d: "end" }).slice(20)}'`;
  await withScript(`case "$*" in *inspect*) echo '{"sandboxes":[{"name":"web"}]}';; *) ${script};; esac`, async (client) => {
    const sandbox = await client.get("web");
    const entries = await sandbox.logs();
    assert.deepEqual(entries.map(({ data }) => Buffer.from(data).toString("hex")), ["74657874", "6100ff62", "656e64"]);
    assert.equal(entries[0].timestamp.getTime(), Date.UTC(2026, 0, 2, 3, 4, 5, 678));
    assert.deepEqual([entries[0].sessionId, entries[0].cursor], [3, "c"]);
  });
  const endless = `while :; do printf '%s\\n' '${line({ d: "more" })}'; done`;
  await withScript(`case "$*" in *inspect*) echo '{"sandboxes":[{"name":"web"}]}';; *) ${endless};; esac`, async (client) => {
    const stream = await (await client.get("web")).logStream({ follow: true });
    await stream.next();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await stream.close();
    assert.equal(await stream.next(), undefined);
  });
});

test("a missed rotation is typed, with its hint", async () => {
  const error = { code: "failed", message: "cannot read the log of web", hint: "read without the cursor" };
  error.causes = ["missed a rotation: the next file 7 of exec.log was removed; the oldest remaining one is 9"];
  const script = `case "$*" in *inspect*) echo '{"sandboxes":[{"name":"web"}]}';; *) ${failing(error, 1)};; esac`;
  await withScript(script, async (client) => {
    const sandbox = await client.get("web");
    await assert.rejects(sandbox.logs({ cursor: "x" }), {
      code: "missed-rotation",
      droppedFromOffset: 7,
      hint: "read without the cursor",
    });
  });
});
