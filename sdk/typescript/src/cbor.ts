/**
 * A codec for the subset of CBOR (RFC 8949) that the protocol uses.
 *
 * The decoder reads bytes of a guest: depth, counts, keys and text are checked before anything is allocated for them.
 */

import { ProtocolError } from "./errors.js";

/** A value that {@link encode} accepts and {@link decode} returns. */
export type CborValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | CborValue[]
  | Map<CborValue, CborValue>
  | { [key: string]: CborValue | undefined };

/** The deepest nesting of arrays, maps and tags that is decoded or encoded. */
export const MAX_DEPTH = 32;
/** The most arrays, maps, keys and values in one document: bounds the memory that small input can take. */
export const MAX_ITEMS = 1 << 20;

const MAX_UINT64 = (1n << 64n) - 1n;

/** Bytes that are not the CBOR that was expected. */
export class CborError extends ProtocolError {}

/** Encodes a value. Integers outside ±2^53 must be `bigint`; fields that are `undefined` are omitted. */
export function encode(value: CborValue): Uint8Array {
  const writer = new Writer();
  writer.value(value, 0);
  return writer.finish();
}

/**
 * Decodes exactly one value.
 *
 * Maps whose keys are all text become objects, others a `Map`. Integers outside ±2^53 become `bigint`. Tags are
 * skipped. Byte strings are views of the input.
 *
 * @throws {CborError} If the bytes are not one CBOR value, or exceed the limits.
 */
export function decode(bytes: Uint8Array): CborValue {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.at !== bytes.length) {
    throw new CborError(`${bytes.length - reader.at} bytes follow the value`);
  }
  return value;
}

class Writer {
  #bytes = new Uint8Array(256);
  #length = 0;

  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }

  #append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #head(major: number, argument: number | bigint): void {
    this.#reserve(9);
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset);
    const first = major << 5;
    if (argument < 24) {
      view.setUint8(this.#length, first | Number(argument));
      this.#length += 1;
    } else if (argument < 0x100) {
      view.setUint8(this.#length, first | 24);
      view.setUint8(this.#length + 1, Number(argument));
      this.#length += 2;
    } else if (argument < 0x10000) {
      view.setUint8(this.#length, first | 25);
      view.setUint16(this.#length + 1, Number(argument));
      this.#length += 3;
    } else if (argument < 0x100000000) {
      view.setUint8(this.#length, first | 26);
      view.setUint32(this.#length + 1, Number(argument));
      this.#length += 5;
    } else {
      view.setUint8(this.#length, first | 27);
      view.setBigUint64(this.#length + 1, BigInt(argument));
      this.#length += 9;
    }
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
      this.#head(value < 0 ? 1 : 0, value < 0 ? -1 - value : value);
      return;
    }
    this.#reserve(9);
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset);
    view.setUint8(this.#length, 0xfb);
    view.setFloat64(this.#length + 1, value);
    this.#length += 9;
  }

  value(value: CborValue | undefined, depth: number): void {
    if (depth > MAX_DEPTH) throw new CborError(`nested deeper than ${MAX_DEPTH} levels`);
    if (value === null || value === undefined) {
      this.#append(Uint8Array.of(0xf6));
    } else if (typeof value === "boolean") {
      this.#append(Uint8Array.of(value ? 0xf5 : 0xf4));
    } else if (typeof value === "number") {
      this.#number(value);
    } else if (typeof value === "bigint") {
      const argument = value < 0n ? -1n - value : value;
      if (argument > MAX_UINT64) throw new CborError("an integer does not fit into 64 bits");
      this.#head(value < 0n ? 1 : 0, argument);
    } else if (typeof value === "string") {
      const text = new TextEncoder().encode(value);
      this.#head(3, text.length);
      this.#append(text);
    } else if (value instanceof Uint8Array) {
      this.#head(2, value.length);
      this.#append(value);
    } else if (Array.isArray(value)) {
      this.#head(4, value.length);
      for (const item of value) this.value(item, depth + 1);
    } else if (value instanceof Map) {
      this.#head(5, value.size);
      for (const [key, item] of value) {
        this.value(key, depth + 1);
        this.value(item, depth + 1);
      }
    } else if (typeof value === "object") {
      const entries = Object.entries(value).filter(([, item]) => item !== undefined);
      this.#head(5, entries.length);
      for (const [key, item] of entries) {
        this.value(key, depth + 1);
        this.value(item, depth + 1);
      }
    } else {
      throw new CborError(`a ${typeof value} cannot be encoded`);
    }
  }
}

/** The length of a string, an array or a map that ends with a break code. */
const INDEFINITE = -1;
const BREAK = 0xff;

class Reader {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #items = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  #take(count: number): number {
    const start = this.at;
    if (count > this.#bytes.length - start) throw new CborError("the bytes end within a value");
    this.at += count;
    return start;
  }

  #argument(info: number): number | bigint {
    if (info < 24) return info;
    switch (info) {
      case 24:
        return this.#view.getUint8(this.#take(1));
      case 25:
        return this.#view.getUint16(this.#take(2));
      case 26:
        return this.#view.getUint32(this.#take(4));
      case 27: {
        const value = this.#view.getBigUint64(this.#take(8));
        return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
      }
      default:
        throw new CborError(`the additional information ${info} is reserved`);
    }
  }

  /** Returns a length after checking that so many items, of at least one byte each, can follow. */
  #length(info: number, bytesPerItem: number): number {
    if (info === 31) return INDEFINITE;
    const length = this.#argument(info);
    if (length > (this.#bytes.length - this.at) / bytesPerItem) {
      throw new CborError("a length exceeds the bytes that follow");
    }
    return Number(length);
  }

  #ends(): boolean {
    if (this.at >= this.#bytes.length) throw new CborError("the bytes end within a value");
    if (this.#bytes[this.at] !== BREAK) return false;
    this.at += 1;
    return true;
  }

  value(depth: number): CborValue {
    if (depth > MAX_DEPTH) throw new CborError(`nested deeper than ${MAX_DEPTH} levels`);
    this.#items += 1;
    if (this.#items > MAX_ITEMS) throw new CborError(`more than ${MAX_ITEMS} values`);
    const first = this.#view.getUint8(this.#take(1));
    const info = first & 31;
    switch (first >> 5) {
      case 0:
        return this.#argument(info);
      case 1: {
        const argument = this.#argument(info);
        if (typeof argument === "number" && argument < Number.MAX_SAFE_INTEGER) return -1 - argument;
        return -1n - BigInt(argument);
      }
      case 2:
        return this.#string(info, 2);
      case 3:
        return text(this.#string(info, 3));
      case 4:
        return this.#array(info, depth);
      case 5:
        return this.#map(info, depth);
      case 6:
        this.#argument(info);
        return this.value(depth + 1);
      default:
        return this.#simple(info);
    }
  }

  #string(info: number, major: number): Uint8Array {
    const length = this.#length(info, 1);
    if (length !== INDEFINITE) {
      const start = this.#take(length);
      return this.#bytes.subarray(start, this.at);
    }
    const parts: Uint8Array[] = [];
    let total = 0;
    while (!this.#ends()) {
      const first = this.#view.getUint8(this.#take(1));
      const partLength = first >> 5 === major ? this.#length(first & 31, 1) : INDEFINITE;
      if (partLength === INDEFINITE) throw new CborError("a string has a part that is none");
      const start = this.#take(partLength);
      const part = this.#bytes.subarray(start, this.at);
      if (major === 3) text(part);
      parts.push(part);
      total += part.length;
    }
    const joined = new Uint8Array(total);
    let at = 0;
    for (const part of parts) {
      joined.set(part, at);
      at += part.length;
    }
    return joined;
  }

  #array(info: number, depth: number): CborValue[] {
    const length = this.#length(info, 1);
    const items: CborValue[] = [];
    while (length === INDEFINITE ? !this.#ends() : items.length < length) items.push(this.value(depth + 1));
    return items;
  }

  #map(info: number, depth: number): CborValue {
    const length = this.#length(info, 2);
    const entries = new Map<CborValue, CborValue>();
    let texts = true;
    for (let count = 0; length === INDEFINITE ? !this.#ends() : count < length; count += 1) {
      const key = this.value(depth + 1);
      if (key !== null && typeof key === "object") throw new CborError("a key is neither a text nor a number");
      if (entries.has(key)) throw new CborError("a key occurs twice");
      texts &&= typeof key === "string";
      entries.set(key, this.value(depth + 1));
    }
    // `fromEntries` defines own properties, so that a key `__proto__` is data too.
    return texts ? (Object.fromEntries(entries) as { [key: string]: CborValue }) : entries;
  }

  #simple(info: number): CborValue {
    switch (info) {
      case 20:
        return false;
      case 21:
        return true;
      case 22:
      case 23:
        return null;
      case 25:
        return half(this.#view.getUint16(this.#take(2)));
      case 26:
        return this.#view.getFloat32(this.#take(4));
      case 27:
        return this.#view.getFloat64(this.#take(8));
      default:
        throw new CborError(`the simple value ${info} is not supported`);
    }
  }
}

function text(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new CborError("a text is not UTF-8");
  }
}

function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
