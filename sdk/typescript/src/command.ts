/** Runs `msb` as a child process, and reads its JSON and its typed failures. */

import { spawn } from "node:child_process";
import { env as environment } from "node:process";
import { CommandFailedError, errorOf, MsbNotFoundError, ProtocolError, type Failure, type MsbError } from "./errors.js";
import { delay, onAbort, Queue, settler, timer, within, type CallOptions } from "./waiting.js";

/** Where `msb` is and what it works on. */
export interface ClientOptions {
  /** The state folder of msb. Default: the environment variable `MSB_HOME`, or msb's own default. */
  home?: string | undefined;
  /** The executable. Default: the environment variable `MSB`, or `msb` on the `PATH`. */
  msb?: string | undefined;
  /** Environment variables of `msb`, in addition to those of this process. */
  env?: Readonly<Record<string, string>> | undefined;
}

/** Options of one run. */
export interface RunOptions extends CallOptions {
  env?: Readonly<Record<string, string>> | undefined;
  cwd?: string | undefined;
}

/** The result of a run that exited with a code. */
export interface RunResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const STDOUT_BYTES_MAX = 256 * 1024 * 1024;
const STDERR_BYTES_KEPT = 64 * 1024;
const LINE_BYTES_MAX = 64 * 1024 * 1024;
/** The most parsed lines that wait for a reader. */
const LINES_QUEUED = 1024;
/** The time between SIGTERM and SIGKILL for an aborted msb, in milliseconds. */
const KILL_AFTER_MS = 5_000;
/** The longest time that an aborted call waits for the end of msb, in milliseconds. */
const ABORT_WAIT_MS = 2_000;

/** The documented exit codes, for a msb that prints no typed failure. */
const CODE_OF_EXIT: { readonly [exit: number]: string } = {
  3: "mismatch",
  4: "timed-out",
  5: "locked",
  10: "unsupported",
  11: "unresponsive",
  64: "usage",
  130: "interrupted",
  143: "terminated",
};

/** Messages of a msb that prints no typed failure. */
const CODE_OF_TEXT: readonly (readonly [RegExp, string])[] = [
  [/there is no (sandbox|volume|image|snapshot|job) "?([^"\s]+)"?/, "$1-not-found"],
  [/an? (sandbox|volume|snapshot) "?([^"\s]+?)"? (?:already )?exists/, "$1-exists"],
  [/()([^\s:]+) is not running/, "sandbox-not-running"],
  [/()([^\s:]+) is paused/, "sandbox-paused"],
  [/()([^\s:]+) (?:is running|still runs)/, "sandbox-running"],
  [/()([^\s:]+) is (?:in use|used by|mounted by)/, "in-use"],
];

/** The output of a child process. */
interface Output {
  on(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  pause(): unknown;
  resume(): unknown;
}

/** A child process: as much of it as is used here, so that the declarations need no types of Node. */
interface Child {
  readonly stdout: Output;
  readonly stderr: Output;
  on(event: "error", listener: (error: Error & { code?: string }) => void): unknown;
  on(event: "close", listener: (code: number | null) => void): unknown;
  kill(signal: string): boolean;
}

/** Commands that have commands of their own. */
const GROUPS: ReadonlySet<string> = new Set(["image", "volume", "snapshot"]);

/** One installation of msb. */
export class Msb {
  readonly #path: string;
  readonly #env: Record<string, string | undefined>;
  /** Commands of an older msb that have no `--json`. */
  readonly #plain = new Set<string>();

  constructor(options: ClientOptions = {}) {
    this.#path = options.msb ?? environment["MSB"] ?? "msb";
    this.#env = { ...environment, ...options.env };
    if (options.home !== undefined) this.#env["MSB_HOME"] = options.home;
    // The name of a project is an argument of the calls that need one.
    delete this.#env["MSB_PROJECT"];
  }

  /** Runs a command and returns its output, whatever its exit code. */
  async run(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const { signal } = options;
    signal?.throwIfAborted();
    const child = this.#spawn(args, options);
    const stdout = new Bytes(STDOUT_BYTES_MAX, "head");
    const stderr = new Bytes(STDERR_BYTES_KEPT, "tail");
    child.stdout.on("data", (chunk) => stdout.add(chunk));
    child.stderr.on("data", (chunk) => stderr.add(chunk));
    const exit = this.#exit(child);
    await abortable(child, exit, signal);
    if (stdout.overflowed) throw new ProtocolError(`msb printed more than ${STDOUT_BYTES_MAX} bytes`);
    return { code: await exit, stdout: stdout.text(), stderr: stderr.text() };
  }

  /** Runs a command that prints nothing of interest; fails if it fails. */
  async plain(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const result = await this.run(args, options);
    if (result.code !== 0) throw failureOf(result);
    return result;
  }

  /** Runs a command with `--json` and returns its document. */
  async json(args: readonly string[], options: RunOptions = {}): Promise<unknown> {
    const { stdout } = await this.plain(withJson(args), options);
    return parse(stdout);
  }

  /** Runs a command with `--json`; an older msb, which has none for this command, prints no document. */
  async result(args: readonly string[], options: RunOptions = {}): Promise<unknown> {
    const command = args.slice(0, GROUPS.has(args[0] ?? "") ? 2 : 1).join(" ");
    if (!this.#plain.has(command)) {
      const result = await this.run(withJson(args), options);
      if (result.code === 0) return result.stdout.trim() === "" ? undefined : parse(result.stdout);
      if (result.code !== 64 || !/unexpected argument '--json'/.test(result.stderr)) throw failureOf(result);
      this.#plain.add(command);
    }
    await this.plain(args, options);
    return undefined;
  }

  /** Starts a command that prints one JSON document per line. */
  lines(args: readonly string[], options: RunOptions = {}): JsonLines {
    options.signal?.throwIfAborted();
    const child = this.#spawn(args, options);
    return new JsonLines(child, this.#exit(child), options.signal);
  }

  #spawn(args: readonly string[], options: RunOptions): Child {
    const settings = {
      env: { ...this.#env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    };
    return spawn(this.#path, ["--color", "never", ...args], settings);
  }

  #exit(child: Child): Promise<number | null> {
    const exit = settler<number | null>();
    child.on("error", (cause) => {
      const hint = "install msb, set MSB to its path, or pass `new Client({ msb })`";
      const missing = cause.code === "ENOENT" || cause.code === "EACCES";
      const message = `cannot start ${this.#path}: ${cause.message}`;
      exit.reject(missing ? new MsbNotFoundError(message, { hint, cause }) : new CommandFailedError(message, { cause }));
    });
    child.on("close", (code) => exit.resolve(code));
    return exit.promise;
  }
}

/** Waits for the end of a child. After an abort it is terminated, and the wait ends soon in any case. */
async function abortable(child: Child, exit: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  try {
    await within(exit, { signal });
  } catch (error) {
    if (signal?.aborted) {
      terminate(child, exit);
      await Promise.race([exit.catch(() => {}), delay(ABORT_WAIT_MS)]);
    }
    throw error;
  }
}

function terminate(child: Child, exit: Promise<unknown>): void {
  child.kill("SIGTERM");
  const kill = timer(KILL_AFTER_MS, () => child.kill("SIGKILL"));
  const stop = () => kill.clear();
  exit.then(stop, stop);
}

/** The documents that a running msb prints, one per line. */
export class JsonLines {
  readonly #child: Child;
  readonly #exit: Promise<number | null>;
  readonly #queue = new Queue<unknown>();
  readonly #stderr = new Bytes(STDERR_BYTES_KEPT, "tail");
  #closed = false;

  constructor(child: Child, exit: Promise<number | null>, signal: AbortSignal | undefined) {
    this.#child = child;
    this.#exit = exit;
    const splitter = new LineSplitter((line) => this.#queue.push(parse(line)));
    child.stdout.on("data", (chunk) => {
      try {
        splitter.feed(chunk);
      } catch (error) {
        this.#queue.fail(error);
        this.#end();
      }
      if (this.#queue.length >= LINES_QUEUED) child.stdout.pause();
    });
    child.stderr.on("data", (chunk) => this.#stderr.add(chunk));
    const stop = onAbort(signal, (reason) => {
      this.#queue.fail(reason);
      this.#queue.clear();
      this.#end();
    });
    exit.then(
      (code) => {
        stop();
        if (code === 0) this.#queue.end();
        else this.#queue.fail(failureOf({ code, stdout: "", stderr: this.#stderr.text() }));
      },
      (error: unknown) => {
        stop();
        this.#queue.fail(error);
      },
    );
  }

  /** Takes the next document; `undefined` at the end. */
  async next(signal?: AbortSignal): Promise<unknown> {
    const document = await this.#queue.next(signal);
    if (this.#queue.length < LINES_QUEUED / 2) this.#child.stdout.resume();
    return document;
  }

  /** Ends msb. Documents that were not taken are dropped. */
  async close(): Promise<void> {
    this.#queue.end();
    this.#queue.clear();
    this.#end();
    await Promise.race([this.#exit.catch(() => {}), delay(KILL_AFTER_MS + ABORT_WAIT_MS)]);
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    terminate(this.#child, this.#exit);
    this.#child.stdout.resume();
  }
}

/** Splits bytes into lines of text. */
export class LineSplitter {
  readonly #line: (text: string) => void;
  #parts: Uint8Array[] = [];
  #length = 0;

  constructor(line: (text: string) => void) {
    this.#line = line;
  }

  feed(chunk: Uint8Array): void {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      this.#parts.push(chunk.subarray(start, end));
      const text = new TextDecoder().decode(join(this.#parts));
      this.#parts = [];
      this.#length = 0;
      start = end + 1;
      if (text.trim() !== "") this.#line(text);
    }
    if (start === chunk.length) return;
    this.#parts.push(chunk.slice(start));
    this.#length += chunk.length - start;
    if (this.#length > LINE_BYTES_MAX) throw new ProtocolError(`msb printed a line of more than ${LINE_BYTES_MAX} bytes`);
  }
}

/** Joins pieces of bytes. */
export function join(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0] as Uint8Array;
  const joined = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** The first or the last bytes of a stream. */
class Bytes {
  overflowed = false;
  #parts: Uint8Array[] = [];
  #length = 0;

  constructor(
    readonly max: number,
    readonly keep: "head" | "tail",
  ) {}

  add(chunk: Uint8Array): void {
    if (this.keep === "head" && this.#length + chunk.length > this.max) {
      this.overflowed = true;
      return;
    }
    this.#parts.push(chunk);
    this.#length += chunk.length;
    while (this.#length > this.max && this.#parts.length > 1) this.#length -= this.#parts.shift()?.length ?? 0;
  }

  text(): string {
    return new TextDecoder().decode(join(this.#parts));
  }
}

/** Adds `--json` before the arguments that are a command of the guest. */
function withJson(args: readonly string[]): string[] {
  const at = args.indexOf("--");
  return at < 0 ? [...args, "--json"] : [...args.slice(0, at), "--json", ...args.slice(at)];
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new ProtocolError(`msb printed something else than JSON: ${text.slice(0, 200)}`, { cause });
  }
}

/** Returns the error of a failed run. */
export function failureOf(result: RunResult): MsbError {
  const { code, stderr } = result;
  const typed = typedFailure(stderr);
  return errorOf(typed ?? textFailure(code, stderr), code);
}

function typedFailure(stderr: string): Failure | undefined {
  const last = stderr.trimEnd().split("\n").at(-1) ?? "";
  if (!last.startsWith("{")) return undefined;
  try {
    const document = JSON.parse(last) as { error?: unknown; findings?: unknown };
    const failure = failureIn(document.error);
    return failure && { ...failure, causes: [...(failure.causes ?? []), ...findingsIn(document.findings)] };
  } catch {
    return undefined;
  }
}

/** Reads `{code, message, causes, hint, name}`; `undefined` if it is something else. */
export function failureIn(value: unknown): Failure | undefined {
  if (value === null || typeof value !== "object") return undefined;
  const { code, message, causes, hint, name } = value as Record<string, unknown>;
  if (typeof code !== "string" || typeof message !== "string") return undefined;
  return {
    code,
    message,
    causes: Array.isArray(causes) ? causes.map(String) : [],
    hint: typeof hint === "string" ? hint : null,
    name: typeof name === "string" ? name : null,
  };
}

/** Returns the messages of the errors in a Sandboxfile. */
function findingsIn(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  const messages = value.map((finding: unknown) => (finding as { message?: unknown } | null)?.message);
  return messages.filter((message): message is string => typeof message === "string");
}

function textFailure(exitCode: number | null, stderr: string): Failure {
  const lines = stderr.trim().split("\n");
  const at = lines.findIndex((line) => line.startsWith("error: "));
  const hint = lines.find((line) => line.startsWith("hint: "))?.slice(6) ?? null;
  const diagnosis = lines.find((line) => line.trimStart().startsWith("× "))?.trim().slice(2);
  const message = at >= 0 ? (lines[at] ?? "").slice(7) : (diagnosis ?? lines.at(-1) ?? "");
  const causes = at < 0 ? [] : lines.slice(at + 1).filter((line) => line.startsWith("  ")).map((line) => line.trim());
  if (diagnosis !== undefined) causes.unshift(diagnosis);
  for (const [pattern, code] of CODE_OF_TEXT) {
    const match = pattern.exec(message);
    if (match === null) continue;
    return { code: code.replace("$1", match[1] ?? ""), message, causes, hint, name: match[2] ?? null };
  }
  const code = exitCode === null ? "terminated" : (CODE_OF_EXIT[exitCode] ?? "failed");
  return { code, message: message || `msb ended with exit code ${exitCode}`, causes, hint, name: null };
}
