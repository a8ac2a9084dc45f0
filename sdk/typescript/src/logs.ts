/** The logs of sandboxes. */

import { Awaitable, disposable } from "./awaitable.js";
import type { JsonLines, Msb } from "./command.js";
import { checkedName, numberOf, objectOf, textOf, type Json } from "./documents.js";
import { InvalidArgumentError, ProtocolError } from "./errors.js";
import type { CallOptions } from "./waiting.js";

/** The source of an entry: `output` is that of a terminal. */
export type LogSource = "stdout" | "stderr" | "output" | "system" | "runtime" | "kernel" | "network" | "flows" | "events";

/** Options of reading a log. */
export interface LogOptions extends CallOptions {
  /** Only the last entries, so many. */
  tail?: number | undefined;
  /** Only entries since this time. */
  since?: Date | undefined;
  /** Only entries before this time. */
  until?: Date | undefined;
  /** Continues after the entry with this cursor. */
  cursor?: string | undefined;
  /** Only these sources. Default: stdout, stderr and output. */
  sources?: readonly LogSource[] | undefined;
}

/** Options of a stream of entries. */
export interface LogStreamOptions extends LogOptions {
  /** Waits for new entries, until the sandbox has ended. */
  follow?: boolean | undefined;
}

/** One line of a log. */
export class LogEntry {
  /** @internal */
  constructor(
    /** The time at which it was written. */
    readonly timestamp: Date,
    /** The source. It may be one of a later msb. */
    readonly source: LogSource | (string & {}),
    /** The number of the command's session; `null` if there is none. */
    readonly sessionId: number | null,
    /** The bytes of the line, without its line feed. */
    readonly data: Uint8Array,
    /** The position after this entry, for the option `cursor`. */
    readonly cursor: string,
  ) {}

  /** The data as text; bytes that are not UTF-8 become U+FFFD. */
  text(): string {
    return new TextDecoder().decode(this.data);
  }
}

/** Entries of a log, in order. */
export class LogStream implements AsyncIterable<LogEntry> {
  readonly #lines: JsonLines;

  /** @internal */
  constructor(lines: JsonLines) {
    this.#lines = lines;
  }

  /**
   * Takes the next entry; `undefined` at the end.
   *
   * @throws {MissedRotationError} If entries after the cursor were removed.
   * @throws {InvalidCursorError} If the cursor is malformed or of another sandbox.
   */
  async next(options: CallOptions = {}): Promise<LogEntry | undefined> {
    const line = await this.#lines.next(options.signal);
    return line === undefined ? undefined : entryOf(objectOf(line, "a line"));
  }

  /** Ends the stream. */
  async close(): Promise<void> {
    await this.#lines.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LogEntry, void, undefined> {
    try {
      for (let entry = await this.next(); entry !== undefined; entry = await this.next()) yield entry;
    } finally {
      await this.close();
    }
  }
}

export interface LogStream {
  /** Ends the stream. */
  [Symbol.asyncDispose](): Promise<void>;
}
disposable(LogStream.prototype, function () {
  return this.close();
});

/** A stream of entries that is being opened: `await` it for the stream, or iterate over the entries at once. */
export type PendingLogStream = Awaitable<LogStream, LogEntry>;

/** Starts to read a log. */
export function openLogStream(msb: Msb, name: string, options: LogStreamOptions): PendingLogStream {
  return new Awaitable(async () => new LogStream(msb.lines(logArguments(name, options), { signal: options.signal })));
}

/** Reads a log to its present end. */
export async function readLogs(msb: Msb, name: string, options: LogOptions): Promise<LogEntry[]> {
  const entries: LogEntry[] = [];
  for await (const entry of openLogStream(msb, name, { ...options, follow: false })) entries.push(entry);
  return entries;
}

function logArguments(name: string, options: LogStreamOptions): string[] {
  const { tail, since, until, cursor, sources, follow } = options;
  if (tail !== undefined && (!Number.isInteger(tail) || tail < 0)) {
    throw new InvalidArgumentError("tail must be a number of entries");
  }
  const args = ["logs", "--json"];
  if (follow) args.push("--follow");
  if (tail !== undefined) args.push(`--tail=${tail}`);
  if (since !== undefined) args.push(`--since=${since.toISOString()}`);
  if (until !== undefined) args.push(`--until=${until.toISOString()}`);
  if (cursor !== undefined) args.push(`--cursor=${cursor}`);
  for (const source of sources ?? []) args.push(`--source=${source}`);
  return [...args, checkedName(name)];
}

function entryOf(line: Json): LogEntry {
  const [time, source, cursor] = [textOf(line["t"]), textOf(line["s"]), textOf(line["cursor"])];
  if (time === null || source === null || cursor === null) throw new ProtocolError("msb printed an incomplete log entry");
  const data = line["d"];
  let bytes: Uint8Array;
  if (line["e"] === "b64" && typeof data === "string") {
    const text = atob(data);
    bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  } else {
    bytes = new TextEncoder().encode(typeof data === "string" ? data : JSON.stringify(data ?? ""));
  }
  return new LogEntry(new Date(time), source, numberOf(line["id"]), bytes, cursor);
}
