/** Files of a guest. The guest is not trusted: its names are data, and what it sends is bounded. */

import { Awaitable } from "./awaitable.js";
import { FileError, ProtocolError } from "./errors.js";
import { asMap, bytesIn, listIn, mapIn, printable, type Message, type Payload } from "./messages.js";
import type { Relay } from "./relay.js";
import { bytesOf } from "./streams.js";
import {
  begin,
  created,
  DATA_BYTES,
  fileError,
  FILES,
  guarded,
  GuestFileReader,
  GuestFileWriter,
  READ_BYTES_MAX,
  received,
  request,
  statOf,
  throwFailure,
  TREE,
  unexpected,
  whileBusy,
  type FileStat,
  type GuestPath,
  type WriteOptions,
} from "./transfers.js";
import type { CallOptions } from "./waiting.js";

/** The most entries of a listing. */
const LISTED_ENTRIES_MAX = 1_000_000;
/** The most bytes of a listing. */
const LISTED_BYTES_MAX = 64 * 1024 * 1024;
/** The longest name of Linux, in bytes. */
const NAME_BYTES_MAX = 255;

/** One entry of a directory. */
export interface FileEntry extends FileStat {
  /** The name; bytes that are not UTF-8 are U+FFFD. */
  readonly name: string;
  /** The name as bytes. */
  readonly nameBytes: Uint8Array;
}

/** What {@link Files.write} accepts as contents. */
export type Contents = string | Uint8Array | AsyncIterable<Uint8Array | string>;

/** Opens connections for file operations. @internal */
export interface FileConnections {
  /** A connection for short operations. */
  shared(options: CallOptions): Promise<Relay>;
  /** A connection for a transfer, with the function that gives it back. An interrupted transfer ends with it. */
  transfer(options: CallOptions): Promise<[Relay, () => void]>;
}

/** Operations on the files of a guest. */
export class Files {
  readonly #connections: FileConnections;

  /** @internal */
  constructor(connections: FileConnections) {
    this.#connections = connections;
  }

  /**
   * Reads a regular file.
   *
   * @throws {PathNotFoundError} If it does not exist.
   * @throws {TooLargeError} If it has more than `max` bytes, by default 256 MiB.
   */
  async read(path: GuestPath, options: CallOptions & { max?: number } = {}): Promise<Uint8Array> {
    const reader = await this.readStream(path, options);
    return reader.bytes({ max: options.max ?? READ_BYTES_MAX });
  }

  /**
   * Reads a regular file as UTF-8 text.
   *
   * @throws {TypeError} If its bytes are not UTF-8.
   */
  async readText(path: GuestPath, options: CallOptions & { max?: number } = {}): Promise<string> {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await this.read(path, options));
  }

  /** Opens a regular file: `await` it for the reader, or iterate over its bytes at once. */
  readStream(path: GuestPath, options: CallOptions = {}): Awaitable<GuestFileReader, Uint8Array> {
    return new Awaitable(async () => {
      return whileBusy(options, async () => {
        const [relay, done] = await this.#connections.transfer(options);
        const session = guarded(done, () => begin(relay, request("read", path)));
        return new GuestFileReader(session, path, done, options.signal).opened();
      });
    });
  }

  /** Writes a file. Other programs see the previous contents until it is complete. Returns its size in bytes. */
  async write(path: GuestPath, contents: Contents, options: WriteOptions = {}): Promise<number> {
    if (typeof contents !== "string" && !(contents instanceof Uint8Array) && Symbol.asyncIterator in contents) {
      const writer = await this.writeStream(path, options);
      try {
        for await (const piece of contents) await writer.write(piece);
      } catch (error) {
        writer.abort();
        throw error;
      }
      return writer.end();
    }
    const data = bytesOf(contents);
    if (data.length < DATA_BYTES) {
      await this.#operate({ ...created("write", path, options, false), data }, path, options);
      return data.length;
    }
    const writer = await this.writeStream(path, options);
    await writer.write(data);
    return writer.end();
  }

  /** Starts to write a file, which gets its name at the `end`. */
  async writeStream(path: GuestPath, options: WriteOptions = {}): Promise<GuestFileWriter> {
    const payload = created("write", path, options, false);
    return whileBusy(options, async () => {
      const [relay, done] = await this.#connections.transfer(options);
      const session = guarded(done, () => begin(relay, payload));
      return new GuestFileWriter(session, path, done, options.signal).opened(relay);
    });
  }

  /** Lists a directory, sorted by name. */
  list(path: GuestPath, options: CallOptions = {}): Promise<FileEntry[]> {
    return whileBusy(options, () => this.#list(path, options));
  }

  async #list(path: GuestPath, options: CallOptions): Promise<FileEntry[]> {
    const session = begin(await this.#connections.shared(options), request("list", path));
    const entries: FileEntry[] = [];
    let bytes = 0;
    try {
      for (let frames = 1; ; frames += 1) {
        const { type, payload, terminal } = await received(session, options.signal);
        if (type !== "core.fs.response") throw unexpected(type);
        throwFailure(payload, path);
        const part = listIn(payload, "entries").map((entry) => entryOf(asMap(entry, "entries")));
        bytes += part.reduce((sum, entry) => sum + 128 + entry.nameBytes.length + (entry.target?.length ?? 0), 0);
        if (entries.length + part.length > LISTED_ENTRIES_MAX || bytes > LISTED_BYTES_MAX) {
          throw new ProtocolError("the guest sent a listing that is too long");
        }
        for (const entry of part) entries.push(entry);
        if (terminal) return entries.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
        await session.send("core.fs.data.ack", { frames }, options.signal);
      }
    } finally {
      session.close();
    }
  }

  /**
   * Returns the metadata of a path. A link is followed only with `follow`.
   *
   * @throws {UnsupportedError} If the agent is too old to follow links.
   */
  async stat(path: GuestPath, options: CallOptions & { follow?: boolean } = {}): Promise<FileStat> {
    const { follow = false } = options;
    const payloadOf = follow ? { ...request("stat", path), follow } : request("stat", path);
    const { payload } = await this.#operate(payloadOf, path, options, follow ? TREE : FILES);
    const stat = mapIn(payload, "stat");
    if (stat === undefined) throw new ProtocolError("the guest answered without metadata");
    return statOf(stat);
  }

  /** Returns whether a path exists. A link counts, whatever its target. */
  async exists(path: GuestPath, options: CallOptions = {}): Promise<boolean> {
    try {
      await this.stat(path, options);
      return true;
    } catch (error) {
      if (error instanceof FileError && (error.kind === "not_found" || error.kind === "not_directory")) return false;
      throw error;
    }
  }

  /** Creates a directory, with missing parents. An existing one gets the mode and the owner. */
  async mkdir(path: GuestPath, options: WriteOptions = {}): Promise<void> {
    await this.#operate(created("make_directory", path, options, true), path, options);
  }

  /** Creates a symbolic link, or replaces a file or link with one. */
  async symlink(target: GuestPath, path: GuestPath, options: WriteOptions = {}): Promise<void> {
    const data = bytesOf(target);
    await this.#operate({ ...created("make_link", path, options, false), data }, path, options);
  }

  /**
   * Removes a file or a link.
   *
   * @throws {PathNotFoundError} If it does not exist.
   */
  async remove(path: GuestPath, options: CallOptions = {}): Promise<void> {
    // The agent takes a missing path for a success.
    const { kind } = await this.stat(path, options);
    if (kind === "directory") throw fileError("it is a directory", "is_directory", path, 21, "EISDIR");
    await this.#operate({ ...request("remove", path), recursive: false }, path, options);
  }

  /**
   * Removes a directory and its contents. Mounts in it are kept, and are an error.
   *
   * @throws {PathNotFoundError} If it does not exist.
   */
  async removeDir(path: GuestPath, options: CallOptions = {}): Promise<void> {
    const { kind } = await this.stat(path, options);
    if (kind !== "directory") throw fileError("it is not a directory", "not_directory", path, 20, "ENOTDIR");
    await this.#operate({ ...request("remove", path), recursive: true }, path, options);
  }

  /** Returns the target of a symbolic link, as it is written in it. */
  async readLink(path: GuestPath, options: CallOptions = {}): Promise<string> {
    const { target } = await this.stat(path, options);
    if (target === null) throw fileError("it is not a link", "wrong_kind", path, 22, "EINVAL");
    return target;
  }

  /**
   * Copies a file, a link or, with `recursive`, a directory within the guest, with modes and owners. A file at `to` is
   * replaced; the entries of a directory are added to those of an existing one.
   *
   * @throws {UnsupportedError} If the agent is too old.
   */
  async copy(path: GuestPath, to: GuestPath, options: CallOptions & { recursive?: boolean } = {}): Promise<void> {
    const payload = { ...request("copy", path), to: bytesOf(to), recursive: options.recursive ?? false };
    await this.#operate(payload, path, options, TREE);
  }

  /**
   * Gives a file or directory the path `to`, in the same file system. A file there is replaced.
   *
   * @throws {UnsupportedError} If the agent is too old.
   */
  async rename(path: GuestPath, to: GuestPath, options: CallOptions & { parents?: boolean } = {}): Promise<void> {
    const payload = { ...request("rename", path), to: bytesOf(to), parents: options.parents ?? false };
    await this.#operate(payload, path, options, TREE);
  }

  /**
   * Returns an existing path without links, `.` and `..`.
   *
   * @throws {UnsupportedError} If the agent is too old.
   */
  async realPath(path: GuestPath, options: CallOptions = {}): Promise<string> {
    const { payload } = await this.#operate(request("real_path", path), path, options, TREE);
    return new TextDecoder().decode(bytesIn(payload, "path"));
  }

  #operate(payload: Payload, path: GuestPath, options: CallOptions, feature = FILES): Promise<Message> {
    return whileBusy(options, () => this.#attempt(payload, path, options, feature));
  }

  async #attempt(payload: Payload, path: GuestPath, options: CallOptions, feature: string): Promise<Message> {
    const session = begin(await this.#connections.shared(options), payload, feature);
    try {
      const message = await received(session, options.signal);
      if (message.type !== "core.fs.response") throw unexpected(message.type);
      throwFailure(message.payload, path);
      return message;
    } finally {
      session.close();
    }
  }
}

function entryOf(entry: Payload): FileEntry {
  const nameBytes = bytesIn(entry, "name");
  const name = new TextDecoder("utf-8", { ignoreBOM: true }).decode(nameBytes);
  const plain = nameBytes.length > 0 && nameBytes.length <= NAME_BYTES_MAX && !/[/\0]/.test(name);
  if (!plain || name === "." || name === "..") {
    throw new ProtocolError(`the guest sent the name ${JSON.stringify(printable(name))}`);
  }
  const stat = mapIn(entry, "stat");
  if (stat === undefined) throw new ProtocolError("the guest sent an entry without metadata");
  return { name, nameBytes, ...statOf(stat) };
}
