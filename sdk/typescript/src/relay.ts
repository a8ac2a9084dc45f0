/** The connection to a sandbox's relay: the handshake, and sessions by id. */

import { createConnection, type Socket } from "node:net";
import {
  ClientClosedError,
  ConnectionLostError,
  HandshakeError,
  IdRangeExhaustedError,
  MsbError,
  SandboxNotRunningError,
  TimedOutError,
} from "./errors.js";
import { encodeFrame, FLAG_TERMINAL, FrameDecoder, LINK_ID, type RawFrame } from "./frames.js";
import { decodeMessage, encodeMessage, refusalOf, usualFlags, type Message, type Payload } from "./messages.js";
import { readyOf } from "./ready.js";
import { Queue, settler, within, type CallOptions } from "./waiting.js";

/** The default timeout of connecting and the handshake, in milliseconds. */
export const CONNECT_TIMEOUT_MS = 10_000;

/** The longest queue of a session whose frames are not taken, in frames and bytes. */
const QUEUED_FRAMES = 256;
const QUEUED_BYTES = 16 * 1024 * 1024;

/** Options of connecting. */
export interface ConnectOptions extends CallOptions {
  /** The timeout of connecting and the handshake, in milliseconds; 10 s by default. */
  timeoutMs?: number | undefined;
}

/** What the relay sends first. */
interface Hello {
  readonly idStart: number;
  readonly idEnd: number;
  readonly frame: RawFrame;
  readonly ready: Payload;
}

/** A connection whose handshake is done. */
export class Relay {
  readonly #socket: Socket;
  readonly #decoder: FrameDecoder;
  readonly #sessions = new Map<number, Session>();
  readonly #full = new Set<Session>();
  readonly #hello: Hello;
  #nextId: number;
  #lastReceived = Date.now();
  #error: MsbError | undefined;
  #users = 0;
  /** Why the relay is about to close the connection, if it says so. */
  #reason: string | undefined;
  #writable = settler<void>();

  private constructor(socket: Socket, decoder: FrameDecoder, hello: Hello) {
    this.#socket = socket;
    this.#decoder = decoder;
    this.#hello = hello;
    this.#nextId = hello.idStart;
    this.#writable.resolve();
    // An idle connection does not keep the process alive.
    socket.unref();
  }

  /** Connects to a relay's socket and waits for the guest, which may still boot. */
  static async connect(path: string, options: ConnectOptions = {}): Promise<Relay> {
    const { signal, timeoutMs = CONNECT_TIMEOUT_MS } = options;
    signal?.throwIfAborted();
    const socket = createConnection({ path });
    const decoder = new FrameDecoder();
    const opened = settler<Relay>();
    let relay: Relay | undefined;
    let connectError: MsbError | undefined;
    socket.on("error", (error) => {
      connectError = connectionError(path, error);
    });
    socket.on("close", () => {
      if (relay !== undefined) relay.#fail(new ConnectionLostError(relay.#reason));
      else opened.reject(connectError ?? new HandshakeError("the relay closed the connection before the handshake was over"));
    });
    socket.on("drain", () => {
      if (relay !== undefined) relay.#writable.resolve();
    });
    let ids: Uint8Array | undefined;
    socket.on("data", (chunk) => {
      try {
        decoder.feed(chunk);
        if (relay !== undefined) return relay.#dispatch();
        ids ??= decoder.take(8);
        const frame = ids && decoder.next();
        if (ids === undefined || frame === undefined) return;
        relay = new Relay(socket, decoder, greet(ids, frame));
        opened.resolve(relay);
        relay.#dispatch();
      } catch (error) {
        if (relay !== undefined) relay.#fail(error as MsbError);
        opened.reject(error);
        socket.destroy();
      }
    });
    const onTimeout = () => new TimedOutError("timed-out", `the relay did not answer within ${timeoutMs} ms`);
    try {
      return await within(opened.promise, { signal, timeoutMs, onTimeout });
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /** The ids of this client: from the first, and before the second one. */
  get ids(): readonly [number, number] {
    return [this.#hello.idStart, this.#hello.idEnd];
  }

  /** The frame of `core.ready` as it was received, with its header. */
  get readyFrame(): Uint8Array {
    const { id, flags, body } = this.#hello.frame;
    return encodeFrame(id, flags, body);
  }

  /** The payload of `core.ready`. */
  get ready(): Payload {
    return this.#hello.ready;
  }

  /** The error that ended the connection; `undefined` while it is open. */
  get error(): MsbError | undefined {
    return this.#error;
  }

  /** The time of the last bytes from the relay, as of `Date.now`. */
  get lastReceived(): number {
    return this.#lastReceived;
  }

  /** Starts a session with its first frame. */
  open(flags: number, body: Uint8Array): Session {
    if (this.#error !== undefined) throw this.#error;
    if (this.#nextId >= this.#hello.idEnd) throw new IdRangeExhaustedError();
    const session = new Session(this, this.#nextId);
    const frame = encodeFrame(session.id, flags, body);
    this.#nextId += 1;
    this.#sessions.set(session.id, session);
    this.#retain();
    this.#write(frame);
    return session;
  }

  /** Starts a session with a message. */
  request(type: string, payload: Payload): Session {
    return this.open(usualFlags(type), encodeMessage(type, payload));
  }

  /** Sends the frames of an action in one piece, if possible. */
  joined<T>(action: () => T): T {
    this.#socket.cork();
    try {
      return action();
    } finally {
      this.#socket.uncork();
    }
  }

  /** Sends one frame; resolves when the socket accepts more. */
  async send(id: number, flags: number, body: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#error !== undefined) throw this.#error;
    this.#write(encodeFrame(id, flags, body));
    await within(this.#writable.promise, { signal });
  }

  /** Closes the connection, which ends all sessions and their commands. */
  close(): void {
    this.#fail(new ClientClosedError());
  }

  #write(frame: Uint8Array): void {
    if (this.#socket.write(frame)) return;
    // Replaced only when it is settled, as there may be waiters.
    const previous = this.#writable;
    this.#writable = settler<void>();
    this.#writable.promise.then(previous.resolve, previous.reject);
  }

  #dispatch(): void {
    this.#lastReceived = Date.now();
    for (;;) {
      const frame = this.#decoder.next();
      if (frame === undefined) return;
      if (frame.id === LINK_ID) this.#reason = reasonOf(frame) ?? this.#reason;
      // Frames of ids without a session are late answers.
      else this.#sessions.get(frame.id)?.accept(frame);
    }
  }

  #fail(error: MsbError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#socket.destroy();
    this.#writable.reject(error);
    for (const session of [...this.#sessions.values()]) session.fail(error);
    this.#sessions.clear();
    this.#full.clear();
  }

  /** Keeps the process alive while something waits for this connection. */
  #retain(): void {
    this.#users += 1;
    if (this.#users === 1) this.#socket.ref();
  }

  /** @internal */
  forget(session: Session): void {
    if (!this.#sessions.delete(session.id)) return;
    this.settleFull(session, false);
    this.#users -= 1;
    if (this.#users === 0) this.#socket.unref();
  }

  /** Stops reading while a session's queue is full, as it would otherwise grow without a limit. @internal */
  settleFull(session: Session, full: boolean): void {
    if (full === this.#full.has(session)) return;
    if (full) this.#full.add(session);
    else this.#full.delete(session);
    if (this.#error !== undefined) return;
    if (this.#full.size > 0) this.#socket.pause();
    else this.#socket.resume();
  }
}

/** One session: the frames with its id, in order. */
export class Session {
  readonly #queue = new Queue<RawFrame>();
  readonly #relay: Relay;
  #bytes = 0;
  #receive: ((message: Message, terminal: boolean) => void) | undefined;
  #onEnd: ((error: unknown) => void) | undefined;

  /** @internal */
  constructor(
    relay: Relay,
    /** The id in all frames of the session. */
    readonly id: number,
  ) {
    this.#relay = relay;
  }

  /** Whether a frame has been received that was not taken. */
  get waits(): boolean {
    return this.#queue.length > 0;
  }

  /** Receives the next frame; `undefined` after the terminal one. */
  async next(signal?: AbortSignal): Promise<RawFrame | undefined> {
    const frame = await this.#queue.next(signal);
    if (frame !== undefined) {
      this.#bytes -= frame.body.length;
      this.#limit();
    }
    return frame;
  }

  /** Receives the next message; `undefined` after the terminal one. */
  async message(signal?: AbortSignal): Promise<(Message & { terminal: boolean }) | undefined> {
    const frame = await this.next(signal);
    return frame && { ...decodeMessage(frame.body), terminal: isTerminal(frame) };
  }

  /** Has all messages passed to a function as they arrive, and its end to another one. */
  listen(receive: (message: Message, terminal: boolean) => void, onEnd: (error: unknown) => void): void {
    this.#receive = receive;
    this.#onEnd = onEnd;
    if (this.#relay.error !== undefined) onEnd(this.#relay.error);
  }

  /** Sends one more message of the session. */
  send(type: string, payload: Payload, signal?: AbortSignal): Promise<void> {
    return this.#relay.send(this.id, usualFlags(type), encodeMessage(type, payload), signal);
  }

  /** Drops all further frames of the session. */
  close(): void {
    this.#relay.forget(this);
    this.#queue.end();
    this.#queue.clear();
  }

  /** @internal */
  accept(frame: RawFrame): void {
    const terminal = isTerminal(frame);
    if (terminal) this.#relay.forget(this);
    if (this.#receive === undefined) {
      this.#queue.push(frame);
      this.#bytes += frame.body.length;
      if (terminal) this.#queue.end();
      this.#limit();
      return;
    }
    try {
      this.#receive(decodeMessage(frame.body), terminal);
    } catch (error) {
      this.fail(error);
    }
  }

  /** @internal */
  fail(error: unknown): void {
    this.#relay.forget(this);
    this.#queue.fail(error);
    this.#onEnd?.(error);
  }

  #limit(): void {
    const full = this.#queue.length >= QUEUED_FRAMES || this.#bytes >= QUEUED_BYTES;
    this.#relay.settleFull(this, full && !this.#queue.ended);
  }
}

function isTerminal(frame: RawFrame): boolean {
  return (frame.flags & FLAG_TERMINAL) !== 0;
}

function greet(ids: Uint8Array, frame: RawFrame): Hello {
  const view = new DataView(ids.buffer, ids.byteOffset);
  const [idStart, idEnd] = [view.getUint32(0), view.getUint32(4)];
  const { type, payload } = decodeMessage(frame.body);
  if (type === "core.error") throw new HandshakeError(refusalOf(payload).message);
  if (type !== "core.ready" || frame.id !== LINK_ID) throw new HandshakeError("the relay did not begin with core.ready");
  if (idStart >= idEnd || idStart === LINK_ID) {
    throw new HandshakeError(`the range of ids from ${idStart} to ${idEnd} is empty or contains 0`);
  }
  // Fails if it lacks a field.
  readyOf(payload);
  return { idStart, idEnd, frame, ready: payload };
}

/** Returns the text of a `core.error` about the link. */
function reasonOf(frame: RawFrame): string | undefined {
  try {
    const { type, payload } = decodeMessage(frame.body);
    return type === "core.error" ? `the relay closed the connection: ${refusalOf(payload).message}` : undefined;
  } catch {
    return undefined;
  }
}

function connectionError(path: string, error: Error & { code?: string }): MsbError {
  if (error.code === "ENOENT" || error.code === "ECONNREFUSED") {
    const message = `the sandbox is not running: there is no relay at ${path}`;
    return new SandboxNotRunningError("sandbox-not-running", message, { cause: error });
  }
  return new HandshakeError(`cannot connect to the relay ${path}: ${error.message}`, { cause: error });
}
