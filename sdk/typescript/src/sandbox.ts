/** A handle of one sandbox. */

import { Awaitable, disposable } from "./awaitable.js";
import { AgentClient } from "./agent.js";
import { failureOf, type ClientOptions, type Msb } from "./command.js";
import { durationText, type Duration } from "./create.js";
import {
  exitOf,
  inspectSandbox,
  numberOf,
  objectOf,
  objectsIn,
  textOf,
  type PublishedPort,
  type SandboxExit,
  type SandboxInfo,
  type SandboxState,
} from "./documents.js";
import { ClientClosedError, SandboxNotFoundError, SandboxNotRunningError, TimedOutError } from "./errors.js";
import { Files } from "./files.js";
import { Guest } from "./guest.js";
import { openLogStream, readLogs, type LogEntry, type LogOptions, type LogStreamOptions, type PendingLogStream } from "./logs.js";
import { openMetricsStream, readMetrics, type Metrics, type MetricsStream, type MetricsStreamOptions } from "./metrics.js";
import { CONNECT_TIMEOUT_MS, Relay, type ConnectOptions } from "./relay.js";
import { delay, settler, within, type CallOptions } from "./waiting.js";

/** The most connections for transfers of files at the same time. A sandbox has at most 128 clients. */
const TRANSFERS_MAX = 16;
/** The time between two looks at a sandbox whose status is awaited, in milliseconds. */
const POLL_MS = 150;

/** Options of stopping a sandbox. */
export interface StopOptions extends CallOptions {
  /** The time for it to shut down before it is killed; 10 s by default. */
  timeout?: Duration | undefined;
}

/** Options of a call that starts a sandbox. */
export interface StartOptions extends CallOptions {
  /** Variables for its secrets that this process does not have. */
  env?: Readonly<Record<string, string>> | undefined;
}

/** Options of waiting. */
export interface WaitOptions extends CallOptions {
  /** The longest wait, in milliseconds. Default: none. */
  timeout?: number | undefined;
}

/** What a handle was made with. @internal */
export interface Ownership {
  /** Whether the end of the scope stops it. */
  owned: boolean;
  /** Whether the end of the scope removes it. */
  ephemeral: boolean;
  /** The values of its secrets, by their variables. */
  env: Record<string, string>;
}

/**
 * A sandbox. It runs commands over a connection that is opened by the first one and shared by all.
 *
 * With `await using`, or {@link dispose}, a handle of a sandbox that it created stops it, and removes it if it is
 * ephemeral. Other handles only close their connection.
 */
export class Sandbox extends Guest {
  /** The name that is unique on this machine. */
  readonly name: string;
  /** The files of the sandbox. */
  readonly fs: Files;
  readonly #msb: Msb;
  readonly #options: ClientOptions;
  readonly #ownership: Ownership;
  #info: SandboxInfo;
  #relay: Promise<Relay> | undefined;
  readonly #transfers = new Set<Relay>();
  #places = TRANSFERS_MAX;
  readonly #waiting: (() => void)[] = [];
  #closed = false;

  /** @internal */
  constructor(msb: Msb, options: ClientOptions, info: SandboxInfo, ownership: Ownership) {
    super();
    this.#msb = msb;
    this.#options = options;
    this.#info = info;
    this.#ownership = ownership;
    this.name = info.fullName;
    this.fs = new Files({
      shared: (call) => this.relay(call),
      transfer: (call) => this.#transfer(call),
    });
  }

  /** What was known about it at the last {@link refresh}, or at a call that changed it. */
  get info(): SandboxInfo {
    return this.#info;
  }

  /** The id, which no other sandbox has, not even a later one of this name. */
  get id(): string {
    return this.#info.id;
  }

  /** The labels. */
  get labels(): Readonly<Record<string, string>> {
    return this.#info.labels;
  }

  /** Whether the end of the scope stops it. */
  get ownsLifecycle(): boolean {
    return this.#ownership.owned;
  }

  /** Reads its state again. */
  async refresh(options: CallOptions = {}): Promise<SandboxInfo> {
    this.#info = await inspectSandbox(this.#msb, this.name, options);
    return this.#info;
  }

  /** Returns its present status, such as `running`, `paused`, `stopped` or `exited`. */
  async status(options: CallOptions = {}): Promise<SandboxState> {
    return (await this.refresh(options)).state;
  }

  /** Returns the ports of the host that lead into it, with their real numbers. */
  async ports(options: CallOptions = {}): Promise<PublishedPort[]> {
    const document = await this.#msb.json(["ps", "--all"], { signal: options.signal });
    const found = objectsIn(document, "sandboxes").find((entry) => entry["full_name"] === this.name);
    const ports = found?.["ports"];
    return Array.isArray(ports) ? ports.flatMap(portOf) : [];
  }

  /**
   * Opens the connection now, instead of at the first command, and waits while the sandbox boots.
   *
   * @throws {SandboxNotRunningError} If it does not run.
   */
  async connect(options: ConnectOptions = {}): Promise<this> {
    await this.#connected(options);
    return this;
  }

  /** Opens the connection as {@link connect} does, within so many milliseconds. */
  async connectWithTimeout(timeoutMs: number, options: CallOptions = {}): Promise<this> {
    return this.connect({ ...options, timeoutMs });
  }

  /** Opens a raw connection of its own, which the caller closes. */
  async agent(options: ConnectOptions = {}): Promise<AgentClient> {
    return AgentClient.connectSandbox(this.name, { ...this.#options, ...options });
  }

  /** Measures the time that the guest takes for an answer, in milliseconds. */
  async ping(options: CallOptions = {}): Promise<number> {
    const relay = await this.relay(options);
    const began = performance.now();
    const session = relay.request("core.ping", {});
    try {
      await session.message(options.signal);
      return performance.now() - began;
    } finally {
      session.close();
    }
  }

  /** Starts it unless it runs. */
  async start(options: StartOptions = {}): Promise<void> {
    await this.#change(["start"], options);
  }

  /** Stops it and keeps its disk. After the timeout, 10 s by default, it is killed. */
  async stop(options: StopOptions = {}): Promise<void> {
    await this.#change(["stop", ...timeoutFlag(options)], options);
  }

  /** Stops it within this time, after which it is killed. */
  async stopWithTimeout(timeout: Duration, options: CallOptions = {}): Promise<void> {
    await this.stop({ ...options, timeout });
  }

  /** Stops it and starts it again. */
  async restart(options: StopOptions & StartOptions = {}): Promise<void> {
    await this.#change(["restart", ...timeoutFlag(options)], options);
  }

  /** Stops it at once, without a shutdown. Data that the guest has not written to its disk is lost. */
  async kill(options: CallOptions = {}): Promise<void> {
    await this.#change(["kill"], options);
  }

  /** Pauses it: nothing runs in it until it is resumed. */
  async pause(options: CallOptions = {}): Promise<void> {
    await this.#change(["pause"], options, false);
  }

  /** Resumes it and corrects its clock. */
  async resume(options: CallOptions = {}): Promise<void> {
    await this.#change(["resume"], options, false);
  }

  /**
   * Removes it and its disk.
   *
   * @throws {SandboxRunningError} If it runs, unless `force` stops it first.
   */
  async remove(options: StopOptions & { force?: boolean } = {}): Promise<void> {
    const flags = options.force ? ["--force", ...timeoutFlag(options)] : [];
    this.#disconnect();
    await this.#msb.result(["rm", ...flags, this.name], { signal: options.signal });
    this.#ownership.owned = this.#ownership.ephemeral = false;
  }

  /**
   * Waits until it has ended, and returns the end of its main process.
   *
   * @throws {TimedOutError} If it has not ended within `timeout`.
   */
  async wait(options: WaitOptions = {}): Promise<SandboxExit> {
    return limited(options, `${this.name} has not ended`, (signal) => this.#wait(signal));
  }

  /** Waits until it has this status, such as `running`, `stopped` or `exited`. */
  async waitForStatus(status: SandboxState, options: WaitOptions = {}): Promise<SandboxInfo> {
    return limited(options, `${this.name} is not ${status}`, async (signal) => {
      for (;;) {
        const info = await this.refresh({ signal });
        if (info.state === status) return info;
        await within(delay(POLL_MS), { signal });
      }
    });
  }

  /** Reads its log to the present end. */
  async logs(options: LogOptions = {}): Promise<LogEntry[]> {
    return readLogs(this.#msb, this.name, options);
  }

  /**
   * Reads its log as a stream: `await` it, or iterate over the entries at once.
   *
   * ```js
   * for await (const entry of sandbox.logStream({ follow: true })) console.log(entry.timestamp, entry.source, entry.text());
   * ```
   */
  logStream(options: LogStreamOptions = {}): PendingLogStream {
    return openLogStream(this.#msb, this.name, options);
  }

  /** Reads its metrics. */
  async metrics(options: CallOptions = {}): Promise<Metrics> {
    return readMetrics(this.#msb, this.name, options);
  }

  /** Reads its metrics again and again: `await` it, or iterate over the samples at once. */
  metricsStream(options: MetricsStreamOptions = {}): Awaitable<MetricsStream, Metrics> {
    return openMetricsStream(this.#msb, this.name, options);
  }

  /** Copies a file or a folder of the host into it. With `/.` at the end of `host`, the contents of the folder. */
  async copyFromHost(host: string, guest: string, options: CallOptions = {}): Promise<void> {
    await this.#msb.result(["cp", pathArgument(host), `${this.name}:${guest}`], { signal: options.signal });
  }

  /** Copies a file or a folder out of it. */
  async copyToHost(guest: string, host: string, options: CallOptions = {}): Promise<void> {
    await this.#msb.result(["cp", `${this.name}:${guest}`, pathArgument(host)], { signal: options.signal });
  }

  /** Gives up the ownership: the end of the scope leaves the sandbox running. */
  detach(): void {
    this.#ownership.owned = this.#ownership.ephemeral = false;
  }

  /** Closes the connection, which ends its commands, and leaves the sandbox alone. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#disconnect();
  }

  /** Ends the scope: stops the sandbox if this handle created it, and removes it if it is ephemeral. */
  async dispose(): Promise<void> {
    const { owned, ephemeral } = this.#ownership;
    await this.close();
    try {
      if (ephemeral) await this.remove({ force: true });
      else if (owned) await this.stop();
    } catch (error) {
      // Another program may have removed it.
      if (!(error instanceof SandboxNotFoundError)) throw error;
    }
  }

  /** @internal */
  protected override relay(options: CallOptions): Promise<Relay> {
    return this.#connected(options);
  }

  /** @internal */
  protected override shellProgram(): Promise<string> {
    return Promise.resolve(this.#info.shell);
  }

  async #connected(options: ConnectOptions): Promise<Relay> {
    if (this.#closed) throw new ClientClosedError();
    options.signal?.throwIfAborted();
    const { timeoutMs = CONNECT_TIMEOUT_MS, signal } = options;
    // Shared by concurrent calls, so that the abort of one does not fail the others.
    while (this.#relay !== undefined) {
      const present = this.#relay;
      const relay = await within(present, { signal });
      if (relay.error === undefined) return relay;
      if (this.#relay === present) this.#relay = undefined;
    }
    const opening = (this.#relay = this.#open(timeoutMs));
    opening.catch(() => {
      if (this.#relay === opening) this.#relay = undefined;
    });
    return within(opening, { signal });
  }

  async #open(timeoutMs: number): Promise<Relay> {
    const path = this.#info.agentSocket ?? (await this.refresh()).agentSocket;
    if (path === null) {
      throw new SandboxNotRunningError("sandbox-not-running", `${this.name} is not running`, { subject: this.name });
    }
    const relay = await Relay.connect(path, { timeoutMs });
    if (this.#closed) relay.close();
    return relay;
  }

  /** Opens a connection for one transfer, as closing it ends the transfer in the guest too. */
  async #transfer(options: CallOptions): Promise<[Relay, () => void]> {
    options.signal?.throwIfAborted();
    while (this.#places === 0) {
      const free = settler<void>();
      this.#waiting.push(() => free.resolve());
      await within(free.promise, { signal: options.signal });
    }
    this.#places -= 1;
    const giveBack = () => {
      this.#places += 1;
      this.#waiting.shift()?.();
    };
    try {
      await this.#connected(options);
      const path = this.#info.agentSocket ?? "";
      const relay = await Relay.connect(path, { signal: options.signal });
      this.#transfers.add(relay);
      const done = () => {
        relay.close();
        if (this.#transfers.delete(relay)) giveBack();
      };
      return [relay, done];
    } catch (error) {
      giveBack();
      throw error;
    }
  }

  async #change(args: string[], options: StartOptions, disconnects = true): Promise<void> {
    if (disconnects) this.#disconnect();
    const env = { ...this.#ownership.env, ...options.env };
    await this.#msb.result([...args, this.name], { signal: options.signal, env });
    await this.refresh({ signal: options.signal });
  }

  async #wait(signal: AbortSignal): Promise<SandboxExit> {
    let result = await this.#msb.run(["wait", this.name, "--json"], { signal });
    const plain = result.code === 64 && result.stderr.includes("unexpected argument '--json'");
    if (plain) result = await this.#msb.run(["wait", this.name], { signal });
    if (result.stdout.trim().startsWith("{")) {
      const document = objectOf(JSON.parse(result.stdout), "a document");
      const exitCode = numberOf(document["exit_code"]);
      const exit = exitOf(document["exit"]) ?? (await this.refresh({ signal })).lastExit;
      return exit !== null && exit.exitCode === exitCode ? exit : { kind: "code", exitCode, signal: null };
    }
    // An older msb prints nothing, and exits with the code of the main process.
    if (!plain || /^error: /m.test(result.stderr)) throw failureOf(result);
    const { lastExit } = await this.refresh({ signal });
    return lastExit ?? { kind: "code", exitCode: result.code, signal: null };
  }

  #disconnect(): void {
    const relay = this.#relay;
    this.#relay = undefined;
    relay?.then((open) => open.close()).catch(() => {});
    for (const transfer of this.#transfers) transfer.close();
  }
}

export interface Sandbox {
  /** Stops the sandbox if this handle created it, and removes it if it is ephemeral. */
  [Symbol.asyncDispose](): Promise<void>;
}
disposable(Sandbox.prototype, function () {
  return this.dispose();
});

function timeoutFlag(options: StopOptions): string[] {
  const timeout = durationText(options.timeout);
  return timeout === undefined ? [] : [`--timeout=${timeout}`];
}

/** Aborts an action at a timeout. */
async function limited<T>(
  options: WaitOptions,
  what: string,
  action: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { timeout, signal } = options;
  const controller = new AbortController();
  const stop = () => controller.abort(signal?.reason);
  signal?.throwIfAborted();
  signal?.addEventListener("abort", stop, { once: true });
  const late = () => new TimedOutError("timed-out", `${what} after ${timeout} ms`);
  try {
    return await within(action(controller.signal), { signal, timeoutMs: timeout, onTimeout: late });
  } finally {
    signal?.removeEventListener("abort", stop);
    controller.abort();
  }
}

/** Reads a port as `msb ps` prints it: `[BIND:]HOST:GUEST[/udp]`. */
function portOf(value: unknown): PublishedPort[] {
  if (value !== null && typeof value === "object") {
    const { host, guest, bind, protocol } = value as Record<string, unknown>;
    const [from, to] = [numberOf(host), numberOf(guest)];
    if (from === null || to === null) return [];
    return [{ bind: textOf(bind) ?? "127.0.0.1", host: from, guest: to, protocol: textOf(protocol) ?? "tcp" }];
  }
  const match = /^(?:(.+):)?(\d+):(\d+)(?:\/(\w+))?$/.exec(String(value));
  if (match === null) return [];
  const bind = (match[1] ?? "127.0.0.1").replace(/^\[|\]$/g, "");
  return [{ bind, host: Number(match[2]), guest: Number(match[3]), protocol: match[4] ?? "tcp" }];
}

/** Writes a path of the host so that it is neither an option nor one of a sandbox. */
function pathArgument(path: string): string {
  return path.startsWith("/") || path.startsWith("./") || path.startsWith("../") ? path : `./${path}`;
}
