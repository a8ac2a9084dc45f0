/** Projects: the sandboxes that a Sandboxfile declares. */

import { failureIn, type JsonLines, type Msb } from "./command.js";
import { durationText, type Duration } from "./create.js";
import { checkedName, objectOf, objectsIn, textOf, type Json } from "./documents.js";
import { CommandFailedError, MsbError, ProjectError } from "./errors.js";
import { settler, type CallOptions } from "./waiting.js";

/** Where a project is. */
export interface ProjectOptions {
  /** The folder of the Sandboxfile. Default: that of this process. */
  directory?: string | undefined;
  /** The Sandboxfiles, relative to the folder; later files override earlier ones. Default: the one in the folder. */
  files?: readonly string[] | undefined;
  /** The name of the project, instead of the one in the Sandboxfile. */
  name?: string | undefined;
  /** Files with variables. */
  envFiles?: readonly string[] | undefined;
  /** Includes the sandboxes of these profiles. */
  profiles?: readonly string[] | undefined;
  /** Allows the Sandboxfile to reach beyond its folder. */
  trust?: boolean | undefined;
}

/** What a project's sandbox would become. */
export interface PlannedChange {
  readonly name: string;
  /** `create`, `update`, `restart`, `start`, `remove`, `unchanged`, or one of a later msb. */
  readonly action: string;
  /** The reason for people. */
  readonly reason: string;
  readonly raw: Json;
}

/** What `up` would do. */
export interface Plan {
  /** What would become of each sandbox. */
  readonly changes: readonly PlannedChange[];
  /** What prevents it. */
  readonly blocked: readonly unknown[];
  /** The whole document. */
  readonly raw: Json;
}

/** One event of `up` or `down`, such as `plan`, `step_began`, `step_succeeded` or `finished`. */
export interface ProjectEvent {
  /** The kind. It may be one of a later msb. */
  readonly event: string;
  readonly time: Date;
  /** The step, for events of steps. */
  readonly step: string | null;
  /** The sandbox, for events of one. */
  readonly sandbox: string | null;
  /** The whole document. */
  readonly raw: Json;
}

/** The result of `up` or `down`. */
export interface ProjectResult {
  /** Whether anything was changed. */
  readonly changed: boolean;
  /** The time that it took, in milliseconds. */
  readonly tookMs: number;
  /** The last event. */
  readonly raw: Json;
}

/** Options of `up`. */
export interface UpOptions extends CallOptions {
  /** Only these sandboxes and their dependencies. */
  names?: readonly string[] | undefined;
  /** Waits until all sandboxes are healthy, at most so long if it is a time. */
  wait?: boolean | Duration | undefined;
  /** Applies the plan even if it destroys data. */
  yes?: boolean | undefined;
  keepOrphans?: boolean | undefined;
  noStart?: boolean | undefined;
  rollback?: boolean | undefined;
  failFast?: boolean | undefined;
  frozen?: boolean | undefined;
  parallel?: number | undefined;
  pull?: "always" | "missing" | "never" | undefined;
  lockTimeout?: Duration | undefined;
  /** Is called with each event. */
  onEvent?: ((event: ProjectEvent) => void) | undefined;
}

/** Options of `down`. */
export interface DownOptions extends CallOptions {
  /** Only these sandboxes and their dependents. */
  names?: readonly string[] | undefined;
  /** Also removes volumes and their contents. */
  volumes?: boolean | undefined;
  /** The time for a guest to shut down before it is killed. */
  timeout?: Duration | undefined;
  lockTimeout?: Duration | undefined;
  /** Is called with each event. */
  onEvent?: ((event: ProjectEvent) => void) | undefined;
}

/** A change of a project that is under way: `await` it for its result, or iterate over its events first. */
export class ProjectCall implements PromiseLike<ProjectResult>, AsyncIterable<ProjectEvent> {
  readonly #open: () => JsonLines;
  readonly #onEvent: ((event: ProjectEvent) => void) | undefined;
  readonly #result = settler<ProjectResult>();
  #lines: JsonLines | undefined;
  #started = false;

  /** @internal */
  constructor(open: () => JsonLines, onEvent: ((event: ProjectEvent) => void) | undefined) {
    this.#open = open;
    this.#onEvent = onEvent;
  }

  /** Waits for the result. */
  then<A = ProjectResult, B = never>(
    fulfilled?: ((result: ProjectResult) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    if (!this.#started) void this.#drain();
    return this.#result.promise.then(fulfilled, rejected);
  }

  /** Iterates over the events. It throws if the change fails; leaving the loop early interrupts it. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ProjectEvent, void, undefined> {
    this.#started = true;
    let summary: Json | null = null;
    let failure: unknown = new CommandFailedError("the iteration over the events was left before the end");
    try {
      this.#lines ??= this.#open();
      for (let line = await this.#lines.next(); line !== undefined; line = await this.#lines.next()) {
        const event = eventOf(objectOf(line, "an event"));
        if (event.event === "finished") summary = event.raw;
        this.#onEvent?.(event);
        yield event;
      }
      this.#result.resolve(resultOf(summary));
    } catch (error) {
      failure = summary === null || summary["ok"] === true ? error : failureWith(summary, error);
      throw failure;
    } finally {
      // An interrupted msb has the lock of the project until it has ended.
      await this.#lines?.close();
      this.#result.reject(failure);
    }
  }

  async #drain(): Promise<void> {
    try {
      for await (const _ of this);
    } catch {
      // The result has the error.
    }
  }
}

/** The project of a Sandboxfile. */
export class Project {
  readonly #msb: Msb;
  readonly #options: ProjectOptions;

  /** @internal */
  constructor(msb: Msb, options: ProjectOptions) {
    this.#msb = msb;
    this.#options = options;
  }

  /**
   * Plans: says what {@link up} would do.
   *
   * @throws {MismatchError} If the Sandboxfile reaches beyond its folder and is not trusted.
   */
  async plan(options: CallOptions & { names?: readonly string[] } = {}): Promise<Plan> {
    const args = ["plan", ...this.#flags(), ...this.#planFlags(), ...(options.names ?? []).map(checkedName)];
    const raw = objectOf(await this.#msb.json(args, this.#run(options)), "a plan");
    const report = objectOf(raw["report"], "a report");
    const changes = objectsIn(report, "changes").map(changeOf);
    return { changes, blocked: Array.isArray(report["blocked"]) ? report["blocked"] : [], raw };
  }

  /** Returns the resolved Sandboxfile. */
  async config(options: CallOptions = {}): Promise<Json> {
    const { stdout } = await this.#msb.plain(["config", "--format=json", ...this.#flags()], this.#run(options));
    return objectOf(JSON.parse(stdout), "a Sandboxfile");
  }

  /**
   * Creates, updates and starts the sandboxes as they are declared.
   *
   * ```js
   * for await (const event of project.up()) console.log(event.event, event.step);
   * ```
   *
   * @throws {ProjectError} If a step fails.
   * @throws {MismatchError} If the Sandboxfile reaches beyond its folder and is not trusted.
   * @throws {InvalidSandboxfileError} If it is invalid.
   */
  up(options: UpOptions = {}): ProjectCall {
    const args = ["up", "--json", "--detach", ...this.#flags(), ...this.#planFlags()];
    const { wait, keepOrphans, noStart, rollback, failFast, frozen, yes } = options;
    if (wait === true) args.push("--wait");
    else if (wait !== undefined && wait !== false) args.push(`--wait-timeout=${durationText(wait)}`);
    const switches = {
      "keep-orphans": keepOrphans,
      "no-start": noStart,
      "fail-fast": failFast,
      rollback,
      frozen,
      yes,
    };
    for (const [flag, set] of Object.entries(switches)) if (set) args.push(`--${flag}`);
    if (options.parallel !== undefined) args.push(`--parallel=${options.parallel}`);
    if (options.pull !== undefined) args.push(`--pull=${options.pull}`);
    return this.#call(args, options);
  }

  /** Stops and removes the sandboxes. */
  down(options: DownOptions = {}): ProjectCall {
    const args = ["down", "--json", ...this.#flags()];
    if (options.volumes) args.push("--volumes", "--yes");
    if (options.timeout !== undefined) args.push(`--timeout=${durationText(options.timeout)}`);
    return this.#call(args, options);
  }

  #call(args: string[], options: UpOptions | DownOptions): ProjectCall {
    const lock = durationText(options.lockTimeout);
    if (lock !== undefined) args.push(`--lock-timeout=${lock}`);
    args.push(...(options.names ?? []).map(checkedName));
    return new ProjectCall(() => this.#msb.lines(args, this.#run(options)), options.onEvent);
  }

  #run(options: CallOptions): CallOptions & { cwd?: string | undefined } {
    return { signal: options.signal, cwd: this.#options.directory };
  }

  #flags(): string[] {
    const { files = [], name, envFiles = [] } = this.#options;
    return [
      ...files.map((file) => `--file=${file}`),
      ...envFiles.map((file) => `--env-file=${file}`),
      ...(name === undefined ? [] : [`--project=${name}`]),
    ];
  }

  #planFlags(): string[] {
    const { profiles = [], trust } = this.#options;
    return [...profiles.map((profile) => `--profile=${profile}`), ...(trust ? ["--trust"] : [])];
  }
}

function changeOf(raw: Json): PlannedChange {
  const reason = raw["reason"];
  const text = reason !== null && typeof reason === "object" ? textOf((reason as Json)["text"]) : textOf(reason);
  return { name: textOf(raw["name"]) ?? "", action: textOf(raw["action"]) ?? "", reason: text ?? "", raw };
}

function eventOf(raw: Json): ProjectEvent {
  return {
    event: textOf(raw["event"]) ?? "",
    time: new Date(textOf(raw["time"]) ?? NaN),
    step: textOf(raw["step"]),
    sandbox: textOf(raw["sandbox"]),
    raw,
  };
}

function resultOf(summary: Json | null): ProjectResult {
  if (summary === null) throw new ProjectError("msb ended without a summary", null);
  if (summary["ok"] === false) throw failureWith(summary, undefined);
  return { changed: summary["changes"] === true, tookMs: Number(summary["took_ms"] ?? 0), raw: summary };
}

/** Returns the error of a failed change: one with a class of its own, or that of a failed step. */
function failureWith(summary: Json, cause: unknown): MsbError {
  if (cause instanceof MsbError && !(cause instanceof CommandFailedError)) return cause;
  const typed = failureIn(summary["error"]);
  const text = typed?.message ?? textOf(summary["error"]);
  const message = text ?? (cause instanceof Error ? cause.message : "a step of the project failed");
  const code = typed?.code ?? (cause as { code?: unknown } | undefined)?.code;
  const details = { hint: typed?.hint ?? null, causes: typed?.causes ?? [], cause };
  return new ProjectError(message, summary, details, typeof code === "string" ? code : "failed");
}
