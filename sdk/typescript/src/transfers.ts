/** Operations on files in the protocol, and transfers of contents. */

import { disposable } from "./awaitable.js";
import { join } from "./command.js";
import {
  ClientClosedError,
  FILE_FAILURE_KINDS,
  FileError,
  PathNotFoundError,
  ProtocolError,
  TooLargeError,
  UnresponsiveError,
  UnsupportedError,
  type FileFailureKind,
} from "./errors.js";
import {
  bytesIn,
  integerIn,
  mapIn,
  optionalInteger,
  optionalText,
  printable,
  refusalOf,
  textIn,
  type Message,
  type Payload,
} from "./messages.js";
import { readyOf } from "./ready.js";
import type { Relay, Session } from "./relay.js";
import { bytesOf } from "./streams.js";
import { delay, within, type CallOptions } from "./waiting.js";

/** The most data in one message, in bytes. */
export const DATA_BYTES = 128 * 1024;
/** The most messages with data that are sent without an acknowledgement. */
const WINDOW_FRAMES = 8;
/** The longest time for one answer of the guest, or for the removal of a whole tree, in milliseconds. */
const ANSWER_TIMEOUT_MS = 60_000;
/** The longest wait for a place among the operations of the guest, and between two attempts, in milliseconds. */
const BUSY_TIMEOUT_MS = 30_000;
const BUSY_DELAY_MAX_MS = 200;
/** The default limit of {@link Files.read}, in bytes. */
export const READ_BYTES_MAX = 256 * 1024 * 1024;

/** The feature of an agent that works with files. */
export const FILES = "fs";
/** The feature of an agent that also copies, renames and resolves paths, and follows links. */
export const TREE = "fs_tree";

/** An absolute path of the guest: text, or bytes for a name that is not UTF-8. */
export type GuestPath = string | Uint8Array;

/** The kind of a file; `other` is a device, a socket or a pipe. */
export type FileKind = "file" | "directory" | "symlink" | "other";

/** The metadata of a file, without following a link. */
export interface FileStat {
  readonly kind: FileKind;
  /** The permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** The size, in bytes. */
  readonly size: number;
  /** The time of the last modification. */
  readonly modified: Date;
  /** The target of a link; `null` for others. */
  readonly target: string | null;
}

/** Options of creating a file. */
export interface WriteOptions extends CallOptions {
  /** The permissions; 0644 by default, 0755 for directories. */
  mode?: number | undefined;
  /** The owner as `name|uid[:group|gid]`. Default: the user of commands. */
  user?: string | undefined;
  /** The time of the last modification. Default: now. */
  modified?: Date | undefined;
  /** Whether missing parent directories are created. Default: false for files, true for directories. */
  parents?: boolean | undefined;
}

/** A file that is being read. The guest sends only as much as is read. */
export class GuestFileReader implements AsyncIterable<Uint8Array> {
  readonly #session: Session;
  readonly #path: GuestPath;
  readonly #done: () => void;
  readonly #signal: AbortSignal | undefined;
  #frames = 0;
  #first: Uint8Array | undefined;
  #stat: FileStat | undefined;
  #closed = false;

  /** @internal */
  constructor(session: Session, path: GuestPath, done: () => void, signal: AbortSignal | undefined) {
    this.#session = session;
    this.#path = path;
    this.#done = done;
    this.#signal = signal;
  }

  /** The metadata of the file, after its end. */
  get stat(): FileStat | undefined {
    return this.#stat;
  }

  /** Receives the first bytes, so that a missing file is an error of the opening. @internal */
  async opened(): Promise<this> {
    this.#first = await this.#receive({});
    return this;
  }

  /** Reads the next bytes; `undefined` at the end. */
  async read(options: CallOptions = {}): Promise<Uint8Array | undefined> {
    const first = this.#first;
    this.#first = undefined;
    return first ?? this.#receive(options);
  }

  async #receive(options: CallOptions): Promise<Uint8Array | undefined> {
    if (this.#stat !== undefined) return undefined;
    if (this.#closed) throw new ClientClosedError("the file is closed");
    try {
      const { type, payload } = await received(this.#session, options.signal ?? this.#signal);
      if (type === "core.fs.data") {
        this.#frames += 1;
        const data = bytesIn(payload, "data");
        await this.#session.send("core.fs.data.ack", { frames: this.#frames });
        return data;
      }
      if (type !== "core.fs.response") throw unexpected(type);
      throwFailure(payload, this.#path);
      const stat = mapIn(payload, "stat");
      if (stat === undefined) throw new ProtocolError("the guest answered without metadata");
      this.#stat = statOf(stat);
      this.close();
      return undefined;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Reads all bytes until the end.
   *
   * @throws {TooLargeError} If there are more than `max`, by default 256 MiB.
   */
  async bytes(options: CallOptions & { max?: number } = {}): Promise<Uint8Array> {
    const { max = READ_BYTES_MAX } = options;
    const parts: Uint8Array[] = [];
    let total = 0;
    for (let piece = await this.read(options); piece !== undefined; piece = await this.read(options)) {
      total += piece.length;
      if (total > max) {
        this.close();
        throw new TooLargeError(`the file exceeds ${max} bytes`, max);
      }
      parts.push(piece);
    }
    return join(parts);
  }

  /** Ends the transfer. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#first = undefined;
    this.#session.close();
    this.#done();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (let piece = await this.read(); piece !== undefined; piece = await this.read()) yield piece;
    } finally {
      this.close();
    }
  }
}

export interface GuestFileReader {
  /** Ends the transfer. */
  [Symbol.asyncDispose](): Promise<void>;
}
disposable(GuestFileReader.prototype, async function () {
  this.close();
});

/** A file that is being written. */
export class GuestFileWriter {
  readonly #session: Session;
  readonly #path: GuestPath;
  readonly #done: () => void;
  readonly #signal: AbortSignal | undefined;
  #sent = 0;
  #taken = 0;
  #bytes = 0;
  #closed = false;

  /** @internal */
  constructor(session: Session, path: GuestPath, done: () => void, signal: AbortSignal | undefined) {
    this.#session = session;
    this.#path = path;
    this.#done = done;
    this.#signal = signal;
  }

  /**
   * Waits until the guest has begun, or throws its refusal. It answers the messages of a connection in their order, so a
   * refusal comes before the answer to a ping.
   *
   * @internal
   */
  opened(relay: Relay): Promise<this> {
    return this.#guard(async () => {
      const ping = relay.request("core.ping", {});
      try {
        await received(ping, this.#signal);
      } finally {
        ping.close();
      }
      if (this.#session.waits && (await this.#answer())) throw new ProtocolError("the guest completed a file before its end");
      return this;
    });
  }

  /** Appends bytes, or text as UTF-8. One call at a time. */
  async write(data: Uint8Array | string): Promise<void> {
    const bytes = bytesOf(data);
    for (let at = 0; at < bytes.length; at += DATA_BYTES) await this.#send(bytes.subarray(at, at + DATA_BYTES));
  }

  /** Completes the file, which now gets its name. Returns its size in bytes. */
  async end(): Promise<number> {
    await this.#send(new Uint8Array(0));
    return this.#guard(async () => {
      while (!(await this.#answer()));
      this.abort();
      return this.#bytes;
    });
  }

  /** Ends the transfer. Unless the file is complete, it is dropped. */
  abort(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#session.close();
    this.#done();
  }

  #send(data: Uint8Array): Promise<void> {
    if (this.#closed) return Promise.reject(new ClientClosedError("the file is closed"));
    return this.#guard(async () => {
      while (this.#sent - this.#taken >= WINDOW_FRAMES) {
        if (await this.#answer()) throw new ProtocolError("the guest completed a file before its end");
      }
      this.#bytes += data.length;
      this.#sent += 1;
      await this.#session.send("core.fs.data", { data }, this.#signal);
    });
  }

  /** Receives one message; returns whether it was the last one. */
  async #answer(): Promise<boolean> {
    const { type, payload } = await received(this.#session, this.#signal);
    if (type === "core.fs.data.ack") {
      this.#taken = Math.max(this.#taken, Math.min(integerIn(payload, "frames"), this.#sent));
      return false;
    }
    if (type !== "core.fs.response") throw unexpected(type);
    throwFailure(payload, this.#path);
    return true;
  }

  async #guard<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      this.abort();
      throw error;
    }
  }
}

export interface GuestFileWriter {
  /** Ends the transfer. Unless the file is complete, it is dropped. */
  [Symbol.asyncDispose](): Promise<void>;
}
disposable(GuestFileWriter.prototype, async function () {
  this.abort();
});

/** Returns the payload of an operation. */
export function request(op: string, path: GuestPath): Payload {
  return { op, path: bytesOf(path) };
}

/** Returns the payload of an operation that creates something. */
export function created(op: string, path: GuestPath, options: WriteOptions, parents: boolean): Payload {
  const { modified } = options;
  return {
    ...request(op, path),
    mode: options.mode,
    user: options.user,
    modified_ns: modified === undefined ? undefined : BigInt(modified.getTime()) * 1_000_000n,
    parents: options.parents ?? parents,
  };
}

/** Starts an operation. */
export function begin(relay: Relay, payload: Payload, feature = FILES): Session {
  const { features, agentVersion } = readyOf(relay.ready);
  if (!features.includes(feature)) {
    const operation = feature === FILES ? "work with files" : "copy, rename and resolve paths";
    const message = `the sandbox's agent ${agentVersion ?? ""} cannot ${operation}: it is older than this package`;
    throw new UnsupportedError("unsupported", message);
  }
  return relay.request("core.fs.request", payload);
}

/**
 * Repeats an operation while the guest has no place for it. It has 16 for all clients, and that of an abandoned transfer
 * is free only a moment after its connection was closed.
 */
export async function whileBusy<T>(options: CallOptions, attempt: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + BUSY_TIMEOUT_MS;
  for (let pause = 10; ; pause = Math.min(2 * pause, BUSY_DELAY_MAX_MS)) {
    try {
      return await attempt();
    } catch (error) {
      // With an errno it is a file that is busy.
      const noPlace = error instanceof FileError && error.kind === "busy" && error.errno === null;
      if (!noPlace || Date.now() >= deadline) throw error;
    }
    await within(delay(pause), { signal: options.signal });
  }
}

/** Calls `done` if the action fails. */
export function guarded<T>(done: () => void, action: () => T): T {
  try {
    return action();
  } catch (error) {
    done();
    throw error;
  }
}

/** Receives the next message of an operation. */
export async function received(session: Session, signal: AbortSignal | undefined): Promise<Message & { terminal: boolean }> {
  const onTimeout = () => {
    return new UnresponsiveError("unresponsive", `the guest did not answer within ${ANSWER_TIMEOUT_MS} ms`);
  };
  const message = await within(session.message(signal), { timeoutMs: ANSWER_TIMEOUT_MS, onTimeout });
  if (message === undefined) throw new ProtocolError("the guest ended the operation without an answer");
  if (message.type === "core.error") throw refusalOf(message.payload);
  return message;
}

/** Returns the error of a message that does not belong to an operation. */
export function unexpected(type: string): ProtocolError {
  return new ProtocolError(`the guest answered with ${printable(type)}`);
}

/** Throws the failure in a response. */
export function throwFailure(payload: Payload, path: GuestPath): void {
  const failure = mapIn(payload, "failure");
  if (failure === undefined) return;
  const message = printable(textIn(failure, "message"));
  const errno = optionalInteger(failure, "errno");
  throw fileError(message, textIn(failure, "kind"), path, errno, optionalText(failure, "errno_name"));
}

/** Returns the error of a failed operation. */
export function fileError(
  message: string,
  kind: string,
  path: GuestPath,
  errno: number | null,
  errnoName: string | null,
): FileError {
  const shown = printable(typeof path === "string" ? path : new TextDecoder().decode(path));
  if (kind === "not_found") return new PathNotFoundError(message, kind, shown, errno, errnoName, "path-not-found");
  const known = FILE_FAILURE_KINDS.has(kind) ? (kind as FileFailureKind) : "other";
  return new FileError(message, known, shown, errno, errnoName);
}

/** Reads metadata. */
export function statOf(stat: Payload): FileStat {
  const kind = textIn(stat, "kind");
  const target = stat["target"];
  return {
    kind: kind === "link" ? "symlink" : kind === "file" || kind === "directory" ? kind : "other",
    mode: integerIn(stat, "mode"),
    uid: integerIn(stat, "uid"),
    gid: integerIn(stat, "gid"),
    size: integerIn(stat, "size"),
    modified: new Date(integerIn(stat, "modified_ns") / 1e6),
    target: target instanceof Uint8Array ? new TextDecoder().decode(target) : null,
  };
}
