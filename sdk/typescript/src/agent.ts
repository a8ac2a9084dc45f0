/** The raw tier: frames of the relay's protocol, whose CBOR is the caller's. */

import { encode, type CborValue } from "./cbor.js";
import { Msb, type ClientOptions } from "./command.js";
import { InvalidArgumentError, ProtocolError, SandboxNotRunningError } from "./errors.js";
import { FLAG_TERMINAL, type RawFrame } from "./frames.js";
import { Files } from "./files.js";
import { Guest } from "./guest.js";
import { decodeMessage, encodeMessage, usualFlags, type Payload } from "./messages.js";
import { readyOf, type Ready } from "./ready.js";
import { Relay, type ConnectOptions, type Session } from "./relay.js";
import { inspectSandbox } from "./documents.js";
import { disposable } from "./awaitable.js";
import type { CallOptions } from "./waiting.js";

/**
 * What is sent: either a body, which is the CBOR map `{v, t, p}`, or a type with its payload, which is encoded.
 *
 * Without `flags` they are the usual ones of the type.
 */
export type FrameToSend =
  | { readonly flags?: number; readonly body: Uint8Array }
  | {
      readonly flags?: number;
      readonly type: string;
      readonly payload?: { readonly [key: string]: CborValue | undefined } | Map<CborValue, CborValue>;
    };

/** A received frame. */
export class AgentFrame implements RawFrame {
  readonly id: number;
  readonly flags: number;
  readonly body: Uint8Array;

  /** @internal */
  constructor(frame: RawFrame) {
    this.id = frame.id;
    this.flags = frame.flags;
    this.body = frame.body;
  }

  /** Whether it is the last frame of its session. */
  get terminal(): boolean {
    return (this.flags & FLAG_TERMINAL) !== 0;
  }

  /**
   * The type of the message, such as `core.pong`.
   *
   * @throws {ProtocolError} If the body is not the map `{v, t, p}`.
   */
  get type(): string {
    return decodeMessage(this.body).type;
  }

  /**
   * The decoded payload.
   *
   * @throws {ProtocolError} If the body is not the map `{v, t, p}`.
   */
  get payload(): Payload {
    return decodeMessage(this.body).payload;
  }
}

/** The frames of one session, in order. Iterating ends after the terminal one. */
export class AgentStream implements AsyncIterable<AgentFrame> {
  readonly #session: Session;

  /** @internal */
  constructor(session: Session) {
    this.#session = session;
  }

  /** The id of the session, for {@link AgentClient.send}. */
  get id(): number {
    return this.#session.id;
  }

  /**
   * Receives the next frame; `undefined` after the terminal one.
   *
   * @throws {ConnectionLostError} If the connection ends before that.
   */
  async next(options: CallOptions = {}): Promise<AgentFrame | undefined> {
    const frame = await this.#session.next(options.signal);
    return frame && new AgentFrame(frame);
  }

  /** Drops all further frames of the session. The guest is not notified. */
  close(): void {
    this.#session.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<AgentFrame, void, undefined> {
    try {
      for (let frame = await this.next(); frame !== undefined; frame = await this.next()) yield frame;
    } finally {
      this.close();
    }
  }
}

/** A connection to one sandbox's agent that carries frames. One sandbox has at most 128 connections. */
export class AgentClient extends Guest {
  readonly #relay: Relay;
  /**
   * The files of the guest. An aborted transfer of this connection stays open in the guest until the connection is
   * closed; those of a {@link Sandbox} have connections of their own.
   */
  readonly fs: Files;

  private constructor(relay: Relay) {
    super();
    this.#relay = relay;
    const shared = () => Promise.resolve(relay);
    this.fs = new Files({ shared, transfer: async () => [relay, () => {}] });
  }

  /** @internal */
  protected override relay(): Promise<Relay> {
    return Promise.resolve(this.#relay);
  }

  /** @internal */
  protected override shellProgram(): Promise<string> {
    return Promise.resolve("/bin/sh");
  }

  /**
   * Connects to a running sandbox; waits while it boots, within `timeoutMs` (10 s by default).
   *
   * @throws {SandboxNotFoundError} If it does not exist.
   * @throws {SandboxNotRunningError} If it does not run.
   * @throws {HandshakeError} If the relay refuses or does not answer in time.
   */
  static async connectSandbox(name: string, options: ConnectOptions & ClientOptions = {}): Promise<AgentClient> {
    return AgentClient.connect(await AgentClient.socketPath(name, options), options);
  }

  /** Connects to a relay's socket. */
  static async connect(path: string, options: ConnectOptions = {}): Promise<AgentClient> {
    return new AgentClient(await Relay.connect(path, options));
  }

  /** Returns the path of a sandbox's socket. */
  static async socketPath(name: string, options: CallOptions & ClientOptions = {}): Promise<string> {
    const { agentSocket } = await inspectSandbox(new Msb(options), name, options);
    if (agentSocket === null) {
      throw new SandboxNotRunningError("sandbox-not-running", `${name} is not running`, { subject: name });
    }
    return agentSocket;
  }

  /** Returns the decoded `core.ready`, which the relay sent at the start. */
  ready(): Ready {
    return readyOf(this.#relay.ready);
  }

  /** Returns the frame of `core.ready` as it was received, with its header. */
  readyBytes(): Uint8Array {
    return this.#relay.readyFrame;
  }

  /** The ids of this client: from the first, and before the second one. */
  get ids(): readonly [number, number] {
    return this.#relay.ids;
  }

  /** Sends a frame under a new id and returns the first frame of the answer. */
  async request(frame: FrameToSend, options?: CallOptions): Promise<AgentFrame>;
  /** Sends a body under a new id and returns the first frame of the answer. */
  async request(flags: number, body: Uint8Array, options?: CallOptions): Promise<AgentFrame>;
  async request(
    first: FrameToSend | number,
    second?: Uint8Array | CallOptions,
    third?: CallOptions,
  ): Promise<AgentFrame> {
    const [frame, options] = frameOf(first, second, third);
    const stream = this.#open(frame, options);
    try {
      const answer = await stream.next(options);
      if (answer === undefined) throw new ProtocolError("the guest ended the session without an answer");
      return answer;
    } finally {
      stream.close();
    }
  }

  /** Sends a frame under a new id and returns the stream of answers. */
  async stream(frame: FrameToSend, options?: CallOptions): Promise<AgentStream>;
  /** Sends a body under a new id and returns the stream of answers. */
  async stream(flags: number, body: Uint8Array, options?: CallOptions): Promise<AgentStream>;
  async stream(
    first: FrameToSend | number,
    second?: Uint8Array | CallOptions,
    third?: CallOptions,
  ): Promise<AgentStream> {
    return this.#open(...frameOf(first, second, third));
  }

  /** Sends one more frame of a session; resolves when the connection accepts more. */
  async send(id: number, frame: FrameToSend, options?: CallOptions): Promise<void>;
  /** Sends one more body of a session; resolves when the connection accepts more. */
  async send(id: number, flags: number, body: Uint8Array, options?: CallOptions): Promise<void>;
  /** Sends a frame that has its id in itself. */
  async send(frame: FrameToSend & { readonly id: number }, options?: CallOptions): Promise<void>;
  async send(
    id: number | (FrameToSend & { readonly id: number }),
    first?: FrameToSend | number | CallOptions,
    second?: Uint8Array | CallOptions,
    third?: CallOptions,
  ): Promise<void> {
    const [of, frame, options] =
      typeof id === "number"
        ? [id, ...frameOf(first as FrameToSend | number, second, third)]
        : [id.id, ...frameOf(id, first as CallOptions | undefined)];
    if (!Number.isInteger(of) || of < 0 || of > 0xffff_ffff) throw new InvalidArgumentError(`${of} is not an id`);
    const { flags, body } = encoded(frame);
    await this.#relay.send(of, flags, body, options.signal);
  }

  /** Closes the connection. It ends every session of this client, and their commands. */
  async close(): Promise<void> {
    this.#relay.close();
  }

  #open(frame: FrameToSend, options: CallOptions): AgentStream {
    options.signal?.throwIfAborted();
    const { flags, body } = encoded(frame);
    return new AgentStream(this.#relay.open(flags, body));
  }
}

export interface AgentClient {
  /** Closes the connection. */
  [Symbol.asyncDispose](): Promise<void>;
}
disposable(AgentClient.prototype, function () {
  return this.close();
});

function frameOf(
  first: FrameToSend | number,
  second?: Uint8Array | CallOptions,
  third?: CallOptions,
): [FrameToSend, CallOptions] {
  if (typeof first !== "number") return [first, (second as CallOptions | undefined) ?? {}];
  if (!(second instanceof Uint8Array)) throw new InvalidArgumentError("a body must follow the flags");
  return [{ flags: first, body: second }, third ?? {}];
}

function encoded(frame: FrameToSend): { flags: number; body: Uint8Array } {
  if (frame === null || typeof frame !== "object") throw new InvalidArgumentError("a frame must be an object");
  const flags = frame.flags;
  if (flags !== undefined && (!Number.isInteger(flags) || flags < 0 || flags > 255)) {
    throw new InvalidArgumentError(`${flags} is not a byte of flags`);
  }
  if ("type" in frame) {
    return { flags: flags ?? usualFlags(frame.type), body: encodeMessage(frame.type, frame.payload ?? {}) };
  }
  const { body } = frame;
  if (!(body instanceof Uint8Array)) throw new InvalidArgumentError("a frame needs a `body` or a `type`");
  return { flags: flags ?? usualFlags(typeOf(body)), body };
}

function typeOf(body: Uint8Array): string {
  try {
    return decodeMessage(body).type;
  } catch {
    return "";
  }
}

/** Encodes the body of a frame, for {@link AgentClient.request} and others. */
export function encodeBody(type: string, payload: Payload | Map<CborValue, CborValue> = {}): Uint8Array {
  return encodeMessage(type, payload);
}

export { decode as decodeCbor } from "./cbor.js";
export { encode as encodeCbor };
