/** The entry to everything: one msb with one state folder. */

import { Msb, type ClientOptions } from "./command.js";
import { createCommand, type CreateOptions, type Duration } from "./create.js";
import {
  checkedName,
  inspectSandbox,
  labelsOf,
  objectOf,
  objectsIn,
  sandboxInfo,
  textOf,
  type SandboxState,
} from "./documents.js";
import { CommandFailedError, InvalidArgumentError, SandboxExistsError, SandboxNotFoundError, UsageError } from "./errors.js";
import { readAllMetrics, type Metrics } from "./metrics.js";
import { Project, type ProjectOptions } from "./project.js";
import { Sandbox, type StartOptions, type StopOptions } from "./sandbox.js";
import { Images, Snapshots, Volumes } from "./storage.js";
import type { CallOptions } from "./waiting.js";

/** One line of a list of sandboxes. */
export interface SandboxSummary {
  /** The name that is unique on this machine. */
  readonly name: string;
  readonly id: string;
  readonly state: SandboxState;
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The whole document. */
  readonly raw: { readonly [key: string]: unknown };
}

/** Options of a list of sandboxes. */
export interface ListOptions extends CallOptions {
  /** Only sandboxes with these labels. */
  labels?: Readonly<Record<string, string>> | undefined;
  /** At most so many. */
  limit?: number | undefined;
  /** Continues after the page with this `nextCursor`. */
  cursor?: string | undefined;
}

/** A part of a list. */
export interface SandboxPage extends Iterable<SandboxSummary> {
  readonly sandboxes: readonly SandboxSummary[];
  /** The `cursor` of the next page; `null` at the end. */
  readonly nextCursor: string | null;
}

/** Works with the sandboxes of one state folder. It has no state of its own, so there may be any number of clients. */
export class Client {
  /** The volumes that belong to no project, and those of projects. */
  readonly volumes: Volumes;
  /** The images on this machine. */
  readonly images: Images;
  /** The snapshots of disks. */
  readonly snapshots: Snapshots;
  readonly #msb: Msb;
  readonly #options: ClientOptions;

  constructor(options: ClientOptions = {}) {
    this.#options = options;
    this.#msb = new Msb(options);
    this.volumes = new Volumes(this.#msb);
    this.images = new Images(this.#msb);
    this.snapshots = new Snapshots(this.#msb);
  }

  /** Returns the version of msb. */
  async version(options: CallOptions = {}): Promise<string> {
    const { stdout } = await this.#msb.plain(["--version"], { signal: options.signal });
    return stdout.trim().replace(/^msb\s+/, "");
  }

  /**
   * Creates a sandbox and boots it.
   *
   * ```js
   * await using sandbox = await client.create("dev", { image: "alpine", memory: 512, network: "none" });
   * ```
   *
   * @throws {SandboxExistsError} If there is one of this name, unless `replace` or `replaceWithTimeout` is set.
   * @throws {SuffixTooBroadError} If a rule is for hosts such as `*.com`.
   */
  async create(name: string, options: CreateOptions): Promise<Sandbox> {
    if (options === null || typeof options !== "object") throw new InvalidArgumentError("a sandbox needs an `image`");
    const { args, env } = createCommand(name, options);
    await this.#msb.result(args, { signal: options.signal, env });
    const { ephemeral = false, detached = false } = options;
    const info = await inspectSandbox(this.#msb, name, options);
    return new Sandbox(this.#msb, this.#options, info, { owned: !detached, ephemeral, env });
  }

  /** Creates a sandbox, and replaces one of this name, which has so much time to shut down before it is killed. */
  async replaceWithTimeout(name: string, timeout: Duration, options: CreateOptions): Promise<Sandbox> {
    return this.create(name, { ...options, replaceWithTimeout: timeout });
  }

  /** Returns the sandbox of this name and starts it if necessary; creates it if there is none. */
  async connectOrCreate(name: string, options: CreateOptions): Promise<Sandbox> {
    const { env } = createCommand(name, options);
    try {
      const sandbox = await this.get(name, options);
      if (sandbox.info.state === "running") return sandbox;
      if (sandbox.info.state === "paused") await sandbox.resume({ signal: options.signal });
      else await sandbox.start({ signal: options.signal, env });
      return sandbox;
    } catch (error) {
      if (!(error instanceof SandboxNotFoundError)) throw error;
    }
    try {
      return await this.create(name, options);
    } catch (error) {
      // Another program was faster.
      if (error instanceof SandboxExistsError) return this.get(name, options);
      throw error;
    }
  }

  /**
   * Returns a handle of an existing sandbox, whatever its state.
   *
   * @throws {SandboxNotFoundError} If there is none.
   */
  async get(name: string, options: CallOptions = {}): Promise<Sandbox> {
    const info = await inspectSandbox(this.#msb, name, options);
    return new Sandbox(this.#msb, this.#options, info, { owned: false, ephemeral: false, env: {} });
  }

  /** Returns a handle whose connection is open; waits while the sandbox boots. */
  async connect(name: string, options: CallOptions & { timeoutMs?: number } = {}): Promise<Sandbox> {
    const sandbox = await this.get(name, options);
    return sandbox.connect(options);
  }

  /** Returns a handle whose connection is open, within so many milliseconds. */
  async connectWithTimeout(name: string, timeoutMs: number, options: CallOptions = {}): Promise<Sandbox> {
    return this.connect(name, { ...options, timeoutMs });
  }

  /** Starts an existing sandbox unless it runs, and returns its handle. */
  async start(name: string, options: StartOptions = {}): Promise<Sandbox> {
    const sandbox = await this.get(name, options);
    await sandbox.start(options);
    return sandbox;
  }

  /** Stops a sandbox. */
  async stop(name: string, options: StopOptions = {}): Promise<void> {
    await (await this.get(name, options)).stop(options);
  }

  /** Removes a sandbox and its disk; with `force` also a running one. */
  async remove(name: string, options: StopOptions & { force?: boolean } = {}): Promise<void> {
    await (await this.get(name, options)).remove(options);
  }

  /** Lists the sandboxes of all projects and those without one, sorted by name. */
  async list(options: ListOptions = {}): Promise<SandboxPage> {
    const { labels = {}, limit, cursor, signal } = options;
    if (limit !== undefined && !(Number.isInteger(limit) && limit > 0)) {
      throw new InvalidArgumentError("limit must be a positive number");
    }
    const flags = Object.entries(labels).map(([name, value]) => `--label=${name}=${value}`);
    if (limit !== undefined) flags.push(`--limit=${limit}`);
    if (cursor !== undefined) flags.push(`--cursor=${cursor}`);
    if (flags.length > 0) {
      try {
        const document = await this.#msb.json(["ps", "--all", ...flags], { signal });
        const sandboxes = objectsIn(document, "sandboxes").map(summaryOf);
        return pageOf(sandboxes, textOf(objectOf(document, "a document")["next_cursor"]));
      } catch (error) {
        // An older msb has none of these options.
        if (!(error instanceof UsageError) || !/unexpected argument/.test(error.message)) throw error;
      }
    }
    const document = await this.#msb.json(["ps", "--all"], { signal });
    let sandboxes = objectsIn(document, "sandboxes").map(summaryOf);
    sandboxes.sort((a, b) => (a.name < b.name ? -1 : 1));
    if (flags.length > 0 && sandboxes.length > 0) {
      const wanted = Object.entries(labels);
      const known = await this.#labels(sandboxes, signal);
      sandboxes = sandboxes
        .map((sandbox) => ({ ...sandbox, labels: known.get(sandbox.name) ?? sandbox.labels }))
        .filter((sandbox) => wanted.every(([name, value]) => sandbox.labels[name] === value))
        .filter((sandbox) => cursor === undefined || sandbox.name > cursor);
    }
    const page = limit === undefined ? sandboxes : sandboxes.slice(0, limit);
    return pageOf(page, page.length < sandboxes.length ? (page.at(-1)?.name ?? null) : null);
  }

  /** Reads the metrics of all running sandboxes. */
  async metrics(options: CallOptions = {}): Promise<Metrics[]> {
    return readAllMetrics(this.#msb, options);
  }

  /** Returns the project of a Sandboxfile. */
  project(options: ProjectOptions = {}): Project {
    return new Project(this.#msb, options);
  }

  async #labels(
    sandboxes: readonly SandboxSummary[],
    signal: AbortSignal | undefined,
  ): Promise<Map<string, Readonly<Record<string, string>>>> {
    const names = sandboxes.map(({ name }) => checkedName(name));
    const document = await this.#msb.json(["inspect", ...names], { signal });
    return new Map(objectsIn(document, "sandboxes").map(sandboxInfo).map((info) => [info.fullName, info.labels]));
  }
}

function summaryOf(raw: { readonly [key: string]: unknown }): SandboxSummary {
  const name = textOf(raw["full_name"]) ?? textOf(raw["name"]);
  if (name === null) throw new CommandFailedError("msb printed a sandbox without a name");
  return {
    name,
    id: textOf(raw["id"]) ?? "",
    state: textOf(raw["state"]) ?? "unknown",
    image: textOf(raw["image"]) ?? "",
    labels: labelsOf(raw["labels"]),
    raw,
  };
}

function pageOf(sandboxes: readonly SandboxSummary[], nextCursor: string | null): SandboxPage {
  return { sandboxes, nextCursor, [Symbol.iterator]: () => sandboxes[Symbol.iterator]() };
}

