// Carries out the steps of the conformance kit: JSON lines on standard input, answers on standard output.
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import { decode, encode } from "./dist/esm/cbor.js";
import { AgentClient, Client, FrameDecoder, MsbError, encodeBody } from "./dist/esm/index.js";

const client = new Client();
const sandboxes = new Map();
const objects = new Map();

class Skip extends Error {}

/** Bytes of a request. */
function bytes(value) {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string") return Buffer.from(value);
  if ("hex" in value) return new Uint8Array(Buffer.from(value.hex, "hex"));
  if ("repeat" in value) return new Uint8Array(Buffer.from(value.repeat.repeat(value.times)));
  return new Uint8Array(Buffer.from(value.text));
}

/** Bytes of an answer. */
function shown(data) {
  const sha256 = createHash("sha256").update(data).digest("hex");
  let text = null;
  if (data.length <= 4096) {
    try {
      text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
    } catch {
      // It is not text.
    }
  }
  return { len: data.length, sha256, text, hex: data.length <= 256 ? Buffer.from(data).toString("hex") : null };
}

/** CBOR values of an answer. */
function toJson(value) {
  if (value === undefined) return null;
  if (typeof value === "bigint") return { $int: String(value) };
  if (value instanceof Uint8Array) return { $hex: Buffer.from(value).toString("hex") };
  if (typeof value === "number" && !Number.isInteger(value)) return { $float: String(value) };
  if (Array.isArray(value)) return value.map(toJson);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [String(key), toJson(item)]));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toJson(item)]));
  }
  return value;
}

/** CBOR values of a request. */
function fromJson(value) {
  if (Array.isArray(value)) return value.map(fromJson);
  if (value === null || typeof value !== "object") return value;
  if ("$hex" in value) return new Uint8Array(Buffer.from(value.$hex, "hex"));
  if ("$int" in value) return BigInt(value.$int);
  if ("$float" in value) return Number(value.$float);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromJson(item)]));
}

function object(label) {
  if (!objects.has(label)) throw new Error(`there is no object ${label}`);
  return objects.get(label);
}

async function sandbox(name) {
  if (!sandboxes.has(name)) sandboxes.set(name, await client.get(name));
  return sandboxes.get(name);
}

async function guest(step) {
  return step.agent === undefined ? sandbox(step.sandbox) : object(step.agent);
}

function mount(value) {
  const flags = {
    readonly: value.readonly,
    statVirtualization: value.stat_virtualization,
    hostPermissions: value.host_permissions,
    size: value.size_mib,
  };
  for (const key of Object.keys(flags)) if (flags[key] === undefined) delete flags[key];
  if (value.tmpfs) return { tmpfs: true, ...flags };
  return value.named === undefined ? { bind: value.bind, ...flags } : { volume: value.named, ...flags };
}

function createOptions(step) {
  const { image, cpus, env, labels, workdir, user, hostname, ports, network, replace, command, restart, scripts } = step;
  const volumes = step.volumes && Object.fromEntries(Object.entries(step.volumes).map(([path, m]) => [path, mount(m)]));
  const options = { image, cpus, env, labels, workdir, user, hostname, ports, network, replace, command, restart };
  for (const path of step.tmpfs ?? []) (options.volumes ??= {})[path] = { tmpfs: true };
  return {
    ...options,
    scripts,
    volumes: { ...options.volumes, ...volumes },
    memory: step.memory_mib,
    replaceWithTimeout: step.replace_with_timeout_ms,
    maxDuration: step.max_duration_ms,
    idleTimeout: step.idle_timeout_ms,
  };
}

function execOptions(step) {
  const options = { cwd: step.cwd, user: step.user, env: step.env, timeout: step.timeout_ms, rlimits: step.rlimits };
  if (step.tty) options.tty = step.rows ? { rows: step.rows, cols: step.cols } : true;
  if (step.stdin !== undefined) options.stdin = bytes(step.stdin);
  return options;
}

function output(result) {
  const { exitCode, signal, stdoutBytes, stderrBytes } = result;
  return { exit_code: exitCode, signal, stdout: shown(stdoutBytes), stderr: shown(stderrBytes) };
}

async function changed(step, action) {
  const handle = await sandbox(step.sandbox);
  await action(handle);
  return { status: await handle.status() };
}

async function created(step, make) {
  sandboxes.get(step.name)?.close();
  const handle = await make();
  handle.detach();
  sandboxes.set(step.name, handle);
  return { name: handle.name, status: handle.info.state };
}

function entry(line) {
  const { timestamp, source, sessionId, cursor, data } = line;
  return { timestamp: timestamp.toISOString(), source, session_id: sessionId, cursor, data: shown(data) };
}

function sample(metrics) {
  return {
    cpu_percent: metrics.cpuPercent,
    memory_bytes: metrics.memoryBytes,
    memory_limit_bytes: metrics.memoryLimitBytes,
    uptime_ms: metrics.uptimeMs,
    timestamp_ms: metrics.timestamp.getTime(),
  };
}

function raw(frame) {
  return { id: frame.id, flags: frame.flags, type: frame.type, payload: toJson(frame.payload) };
}

/** Reads from a stream of a process; what was read too much is kept. */
async function readUntil(step) {
  const process = object(step.process);
  const key = `${step.process}:${step.stream ?? "stdout"}`;
  let data = objects.get(key) ?? Buffer.alloc(0);
  const stream = step.stream === "stderr" ? process.stderr : process.stdout;
  for (;;) {
    const at = step.until_text === undefined ? -1 : data.indexOf(step.until_text);
    const end = step.until_len === undefined ? (at < 0 ? Infinity : at + step.until_text.length) : step.until_len;
    if (data.length >= end) {
      objects.set(key, data.subarray(end));
      return { data: shown(data.subarray(0, end)) };
    }
    const piece = await stream.read();
    if (piece === undefined) return { data: shown(data) };
    data = Buffer.concat([data, piece]);
  }
}

function withoutRepetition(items) {
  return items.filter((item, at) => item !== items[at - 1]);
}

const STEPS = {
  async reset() {
    for (const held of objects.values()) if (held instanceof AgentClient) await held.close();
    for (const handle of sandboxes.values()) await handle.close();
    objects.clear();
    sandboxes.clear();
    return {};
  },
  forget: () => STEPS.reset(),
  create: (step) => created(step, () => client.create(step.name, createOptions(step))),
  connect_or_create: (step) => created(step, () => client.connectOrCreate(step.name, createOptions(step))),
  async get(step) {
    const handle = await client.get(step.name);
    return { name: handle.name, status: handle.info.state, labels: handle.labels, ports: await handle.ports() };
  },
  async list(step) {
    return { names: [...(await client.list({ labels: step.labels }))].map(({ name }) => name) };
  },
  start: (step) => changed(step, (handle) => handle.start()),
  kill: (step) => changed(step, (handle) => handle.kill()),
  restart: (step) => changed(step, (handle) => handle.restart()),
  pause: (step) => changed(step, (handle) => handle.pause()),
  resume: (step) => changed(step, (handle) => handle.resume()),
  stop: (step) => changed(step, (handle) => handle.stop({ timeout: step.timeout_ms })),
  async remove(step) {
    await (await sandbox(step.sandbox)).remove({ force: step.force });
    sandboxes.delete(step.sandbox);
    return {};
  },
  async wait(step) {
    const { exitCode } = await (await sandbox(step.sandbox)).wait({ timeout: step.timeout_ms });
    return { exit_code: exitCode };
  },
  async wait_for_status(step) {
    const handle = await sandbox(step.sandbox);
    return { status: (await handle.waitForStatus(step.status, { timeout: step.timeout_ms })).state };
  },
  async scope(step) {
    // The handle that created a sandbox owns it, so one that replaces it is what a scope ends.
    const image = (await client.get(step.sandbox)).info.raw.spec.image.reference;
    const reference = image.local?.path ?? image.snapshot?.name ?? image.registry?.text ?? String(image);
    const owned = await client.create(step.sandbox, { image: reference, replaceWithTimeout: 2000 });
    let stdout;
    try {
      stdout = shown((await owned.shell(step.cmd)).stdoutBytes);
    } finally {
      // `await using` calls this method.
      await (Symbol.asyncDispose ? owned[Symbol.asyncDispose]() : owned.dispose());
    }
    return { stdout, status: (await client.get(step.sandbox)).info.state };
  },
  async exec(step) {
    return output(await (await guest(step)).exec(step.cmd, step.args ?? [], execOptions(step)));
  },
  async shell(step) {
    return output(await (await guest(step)).shell(step.script, execOptions(step)));
  },
  async exec_start(step) {
    const stdin = step.stdin_pipe || step.tty ? "pipe" : undefined;
    const process = await (await guest(step)).execStream(step.cmd, step.args ?? [], { ...execOptions(step), stdin });
    objects.set(step.as, process);
    return { pid: await process.started() };
  },
  async exec_write(step) {
    await object(step.process).stdin.write(bytes(step.data));
    return {};
  },
  async exec_eof(step) {
    await object(step.process).stdin.end();
    return {};
  },
  exec_read: readUntil,
  async exec_events(step) {
    const events = [];
    for await (const event of object(step.process)) events.push(event);
    return { kinds: withoutRepetition(events.map(({ type }) => type)), exit_code: events.at(-1).exitCode };
  },
  async exec_wait(step) {
    const { exitCode, signal } = await object(step.process).wait({ timeout: step.timeout_ms });
    return { exit_code: exitCode, signal };
  },
  async exec_signal(step) {
    await object(step.process).signal(step.signal);
    return {};
  },
  async exec_kill(step) {
    await object(step.process).kill();
    return {};
  },
  async exec_resize(step) {
    await object(step.process).resize(step.rows, step.cols);
    return {};
  },
  async exec_cancel(step) {
    const controller = new AbortController();
    const reason = new Error("cancelled by the step");
    const on = await guest(step);
    const began = Date.now();
    const timer = setTimeout(() => controller.abort(reason), step.after_ms);
    try {
      await on.exec(step.cmd, step.args ?? [], { signal: controller.signal });
      return { cancelled: false };
    } catch (error) {
      if (error !== reason) throw error;
      return { cancelled: true, took_ms: Date.now() - began };
    } finally {
      clearTimeout(timer);
    }
  },
  async exec_many(step) {
    const on = await guest(step);
    const began = Date.now();
    const times = [];
    let [next, ok] = [0, 0];
    const worker = async () => {
      while (next < step.count) {
        next += 1;
        const start = performance.now();
        if ((await on.exec(step.cmd, step.args ?? [])).success) ok += 1;
        times.push(performance.now() - start);
      }
    };
    await Promise.all(Array.from({ length: step.concurrency }, worker));
    times.sort((a, b) => a - b);
    const p50_us = Math.round((times[times.length >> 1] ?? 0) * 1000);
    return { ok, took_ms: Date.now() - began, p50_us };
  },
  async fs_write(step) {
    await (await guest(step)).fs.write(step.path, bytes(step.data), { mode: step.mode });
    return {};
  },
  async fs_read(step) {
    return { data: shown(await (await guest(step)).fs.read(step.path)) };
  },
  async fs_read_text(step) {
    return { text: await (await guest(step)).fs.readText(step.path) };
  },
  async fs_write_stream(step) {
    const writer = await (await guest(step)).fs.writeStream(step.path);
    for (const chunk of step.chunks) await writer.write(bytes(chunk));
    await writer.end();
    return {};
  },
  async fs_read_stream(step) {
    const pieces = [];
    for await (const piece of (await guest(step)).fs.readStream(step.path)) pieces.push(piece);
    return { data: shown(Buffer.concat(pieces)), chunks: pieces.length };
  },
  async fs_list(step) {
    const entries = await (await guest(step)).fs.list(step.path);
    return { entries: entries.map(({ name, kind, size }) => ({ name, kind, size })) };
  },
  async fs_mkdir(step) {
    await (await guest(step)).fs.mkdir(step.path);
    return {};
  },
  async fs_remove(step) {
    await (await guest(step)).fs.remove(step.path);
    return {};
  },
  async fs_remove_dir(step) {
    await (await guest(step)).fs.removeDir(step.path);
    return {};
  },
  async fs_stat(step) {
    const { kind, size, mode, modified } = await (await guest(step)).fs.stat(step.path, { follow: step.follow });
    return { kind, size, mode, modified_ms: modified.getTime() };
  },
  async fs_copy(step) {
    await (await guest(step)).fs.copy(step.path, step.to);
    return {};
  },
  async fs_rename(step) {
    await (await guest(step)).fs.rename(step.path, step.to);
    return {};
  },
  async fs_exists(step) {
    return { exists: await (await guest(step)).fs.exists(step.path) };
  },
  async copy_from_host(step) {
    await (await sandbox(step.sandbox)).copyFromHost(step.host, step.guest);
    return {};
  },
  async copy_to_host(step) {
    await (await sandbox(step.sandbox)).copyToHost(step.guest, step.host);
    return {};
  },
  async logs(step) {
    const { tail, sources, cursor } = step;
    return { entries: (await (await sandbox(step.sandbox)).logs({ tail, sources, cursor })).map(entry) };
  },
  async log_stream(step) {
    const { follow, sources, cursor } = step;
    const entries = [];
    for await (const line of (await sandbox(step.sandbox)).logStream({ follow, sources, cursor })) {
      entries.push(entry(line));
      if (entries.length === step.count) break;
    }
    return { entries };
  },
  async metrics(step) {
    return sample(await (await sandbox(step.sandbox)).metrics());
  },
  async metrics_all() {
    return { names: (await client.metrics()).map(({ name }) => name) };
  },
  async metrics_stream(step) {
    const samples = [];
    for await (const metrics of (await sandbox(step.sandbox)).metricsStream({ interval: step.interval_ms })) {
      samples.push(sample(metrics));
      if (samples.length === step.count) break;
    }
    return { samples };
  },
  async volume_create(step) {
    const { name, kind } = await client.volumes.create(step.name, { size: step.size_mib, kind: step.kind });
    return { name, kind };
  },
  async volume_get(step) {
    const { name, kind } = await client.volumes.get(step.name);
    return { name, kind };
  },
  async volume_remove(step) {
    await client.volumes.remove(step.name);
    return {};
  },
  async volume_list() {
    return { names: (await client.volumes.list()).map(({ name }) => name) };
  },
  async snapshot_create(step) {
    return { name: (await client.snapshots.create(step.sandbox, step.name)).name };
  },
  async snapshot_list() {
    return { names: (await client.snapshots.list()).map(({ name }) => name) };
  },
  async snapshot_remove(step) {
    await client.snapshots.remove(step.name);
    return {};
  },
  async image_list() {
    return { count: (await client.images.list()).length };
  },
  async project_plan(step) {
    const { changes } = await client.project({ directory: step.path, trust: step.trust }).plan();
    return { changes: changes.map(({ name, action }) => ({ name, action })) };
  },
  async project_up(step) {
    const call = client.project({ directory: step.path, trust: step.trust }).up();
    const kinds = [];
    for await (const { event } of call) kinds.push(event);
    return { events: withoutRepetition(kinds), ok: (await call).raw.ok };
  },
  async project_down(step) {
    return { ok: (await client.project({ directory: step.path }).down()).raw.ok };
  },
  async agent_connect(step) {
    const options = { timeoutMs: step.timeout_ms };
    const agent = await (step.path === undefined
      ? AgentClient.connectSandbox(step.sandbox, options)
      : AgentClient.connect(step.path, options));
    objects.set(step.as, agent);
    const { agentVersion, features } = agent.ready();
    const readyHex = Buffer.from(agent.readyBytes()).toString("hex");
    return { ready: { agent_version: agentVersion, features }, ready_hex: readyHex, ids: agent.ids };
  },
  async agent_request(step) {
    return raw(await object(step.agent).request(step.flags, encodeBody(step.type, fromJson(step.payload))));
  },
  async agent_stream(step) {
    const frame = { flags: step.flags, type: step.type, payload: fromJson(step.payload) };
    const stream = await object(step.agent).stream(frame);
    objects.set(step.as, stream);
    return { id: stream.id };
  },
  async agent_next(step) {
    const frame = await object(step.stream).next();
    return frame === undefined ? { end: true } : raw(frame);
  },
  async agent_forget(step) {
    object(step.stream).close();
    return {};
  },
  async agent_send(step) {
    const frame = { flags: step.flags, type: step.type, payload: fromJson(step.payload) };
    await object(step.agent).send(object(step.stream).id, frame);
    return {};
  },
  async agent_close(step) {
    await object(step.agent).close();
    return {};
  },
  cbor_encode: (step) => ({ hex: Buffer.from(encode(fromJson(step.value))).toString("hex") }),
  cbor_decode: (step) => ({ value: toJson(decode(new Uint8Array(Buffer.from(step.hex, "hex")))) }),
  frames_decode(step) {
    const data = new Uint8Array(Buffer.from(step.hex, "hex"));
    const decoder = new FrameDecoder();
    const frames = [];
    for (let at = 0; at < data.length; at += step.chunk) {
      decoder.feed(data.subarray(at, at + step.chunk));
      for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
        frames.push({ id: frame.id, flags: frame.flags, body_len: frame.body.length, type: typeOf(frame.body) });
      }
    }
    return { frames };
  },
};

function typeOf(body) {
  try {
    return decode(body).t ?? null;
  } catch {
    return null;
  }
}

function failure(error) {
  if (error instanceof MsbError) {
    const fields = { hint: error.hint, name: error.subject, exit_code: error.exitCode };
    for (const key of ["kind", "errno", "stage", "path", "raw"]) if (key in error) fields[key] = error[key];
    if ("errnoName" in error) fields.errno_name = error.errnoName;
    if ("timeoutMs" in error) fields.timeout_ms = error.timeoutMs;
    if ("droppedFromOffset" in error) fields.dropped_from_offset = error.droppedFromOffset;
    for (const key of ["stdout", "stderr"]) if (error[key] instanceof Uint8Array) fields[key] = shown(error[key]);
    return { ...fields, code: error.code, message: [error.message, ...error.causes].join("\n") };
  }
  const invalid = error instanceof TypeError || error instanceof RangeError;
  if (!invalid) process.stderr.write(`${error?.stack ?? error}\n`);
  return { code: invalid ? "invalid-argument" : "unexpected", message: String(error?.message ?? error) };
}

process.on("unhandledRejection", (error) => {
  process.stderr.write(`unhandled: ${error?.stack ?? error}\n`);
  process.exit(70);
});

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === "") continue;
  const { id, do: name, ...step } = JSON.parse(line);
  let answer;
  try {
    if (!Object.hasOwn(STEPS, name)) throw new Skip(`the step ${name} is unknown`);
    answer = { ok: await STEPS[name](step) };
  } catch (error) {
    answer = error instanceof Skip ? { skip: error.message } : { error: failure(error) };
  }
  process.stdout.write(`${JSON.stringify({ id, ...answer })}\n`);
}
await STEPS.reset();
