/** Frames: `len u32 BE | id u32 BE | flags u8 | body`, where `len` counts id, flags and body. */

import { FrameError } from "./errors.js";

/** The largest `len`, in bytes: 4 MiB. */
export const MAX_FRAME_LEN = 4 * 1024 * 1024;
/** The smallest `len`, in bytes: id and flags with an empty body. */
export const MIN_FRAME_LEN = 5;
/** The size of `len`, `id` and `flags`, in bytes. */
export const HEADER_BYTES = 9;
/** The largest body of a frame, in bytes. */
export const MAX_BODY_BYTES = MAX_FRAME_LEN - MIN_FRAME_LEN;
/** The id of messages about the link rather than a session. */
export const LINK_ID = 0;

/** The flag of the last frame of a session. */
export const FLAG_TERMINAL = 1;
/** The flag of the first frame of a session. */
export const FLAG_SESSION_START = 2;
/** The flag of a request to end the whole sandbox. */
export const FLAG_SHUTDOWN = 4;

/** One frame. `body` is CBOR, mostly the map `{v, t, p}`. */
export interface RawFrame {
  /** The id of the session. */
  readonly id: number;
  /** The flags, a sum of `FLAG_TERMINAL`, `FLAG_SESSION_START` and `FLAG_SHUTDOWN`. Unknown bits are kept. */
  readonly flags: number;
  /** The body without the header. */
  readonly body: Uint8Array;
}

/**
 * Encodes a frame.
 *
 * @throws {FrameError} If the body is larger than {@link MAX_BODY_BYTES}.
 */
export function encodeFrame(id: number, flags: number, body: Uint8Array): Uint8Array {
  if (body.length > MAX_BODY_BYTES) {
    throw new FrameError(
      `a frame of ${body.length + MIN_FRAME_LEN} bytes is larger than the ${MAX_FRAME_LEN} bytes allowed`,
    );
  }
  const wire = new Uint8Array(HEADER_BYTES + body.length);
  const view = new DataView(wire.buffer);
  view.setUint32(0, body.length + MIN_FRAME_LEN);
  view.setUint32(4, id);
  view.setUint8(8, flags);
  wire.set(body, HEADER_BYTES);
  return wire;
}

/**
 * Splits a stream into frames, in whatever chunks its bytes arrive.
 *
 * It allocates nothing for announced lengths. If all frames are taken before more bytes are fed, it buffers at most one
 * incomplete frame (4 MiB) and one chunk.
 */
export class FrameDecoder {
  #buffer = new Uint8Array(0);
  #start = 0;
  #end = 0;

  /** Appends the next bytes of the stream. */
  feed(bytes: Uint8Array): void {
    const pending = this.#end - this.#start;
    if (this.#buffer.length - this.#end < bytes.length) {
      const needed = pending + bytes.length;
      const target = needed <= this.#buffer.length ? this.#buffer : new Uint8Array(Math.max(needed, 2 * pending, 4096));
      target.set(this.#buffer.subarray(this.#start, this.#end));
      this.#buffer = target;
      this.#start = 0;
      this.#end = pending;
    }
    this.#buffer.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /** Takes so many bytes off the stream, before its first frame; `undefined` if more bytes are needed. */
  take(count: number): Uint8Array | undefined {
    if (this.pendingBytes < count) return undefined;
    const taken = this.#buffer.slice(this.#start, this.#start + count);
    this.#start += count;
    return taken;
  }

  /**
   * Returns the next complete frame; `undefined` if more bytes are needed.
   *
   * @throws {FrameError} If a length is out of bounds. Every further call throws again.
   */
  next(): RawFrame | undefined {
    if (this.pendingBytes < 4) return undefined;
    const view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset + this.#start);
    const length = view.getUint32(0);
    if (length < MIN_FRAME_LEN) {
      throw new FrameError(`a frame of ${length} bytes is shorter than the ${MIN_FRAME_LEN} bytes of its own header`);
    }
    if (length > MAX_FRAME_LEN) {
      throw new FrameError(`a frame of ${length} bytes is larger than the ${MAX_FRAME_LEN} bytes allowed`);
    }
    if (this.pendingBytes < 4 + length) return undefined;
    const frame = {
      id: view.getUint32(4),
      flags: view.getUint8(8),
      // A copy, so that a small frame does not keep the whole buffer alive.
      body: this.#buffer.slice(this.#start + HEADER_BYTES, this.#start + 4 + length),
    };
    this.#start += 4 + length;
    if (this.#start === this.#end) {
      this.#start = this.#end = 0;
      if (this.#buffer.length > 1024 * 1024) this.#buffer = new Uint8Array(0);
    }
    return frame;
  }

  /** The number of buffered bytes. If it is not 0 at the end of a stream, the last frame is incomplete. */
  get pendingBytes(): number {
    return this.#end - this.#start;
  }
}
