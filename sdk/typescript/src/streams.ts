/** The standard streams of a command. */

import { join } from "./command.js";
import { InvalidArgumentError, StdinClosedError, TooLargeError } from "./errors.js";
import { Queue, type CallOptions } from "./waiting.js";

/** The most output of a stream without a reader that is kept before the command has to wait, in bytes. */
export const UNREAD_BYTES = 8 * 1024 * 1024;
/** Above this, in bytes, the guest has ignored the flow control. */
export const FLOODED_BYTES = UNREAD_BYTES + 8 * 1024 * 1024;

/**
 * The output of a command as bytes, read by `for await`, `read`, `bytes` or `text`.
 *
 * It has one reader. What is not read stays in the guest: the command waits when a reader falls behind by 1 MiB.
 */
export class OutputStream implements AsyncIterable<Uint8Array> {
  readonly #queue = new Queue<Uint8Array>();
  readonly #taken: (bytes: number) => void;
  #buffered = 0;
  #unacknowledged = 0;
  #claimed = false;
  #discards = false;
  #dropped = false;

  /** @internal */
  constructor(taken: (bytes: number) => void) {
    this.#taken = taken;
  }

  /** Reads the next piece; `undefined` at the end. */
  async read(options: CallOptions = {}): Promise<Uint8Array | undefined> {
    this.#claimed = true;
    const piece = await this.#queue.next(options.signal);
    if (piece !== undefined) {
      this.#buffered -= piece.length;
      this.#acknowledge(Math.min(piece.length, this.#unacknowledged));
    } else if (this.#dropped) {
      throw new TooLargeError(`more than ${UNREAD_BYTES} bytes were not read, and dropped`, UNREAD_BYTES);
    }
    return piece;
  }

  /**
   * Reads all bytes until the end.
   *
   * @throws {TooLargeError} If there are more than `max`, by default 64 MiB.
   */
  async bytes(options: CallOptions & { max?: number } = {}): Promise<Uint8Array> {
    const { max = 64 * 1024 * 1024 } = options;
    const parts: Uint8Array[] = [];
    let total = 0;
    for (;;) {
      const piece = await this.read(options);
      if (piece === undefined) return join(parts);
      total += piece.length;
      if (total > max) throw new TooLargeError(`the output exceeds ${max} bytes`, max);
      parts.push(piece);
    }
  }

  /** Reads all text until the end; bytes that are not UTF-8 become U+FFFD. */
  async text(options: CallOptions & { max?: number } = {}): Promise<string> {
    return new TextDecoder().decode(await this.bytes(options));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (let piece = await this.read(); piece !== undefined; piece = await this.read()) yield piece;
  }

  /** Drops output beyond the buffer from now on, unless it is read, so that the command never waits. @internal */
  discard(evenClaimed = false): void {
    if (this.#claimed && !evenClaimed) return;
    this.#discards = true;
    this.#acknowledge(this.#unacknowledged);
  }

  /** Adds a piece; returns whether the guest has ignored the flow control. @internal */
  push(piece: Uint8Array): boolean {
    const full = this.#buffered + piece.length > UNREAD_BYTES;
    if (this.#discards && full) {
      this.#dropped = true;
      this.#taken(piece.length);
      return false;
    }
    this.#queue.pushMerged(piece, (last) => merged(last, piece));
    this.#buffered += piece.length;
    this.#unacknowledged += piece.length;
    // A stream without a reader takes a while to fill up, so that reading only the other one rarely blocks the command.
    if (this.#discards || (!this.#claimed && !full)) this.#acknowledge(this.#unacknowledged);
    return this.#buffered > FLOODED_BYTES;
  }

  /** @internal */
  end(): void {
    this.#queue.end();
  }

  /** @internal */
  fail(error: unknown): void {
    this.#queue.fail(error);
  }

  #acknowledge(bytes: number): void {
    this.#unacknowledged -= bytes;
    if (bytes > 0) this.#taken(bytes);
  }
}

/** The size up to which pieces are joined, in bytes, as a queue of single bytes takes much memory. */
const SMALL_BYTES = 4096;

/** Joins two small pieces; `undefined` if one of them is not small. */
export function merged(last: Uint8Array, piece: Uint8Array): Uint8Array | undefined {
  return last.length < SMALL_BYTES && piece.length < SMALL_BYTES ? join([last, piece]) : undefined;
}

/** The most input in one frame, in bytes. */
const PIECE_BYTES = 128 * 1024;
/** The most input without an acknowledgement, in bytes. */
const WINDOW_BYTES = 1024 * 1024;

/** The standard input of a command. */
export class InputStream {
  readonly #send: (data: Uint8Array) => Promise<void>;
  #sent = 0;
  #acknowledged = 0;
  #waiters: (() => void)[] = [];
  #error: unknown;
  #ended = false;
  #last: Promise<void> = Promise.resolve();

  /** @internal */
  constructor(send: (data: Uint8Array) => Promise<void>) {
    this.#send = send;
  }

  /**
   * Writes bytes, or text as UTF-8. Resolves when at most 1 MiB waits for the command.
   *
   * @throws {StdinClosedError} If the command has ended, or has closed its standard input.
   */
  async write(data: Uint8Array | string, options: CallOptions = {}): Promise<void> {
    const bytes = bytesOf(data);
    if (this.#ended) throw new StdinClosedError("the input has been ended");
    const written = this.#last.then(() => this.#writeAll(bytes, options.signal));
    this.#last = written.catch(() => {});
    return written;
  }

  /** Ends the input: the command reads an end of file. With a terminal, it is the character Ctrl-D. */
  async end(options: CallOptions = {}): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#last;
    options.signal?.throwIfAborted();
    if (this.#error === undefined) await this.#send(new Uint8Array(0));
  }

  /** @internal */
  acknowledge(bytes: number): void {
    // A guest may claim any number.
    this.#acknowledged = Math.max(this.#acknowledged, Math.min(bytes, this.#sent));
    this.#wake();
  }

  /** Has all writes fail. @internal */
  fail(error: unknown): void {
    this.#error ??= error;
    this.#wake();
  }

  #wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }

  async #writeAll(bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      const piece = bytes.subarray(at, at + PIECE_BYTES);
      while (this.#error === undefined && this.#sent + piece.length - this.#acknowledged > WINDOW_BYTES) {
        await this.#room(signal);
      }
      if (this.#error !== undefined) throw this.#error;
      signal?.throwIfAborted();
      this.#sent += piece.length;
      await this.#send(piece);
    }
  }

  #room(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const abort = () => reject(signal?.reason);
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiters.push(() => {
        signal?.removeEventListener("abort", abort);
        resolve();
      });
    });
  }
}

/** Returns bytes, and text as UTF-8. */
export function bytesOf(data: unknown): Uint8Array {
  if (typeof data === "string") return new TextEncoder().encode(data);
  if (data instanceof Uint8Array) return data;
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  throw new InvalidArgumentError("data must be a string or bytes");
}
