/** A command in a sandbox, from its start to its end. */

import { join } from "./command.js";
import { disposable } from "./awaitable.js";
import {
  ConnectionLostError,
  ExecFailedError,
  ExecTimeoutError,
  InvalidArgumentError,
  ProtocolError,
  StdinClosedError,
  TimedOutError,
  TooLargeError,
  UnresponsiveError,
} from "./errors.js";
import { checkSize, execRequest, signalNumber, type ExecOptions, type ExecStreamOptions, type Signal } from "./exec.js";
import { bytesIn, execFailureOf, integerIn, optionalInteger, optionalText, printable, refusalOf, textIn } from "./messages.js";
import type { Message } from "./messages.js";
import type { Relay, Session } from "./relay.js";
import { bytesOf, FLOODED_BYTES, InputStream, merged, OutputStream, UNREAD_BYTES } from "./streams.js";
import { onAbort, Queue, settler, timer, within, type CallOptions } from "./waiting.js";

/** The longest time without any message of a guest that has to start a command, in milliseconds. */
const START_TIMEOUT_MS = 10_000;
/** The longest time until a guest has started a command, in milliseconds: it may have to start many others first. */
const START_TOTAL_MS = 300_000;
/** The longest time until a guest reports the end of a killed command, in milliseconds. */
const END_TIMEOUT_MS = 5_000;
/** The default time between SIGTERM and SIGKILL, in milliseconds. */
const KILL_AFTER_MS = 500;
/** The most events that wait for a reader. */
const EVENTS_MAX = 1 << 18;
const SIGTERM = 15;
const SIGKILL = 9;

/** The end of a command. */
export interface ExitStatus {
  /** The exit code; 128 + n for signal n. */
  readonly exitCode: number;
  /** The signal that ended the command; `null` if none did. */
  readonly signal: number | null;
  /** Whether the exit code is 0. */
  readonly success: boolean;
}

/** What happens to a command, in order. `exited` or `failed` is the last event. */
export type ProcessEvent =
  | { readonly type: "started"; readonly pid: number }
  | { readonly type: "stdout"; readonly data: Uint8Array }
  | { readonly type: "stderr"; readonly data: Uint8Array }
  | {
      /** Input was dropped, mostly because the command closed its standard input. The command continues. */
      readonly type: "stdin_error";
      readonly message: string;
      readonly errno: number | null;
      readonly errnoName: string | null;
    }
  | ({ readonly type: "exited" } & ExitStatus)
  | {
      /** The command was not started. */
      readonly type: "failed";
      readonly error: ExecFailedError;
    };

/** The result of a command whose output was collected. */
export class ExecOutput implements ExitStatus {
  /** @internal */
  constructor(
    /** The exit code; 128 + n for signal n. */
    readonly exitCode: number,
    /** The signal that ended the command; `null` if none did. */
    readonly signal: number | null,
    /** The bytes of the standard output; with a terminal, those of all output. */
    readonly stdoutBytes: Uint8Array,
    /** The bytes of the standard error. */
    readonly stderrBytes: Uint8Array,
  ) {}

  /** Whether the exit code is 0. */
  get success(): boolean {
    return this.exitCode === 0;
  }

  /** The standard output as text; bytes that are not UTF-8 become U+FFFD. */
  get stdout(): string {
    return new TextDecoder().decode(this.stdoutBytes);
  }

  /** The standard error as text. */
  get stderr(): string {
    return new TextDecoder().decode(this.stderrBytes);
  }
}

/** A running command. */
export class Process implements AsyncIterable<ProcessEvent> {
  readonly #session: Session;
  readonly #exit = settler<ExitStatus>();
  readonly #started = settler<number>();
  readonly #ended = settler<void>();
  readonly #stdin: InputStream;
  readonly #stdout: OutputStream;
  readonly #stderr: OutputStream;
  readonly #killAfter: number;
  /** Whether the output goes to the streams or to the events; before that is decided, it waits in the events. */
  #mode: "undecided" | "streams" | "events" = "undecided";
  readonly #events = new Queue<ProcessEvent>();
  /** The bytes of output in `events`. */
  #waiting = 0;
  #discards = false;
  #acknowledged = 0;
  #over = false;
  #failure: unknown;
  #incomplete: unknown;
  #stopping: unknown;
  #cleanUp: (() => void)[] = [];
  readonly #pipe: boolean;

  /** @internal */
  constructor(relay: Relay, cmd: string, args: readonly string[], options: ExecStreamOptions) {
    const request = execRequest(cmd, args, options);
    const { signal, timeout, stdin = "null" } = options;
    signal?.throwIfAborted();
    this.#killAfter = options.killAfter ?? KILL_AFTER_MS;
    this.#pipe = stdin === "pipe";
    this.#session = relay.joined(() => {
      const session = relay.request("core.exec.request", request);
      if (stdin === "null") session.send("core.exec.stdin", { data: new Uint8Array(0) }).catch(() => {});
      return session;
    });
    const send = (type: string, payload: object) => this.#session.send(type, payload as never);
    this.#stdin = new InputStream((data) => send("core.exec.stdin", { data }));
    this.#stdout = new OutputStream((bytes) => this.#acknowledge(bytes));
    this.#stderr = new OutputStream((bytes) => this.#acknowledge(bytes));
    this.#session.listen(
      (message, terminal) => this.#receive(message, terminal),
      (error) => this.#end(error),
    );
    if (stdin !== "null" && stdin !== "pipe") this.#feed(stdin);
    this.#watchStart(relay);
    this.#cleanUp.push(onAbort(signal, (reason) => this.#stop(reason)));
    if (timeout !== undefined) {
      const expired = () => this.#stop(new ExecTimeoutError(timeout, new Uint8Array(0), new Uint8Array(0)));
      const limit = timer(timeout, expired);
      this.#cleanUp.push(() => limit.clear());
    }
    // The end may have come before these were added.
    if (this.#over) this.#release();
  }

  /** The standard input. Needs the option `stdin: "pipe"`. */
  get stdin(): InputStream {
    if (!this.#pipe) throw new InvalidArgumentError('the standard input needs the option `stdin: "pipe"`');
    return this.#stdin;
  }

  /** The standard output; all output of a command with a terminal. */
  get stdout(): OutputStream {
    this.#useStreams();
    return this.#stdout;
  }

  /** The standard error. */
  get stderr(): OutputStream {
    this.#useStreams();
    return this.#stderr;
  }

  /**
   * Waits for the start and returns the process id in the guest.
   *
   * @throws {ExecFailedError} If the command was not started.
   */
  async started(options: CallOptions = {}): Promise<number> {
    return within(this.#started.promise, options);
  }

  /**
   * Waits for the end. Output beyond 8 MiB that is not read is dropped. An aborted wait leaves the command running.
   *
   * @param options.timeout The longest wait in milliseconds, which leaves the command running too.
   * @throws {TimedOutError} If it has not ended by then.
   * @throws {ExecFailedError} If the command was not started.
   * @throws {ExecTimeoutError} If it was ended at its timeout.
   * @throws {ConnectionLostError} If the connection ended first. There is never a default exit code.
   */
  async wait(options: CallOptions & { timeout?: number } = {}): Promise<ExitStatus> {
    if (this.#mode !== "events") {
      this.#useStreams();
      this.#stdout.discard();
      this.#stderr.discard();
    }
    const { signal, timeout } = options;
    const onTimeout = () => new TimedOutError("timed-out", `the command has not ended after ${timeout} ms`);
    return within(this.#exit.promise, { signal, timeoutMs: timeout, onTimeout });
  }

  /**
   * Collects the output and waits for the end.
   *
   * @throws {TooLargeError} If it exceeds `max` bytes, by default 64 MiB. The command is ended then.
   */
  async output(options: CallOptions & { max?: number } = {}): Promise<ExecOutput> {
    const { max = 64 * 1024 * 1024, signal } = options;
    let total = 0;
    const collect = async (stream: OutputStream): Promise<Uint8Array> => {
      const parts: Uint8Array[] = [];
      try {
        for await (const piece of stream) {
          total += piece.length;
          if (total > max) this.#stop(new TooLargeError(`the output exceeds ${max} bytes`, max));
          else parts.push(piece);
        }
      } catch {
        // The exit has the error.
      }
      return join(parts);
    };
    const both = Promise.all([collect(this.stdout), collect(this.stderr)]);
    try {
      const { exitCode, signal: ended } = await within(this.#exit.promise, { signal });
      const [stdout, stderr] = await both;
      return new ExecOutput(exitCode, ended, stdout, stderr);
    } catch (error) {
      if (!(error instanceof ExecTimeoutError)) throw error;
      const [stdout, stderr] = await both;
      throw new ExecTimeoutError(error.timeoutMs, stdout, stderr);
    }
  }

  /** Sends a signal to the process group of the command: a number, or a name such as `"TERM"`. */
  async signal(signal: Signal, options: CallOptions = {}): Promise<void> {
    const number = signalNumber(signal);
    if (this.#over) return;
    await this.#session.send("core.exec.signal", { signal: number }, options.signal);
  }

  /** Sends SIGKILL to the process group of the command, and does not wait for its end. */
  async kill(options: CallOptions = {}): Promise<void> {
    await this.signal(SIGKILL, options);
  }

  /** Ends the command with SIGTERM, and with SIGKILL after the option `killAfter`. Waits for its end. */
  async terminate(): Promise<void> {
    this.#terminate();
    await this.#ended.promise;
  }

  /** Sets the size of the terminal. */
  async resize(rows: number, cols: number, options: CallOptions = {}): Promise<void> {
    checkSize({ rows, cols });
    if (this.#over) return;
    await this.#session.send("core.exec.resize", { rows, cols }, options.signal);
  }

  /**
   * Iterates over the events. Not together with `stdout`, `stderr` or `output()`, which take the same bytes.
   *
   * It throws if the command is ended at its timeout or by its signal, and if the connection ends. A loop that is left
   * early ends the command.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<ProcessEvent, void, undefined> {
    if (this.#mode !== "undecided") throw new InvalidArgumentError("the output of the command has a reader already");
    this.#mode = "events";
    try {
      for (let event = await this.#events.next(); event !== undefined; event = await this.#events.next()) {
        if (event.type === "stdout" || event.type === "stderr") {
          this.#waiting -= event.data.length;
          if (!this.#discards) this.#acknowledge(event.data.length);
        }
        yield event;
      }
    } finally {
      if (!this.#over) await this.terminate();
    }
  }

  #watchStart(relay: Relay): void {
    const began = Date.now();
    let watch: { clear(): void };
    const arm = (milliseconds: number) => {
      watch = timer(milliseconds, () => {
        const now = Date.now();
        const silent = now - Math.max(relay.lastReceived, began);
        if (silent < START_TIMEOUT_MS && now - began < START_TOTAL_MS) return arm(START_TIMEOUT_MS - silent + 1);
        const message = `the guest did not start the command within ${now - began} ms`;
        this.#abandon(new UnresponsiveError("unresponsive", message));
      });
    };
    arm(START_TIMEOUT_MS);
    const stop = () => watch.clear();
    this.#started.promise.then(stop, stop);
  }

  #useStreams(): void {
    if (this.#mode === "streams") return;
    if (this.#mode === "events") throw new InvalidArgumentError("the output is read by the iteration over the events");
    this.#mode = "streams";
    for (const event of this.#events.clear()) {
      if (event.type === "stdout") this.#stdout.push(event.data);
      else if (event.type === "stderr") this.#stderr.push(event.data);
    }
    this.#waiting = 0;
    if (this.#discards) this.#discard();
    if (this.#over) this.#endStreams();
  }

  #event(event: ProcessEvent): void {
    if (this.#mode === "streams") return;
    this.#events.pushMerged(event, (last) => {
      const output = event.type === "stdout" || event.type === "stderr";
      if (!output || last.type !== event.type) return undefined;
      const data = merged(last.data, event.data);
      return data && { type: event.type, data };
    });
  }

  /** Has the command never wait for a reader. */
  #discard(): void {
    if (this.#mode === "streams") {
      this.#stdout.discard(true);
      this.#stderr.discard(true);
    } else if (!this.#discards) {
      this.#acknowledge(this.#waiting);
    }
    this.#discards = true;
  }

  #acknowledge(bytes: number): void {
    this.#acknowledged += bytes;
    if (this.#over) return;
    this.#session.send("core.exec.output.ack", { bytes: this.#acknowledged }).catch(() => {});
  }

  #feed(source: Exclude<ExecStreamOptions["stdin"], undefined>): void {
    const pump = async () => {
      if (typeof source === "string" || source instanceof Uint8Array) await this.#stdin.write(source);
      else for await (const piece of source) await this.#stdin.write(bytesOf(piece));
      return this.#stdin.end();
    };
    pump().catch((error: unknown) => {
      // A command need not read its input, but a source that fails must not look like the end of the input.
      if (!(error instanceof StdinClosedError) && !this.#over) this.#stop(error);
    });
  }

  #receive({ type, payload }: Message, terminal: boolean): void {
    switch (type) {
      case "core.exec.started": {
        const pid = integerIn(payload, "pid");
        this.#started.resolve(pid);
        this.#event({ type: "started", pid });
        break;
      }
      case "core.exec.stdout":
      case "core.exec.stderr":
        this.#output(type === "core.exec.stdout" ? "stdout" : "stderr", bytesIn(payload, "data"));
        break;
      case "core.exec.stdin.ack":
        this.#stdin.acknowledge(integerIn(payload, "bytes"));
        break;
      case "core.exec.stdin.error": {
        const message = printable(textIn(payload, "message"));
        const [errno, errnoName] = [optionalInteger(payload, "errno"), optionalText(payload, "errno_name")];
        this.#stdin.fail(new StdinClosedError(message, errno, errnoName));
        this.#event({ type: "stdin_error", message, errno, errnoName });
        break;
      }
      case "core.exec.exited": {
        const exitCode = integerIn(payload, "code");
        const exit = { exitCode, signal: optionalInteger(payload, "signal"), success: exitCode === 0 };
        this.#event({ type: "exited", ...exit });
        return this.#end(undefined, exit);
      }
      case "core.exec.failed": {
        const error = execFailureOf(payload);
        this.#event({ type: "failed", error });
        return this.#end(error);
      }
      case "core.error": {
        const refusal = refusalOf(payload);
        // A refused message of a running command, such as a late signal, does not end it.
        if (terminal) return this.#end(refusal);
        break;
      }
      default:
        break;
    }
    if (terminal) this.#end(new ConnectionLostError("the guest ended the session without an exit code"));
  }

  #output(type: "stdout" | "stderr", data: Uint8Array): void {
    let flooded: boolean;
    if (this.#mode === "streams") {
      flooded = (type === "stdout" ? this.#stdout : this.#stderr).push(data);
    } else if (this.#discards && this.#waiting + data.length > UNREAD_BYTES) {
      return this.#acknowledge(data.length);
    } else {
      this.#event({ type, data });
      this.#waiting += data.length;
      if (this.#discards) this.#acknowledge(data.length);
      flooded = this.#waiting > FLOODED_BYTES || this.#events.length > EVENTS_MAX;
    }
    if (flooded) this.#abandon(new ProtocolError("the guest sent more output than was acknowledged"));
  }

  /** Ends the command, and then has the process fail with an error. */
  #stop(error: unknown): void {
    if (this.#over || this.#stopping !== undefined) return;
    this.#stopping = error ?? new ConnectionLostError();
    this.#terminate();
  }

  #terminate(): void {
    if (this.#over) return;
    const send = (signal: number) => void this.#session.send("core.exec.signal", { signal }).catch(() => {});
    send(SIGTERM);
    const kill = timer(this.#killAfter, () => {
      // Output that waits for a reader must not delay the report of the end.
      this.#discard();
      send(SIGKILL);
    });
    const end = timer(this.#killAfter + END_TIMEOUT_MS, () => {
      const message = `the guest did not report the end of the killed command within ${END_TIMEOUT_MS} ms`;
      this.#end(new UnresponsiveError("unresponsive", message));
    });
    this.#cleanUp.push(
      () => kill.clear(),
      () => end.clear(),
    );
  }

  #abandon(error: unknown): void {
    if (this.#over) return;
    this.#session.send("core.exec.signal", { signal: SIGKILL }).catch(() => {});
    this.#end(error);
  }

  #end(error: unknown, exit?: ExitStatus): void {
    if (this.#over) return;
    this.#over = true;
    this.#session.close();
    const reason = this.#stopping ?? error;
    if (reason === undefined && exit !== undefined) this.#exit.resolve(exit);
    else this.#exit.reject(reason);
    this.#started.reject(reason ?? new ConnectionLostError());
    // The streams of a command that has ended end with it, whatever the reason. Others are incomplete.
    this.#incomplete = exit === undefined && this.#stopping === undefined ? reason : undefined;
    this.#failure = reason;
    this.#endStreams();
    this.#endEvents();
    this.#stdin.fail(new StdinClosedError("the command has ended"));
    this.#ended.resolve();
    this.#release();
  }

  #endStreams(): void {
    if (this.#mode !== "streams") return;
    for (const stream of [this.#stdout, this.#stderr]) {
      if (this.#incomplete === undefined) stream.end();
      else stream.fail(this.#incomplete);
    }
  }

  #endEvents(): void {
    // A failed start is an event.
    if (this.#failure === undefined || this.#failure instanceof ExecFailedError) this.#events.end();
    else this.#events.fail(this.#failure);
  }

  #release(): void {
    for (const action of this.#cleanUp.splice(0)) action();
  }
}

export interface Process {
  /** Ends the command if it still runs. */
  [Symbol.asyncDispose](): Promise<void>;
}
disposable(Process.prototype, function () {
  return this.terminate();
});

/** Runs a command and collects its output. */
export async function execute(
  relay: Relay,
  cmd: string,
  args: readonly string[],
  options: ExecOptions,
): Promise<ExecOutput> {
  if ((options.stdin as unknown) === "pipe") {
    throw new InvalidArgumentError('`stdin: "pipe"` needs a stream: use `execStream`');
  }
  const process = new Process(relay, cmd, args, options);
  return process.output(options.maxOutput === undefined ? {} : { max: options.maxOutput });
}
