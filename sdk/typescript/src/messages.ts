/** The envelope of messages, and checked access to the fields of payloads. */

import { decode, encode, type CborValue } from "./cbor.js";
import {
  AgentRefusedError,
  EXEC_FAILURE_KINDS,
  ExecFailedError,
  ProtocolError,
  type ExecFailureKind,
} from "./errors.js";
import { FLAG_SESSION_START, FLAG_SHUTDOWN, FLAG_TERMINAL } from "./frames.js";

/** The generation of the protocol that this package speaks. */
export const PROTOCOL_VERSION = 1;

/** A payload: a map with text keys. Unknown keys are ignored. */
export type Payload = { readonly [key: string]: CborValue | undefined };

/** A decoded message. */
export interface Message {
  /** The type, such as `core.exec.stdout`. It may be unknown. */
  readonly type: string;
  /** The payload; an empty object if there is none. */
  readonly payload: Payload;
}

/** The flags of messages that have any. */
const USUAL_FLAGS: { readonly [type: string]: number } = {
  "core.exec.request": FLAG_SESSION_START,
  "core.fs.request": FLAG_SESSION_START,
  "core.job.attach": FLAG_SESSION_START,
  "core.tcp.connect": FLAG_SESSION_START,
  "core.shutdown": FLAG_SHUTDOWN,
  "core.pong": FLAG_TERMINAL,
  "core.error": FLAG_TERMINAL,
};

/** Returns the usual flags of messages of this type. */
export function usualFlags(type: string): number {
  return Object.hasOwn(USUAL_FLAGS, type) ? (USUAL_FLAGS[type] ?? 0) : 0;
}

/** Encodes the body of a frame: the map `{v, t, p}`. */
export function encodeMessage(type: string, payload: Payload | Map<CborValue, CborValue>): Uint8Array {
  return encode({ v: PROTOCOL_VERSION, t: type, p: encode(payload as CborValue) });
}

/**
 * Decodes the body of a frame.
 *
 * @throws {ProtocolError} If it is not an envelope with a payload.
 */
export function decodeMessage(body: Uint8Array): Message {
  const envelope = decodeMap(body, "the envelope");
  const { v, t: type, p } = envelope;
  if (typeof v !== "number" || typeof type !== "string" || !(p instanceof Uint8Array)) {
    throw new ProtocolError("the envelope is not the CBOR map {v, t, p}");
  }
  return { type, payload: p.length === 0 ? {} : decodeMap(p, `the payload of ${printable(type)}`) };
}

function decodeMap(bytes: Uint8Array, what: string): Payload {
  let value: CborValue;
  try {
    value = decode(bytes);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ProtocolError(`${what} cannot be decoded: ${reason}`, { cause });
  }
  if (value === null) return {};
  // A map with other keys than text is one of a later peer, of which the text keys count.
  if (value instanceof Map) {
    const known = [...value].filter(([key]) => typeof key === "string");
    return Object.fromEntries(known) as Payload;
  }
  if (typeof value !== "object" || Array.isArray(value) || value instanceof Uint8Array) {
    throw new ProtocolError(`${what} is not a map`);
  }
  return value;
}

function field(payload: Payload, name: string): CborValue | undefined {
  return Object.hasOwn(payload, name) ? payload[name] : undefined;
}

function mismatch(name: string, expected: string): ProtocolError {
  return new ProtocolError(`the guest sent a message whose \`${name}\` is not ${expected}`);
}

/** Returns the bytes in a field. */
export function bytesIn(payload: Payload, name: string): Uint8Array {
  const value = field(payload, name);
  if (!(value instanceof Uint8Array)) throw mismatch(name, "a byte string");
  return value;
}

/** Returns the integer in a field. */
export function integerIn(payload: Payload, name: string): number {
  const value = field(payload, name);
  if (typeof value === "bigint") return Number(value);
  if (typeof value !== "number" || !Number.isInteger(value)) throw mismatch(name, "an integer");
  return value;
}

/** Returns the integer in a field; `null` if it is missing. */
export function optionalInteger(payload: Payload, name: string): number | null {
  return (field(payload, name) ?? null) === null ? null : integerIn(payload, name);
}

/** Returns the text in a field. */
export function textIn(payload: Payload, name: string): string {
  const value = field(payload, name);
  if (typeof value !== "string") throw mismatch(name, "a text");
  return value;
}

/** Returns the text in a field, made printable; `null` if it is missing. */
export function optionalText(payload: Payload, name: string): string | null {
  return (field(payload, name) ?? null) === null ? null : printable(textIn(payload, name));
}

/** Returns the map in a field; `undefined` if it is missing. */
export function mapIn(payload: Payload, name: string): Payload | undefined {
  const value = field(payload, name) ?? undefined;
  return value === undefined ? undefined : asMap(value, name);
}

/** Returns the list in a field, empty if it is missing. */
export function listIn(payload: Payload, name: string): CborValue[] {
  const value = field(payload, name) ?? [];
  if (!Array.isArray(value)) throw mismatch(name, "a list");
  return value;
}

/** Returns a value as a map. */
export function asMap(value: CborValue, name: string): Payload {
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw mismatch(name, "a map");
  if (value instanceof Uint8Array || value instanceof Map) throw mismatch(name, "a map");
  return value;
}

/** Shortens a text of a guest and replaces its control characters, so that it can be printed on a terminal. */
export function printable(text: string): string {
  const short = text.length > 1024 ? `${text.slice(0, 1024)}…` : text;
  return short.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, "\uFFFD");
}

/** Returns the error of a `core.error`. */
export function refusalOf(payload: Payload): AgentRefusedError {
  const message = printable(textIn(payload, "message"));
  return new AgentRefusedError(message, printable(textIn(payload, "kind")), optionalText(payload, "message_type"));
}

/** Returns the error of a `core.exec.failed`. */
export function execFailureOf(payload: Payload): ExecFailedError {
  const kind = textIn(payload, "kind");
  return new ExecFailedError(
    printable(textIn(payload, "message")),
    EXEC_FAILURE_KINDS.has(kind) ? (kind as ExecFailureKind) : "other",
    optionalInteger(payload, "errno"),
    optionalText(payload, "errno_name"),
    optionalText(payload, "stage"),
  );
}
