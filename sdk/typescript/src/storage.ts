/** Volumes, images and snapshots. */

import type { Msb } from "./command.js";
import { sizeText, type Size } from "./create.js";
import { checkedName, numberOf, objectOf, objectsIn, textOf, type Json } from "./documents.js";
import { VolumeExistsError, VolumeNotFoundError } from "./errors.js";
import type { CallOptions } from "./waiting.js";

/** A volume. */
export interface VolumeInfo {
  /** The name that is unique on this machine. */
  readonly name: string;
  readonly project: string | null;
  readonly kind: "directory" | "disk" | (string & {});
  /** The size in MiB; `null` without a limit. */
  readonly sizeMib: number | null;
  /** The used bytes, if they are known. */
  readonly usedBytes: number | null;
  readonly shared: boolean;
  /** The sandboxes that mount it. */
  readonly mountedBy: readonly string[];
  /** The whole document. */
  readonly raw: Json;
}

/** The volumes of this machine. */
export class Volumes {
  readonly #msb: Msb;

  /** @internal */
  constructor(msb: Msb) {
    this.#msb = msb;
  }

  /**
   * Creates a volume that belongs to no project.
   *
   * @throws {VolumeExistsError} If there is one of this name.
   */
  async create(
    name: string,
    options: CallOptions & { size?: Size; kind?: "directory" | "disk"; shared?: boolean } = {},
  ): Promise<VolumeInfo> {
    const { signal } = options;
    if (await this.#exists(name, options)) {
      throw new VolumeExistsError("volume-exists", `a volume ${name} exists already`, { subject: name });
    }
    const args = ["volume", "create", checkedName(name)];
    const size = sizeText(options.size);
    if (size !== undefined) args.push(`--size=${size}`);
    if (options.kind !== undefined) args.push(`--kind=${options.kind}`);
    if (options.shared) args.push("--shared");
    await this.#msb.result(args, { signal });
    return this.get(name, { signal });
  }

  /**
   * Returns a volume.
   *
   * @throws {VolumeNotFoundError} If there is none.
   */
  async get(name: string, options: CallOptions = {}): Promise<VolumeInfo> {
    const args = ["volume", "inspect", checkedName(name)];
    return volumeOf(objectOf(await this.#msb.json(args, { signal: options.signal }), "a volume"));
  }

  /** Lists the volumes of all projects and those without one. */
  async list(options: CallOptions = {}): Promise<VolumeInfo[]> {
    const document = await this.#msb.json(["volume", "ls", "--all"], { signal: options.signal });
    return objectsIn(document, "volumes").map(volumeOf);
  }

  /** Removes a volume and its contents. */
  async remove(name: string, options: CallOptions = {}): Promise<void> {
    await this.#msb.result(["volume", "rm", "--yes", checkedName(name)], { signal: options.signal });
  }

  async #exists(name: string, options: CallOptions): Promise<boolean> {
    try {
      await this.get(name, { signal: options.signal });
      return true;
    } catch (error) {
      if (error instanceof VolumeNotFoundError) return false;
      throw error;
    }
  }
}

/** The images of this machine. */
export class Images {
  readonly #msb: Msb;

  /** @internal */
  constructor(msb: Msb) {
    this.#msb = msb;
  }

  /** Lists the images that have a name, as msb describes them. */
  async list(options: CallOptions = {}): Promise<Json[]> {
    return objectsIn(await this.#msb.json(["image", "ls"], { signal: options.signal }), "images");
  }

  /** Returns the configuration and the layers of an image, by its reference, digest or path. */
  async inspect(image: string, options: CallOptions = {}): Promise<Json> {
    const args = ["image", "inspect", checkedName(image)];
    return objectOf(await this.#msb.json(args, { signal: options.signal }), "an image");
  }

  /** Pulls images and prepares them for booting. */
  async pull(images: string | readonly string[], options: CallOptions = {}): Promise<void> {
    await this.#msb.result(["image", "pull", ...listed(images)], { signal: options.signal });
  }

  /** Loads the images of an OCI layout or an archive. */
  async load(path: string, options: CallOptions & { name?: string } = {}): Promise<void> {
    const name = options.name === undefined ? [] : [`--name=${options.name}`];
    await this.#msb.result(["image", "load", ...name, filePath(path)], { signal: options.signal });
  }

  /** Saves images to an archive. */
  async save(images: string | readonly string[], path: string, options: CallOptions = {}): Promise<void> {
    await this.#msb.result(["image", "save", `--output=${path}`, ...listed(images)], { signal: options.signal });
  }

  /** Removes images that no sandbox uses. */
  async remove(images: string | readonly string[], options: CallOptions = {}): Promise<void> {
    await this.#msb.result(["image", "rm", ...listed(images)], { signal: options.signal });
  }

  /** Removes images that no sandbox uses, no lock file pins and no name refers to; with `all`, also named ones. */
  async prune(options: CallOptions & { all?: boolean } = {}): Promise<Json> {
    const args = ["image", "prune", ...(options.all ? ["--all"] : [])];
    return objectOf(await this.#msb.json(args, { signal: options.signal }), "a report");
  }

  /** Returns the disk usage of images. */
  async usage(options: CallOptions = {}): Promise<Json> {
    return objectOf(await this.#msb.json(["image", "df"], { signal: options.signal }), "a report");
  }
}

/** A snapshot of the disk of a sandbox. */
export interface SnapshotInfo {
  readonly name: string;
  readonly digest: string;
  /** The sandbox that it was made of. */
  readonly sandbox: string | null;
  readonly created: Date;
  /** The bytes that it takes. */
  readonly dataBytes: number;
  /** The sandboxes that boot from it. */
  readonly usedBy: readonly string[];
  /** The whole document. */
  readonly raw: Json;
}

/** The snapshots of this machine. `image: "snapshot:NAME"` boots from one. */
export class Snapshots {
  readonly #msb: Msb;

  /** @internal */
  constructor(msb: Msb) {
    this.#msb = msb;
  }

  /**
   * Creates a snapshot of a sandbox's disk. One that runs holds the writes to its disk for the moment of the copy.
   *
   * @throws {SnapshotExistsError} If there is one of this name, unless `replace` is set.
   */
  async create(sandbox: string, name: string, options: CallOptions & { replace?: boolean } = {}): Promise<SnapshotInfo> {
    const replace = options.replace ? ["--replace"] : [];
    const args = ["snapshot", "create", ...replace, checkedName(sandbox), checkedName(name)];
    await this.#msb.result(args, { signal: options.signal });
    return this.get(name, { signal: options.signal });
  }

  /**
   * Returns a snapshot.
   *
   * @throws {SnapshotNotFoundError} If there is none.
   */
  async get(name: string, options: CallOptions = {}): Promise<SnapshotInfo> {
    const args = ["snapshot", "inspect", checkedName(name)];
    return snapshotOf(objectOf(await this.#msb.json(args, { signal: options.signal }), "a snapshot"));
  }

  /** Lists the snapshots. */
  async list(options: CallOptions = {}): Promise<SnapshotInfo[]> {
    return objectsIn(await this.#msb.json(["snapshot", "ls"], { signal: options.signal }), "snapshots").map(snapshotOf);
  }

  /** Removes a snapshot; with `force` also the name of one that sandboxes boot from. */
  async remove(name: string, options: CallOptions & { force?: boolean } = {}): Promise<void> {
    const force = options.force ? ["--force"] : [];
    await this.#msb.result(["snapshot", "rm", ...force, checkedName(name)], { signal: options.signal });
  }

  /** Writes a snapshot with its image to one file. */
  async export(name: string, path: string, options: CallOptions = {}): Promise<void> {
    await this.#msb.result(["snapshot", "export", `--output=${path}`, checkedName(name)], { signal: options.signal });
  }

  /** Adds the snapshot in a file. */
  async import(path: string, name: string, options: CallOptions & { replace?: boolean } = {}): Promise<SnapshotInfo> {
    const replace = options.replace ? ["--replace"] : [];
    const args = ["snapshot", "import", ...replace, filePath(path), checkedName(name)];
    await this.#msb.result(args, { signal: options.signal });
    return this.get(name, { signal: options.signal });
  }
}

function volumeOf(raw: Json): VolumeInfo {
  const names = raw["mounted_by"];
  return {
    name: textOf(raw["full_name"]) ?? textOf(raw["name"]) ?? "",
    project: textOf(raw["project"]),
    kind: textOf(raw["kind"]) ?? "directory",
    sizeMib: numberOf(raw["size_mib"]),
    usedBytes: numberOf(raw["used_bytes"]),
    shared: raw["shared"] === true,
    mountedBy: Array.isArray(names) ? names.map(String) : [],
    raw,
  };
}

function snapshotOf(raw: Json): SnapshotInfo {
  const names = raw["used_by"];
  return {
    name: textOf(raw["name"]) ?? "",
    digest: textOf(raw["digest"]) ?? "",
    sandbox: textOf(raw["sandbox"]),
    created: new Date((numberOf(raw["created_unix"]) ?? 0) * 1000),
    dataBytes: numberOf(raw["data_bytes"]) ?? 0,
    usedBy: Array.isArray(names) ? names.map(String) : [],
    raw,
  };
}

function listed(names: string | readonly string[]): string[] {
  return (typeof names === "string" ? [names] : [...names]).map(checkedName);
}

function filePath(path: string): string {
  return path.startsWith("-") ? `./${path}` : path;
}
