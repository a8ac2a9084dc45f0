/** Reads the JSON documents of msb. Unknown fields are kept in `raw`, and missing ones are tolerated. */

import type { Msb } from "./command.js";
import { ProtocolError, SandboxNotFoundError } from "./errors.js";
import type { CallOptions } from "./waiting.js";

/** A JSON object. */
export type Json = { readonly [key: string]: unknown };

/** The state of a sandbox. It may be one of a later msb. */
export type SandboxState =
  | "created"
  | "starting"
  | "running"
  | "stopping"
  | "paused"
  | "stopped"
  | "exited"
  | "failed"
  | (string & {});

/** The end of a sandbox's main process. */
export interface SandboxExit {
  /** The kind, such as `code` or `signal`. */
  readonly kind: string;
  /** The exit code; 128 + n for signal n; `null` if there is none, as after a kill. */
  readonly exitCode: number | null;
  /** The signal that ended it; `null` if none did. */
  readonly signal: number | null;
}

/** A port of the host that leads into a sandbox. */
export interface PublishedPort {
  readonly bind: string;
  readonly host: number;
  readonly guest: number;
  readonly protocol: "tcp" | "udp" | (string & {});
}

/** What `msb inspect` says about a sandbox. */
export interface SandboxInfo {
  readonly name: string;
  /** The name that is unique on this machine: with the project's name if it has a project. */
  readonly fullName: string;
  readonly project: string | null;
  readonly id: string;
  readonly state: SandboxState;
  readonly health: string | null;
  readonly labels: Readonly<Record<string, string>>;
  /** The path of the relay's socket; `null` if there is none. */
  readonly agentSocket: string | null;
  /** The shell that scripts run under. */
  readonly shell: string;
  readonly startedAt: Date | null;
  readonly lastExit: SandboxExit | null;
  /** The whole document. */
  readonly raw: Json;
}

/** Returns a value as an object. */
export function objectOf(value: unknown, what: string): Json {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new ProtocolError(`msb printed ${what} that is not an object`);
  }
  return value as Json;
}

/** Returns the objects in a list. */
export function objectsIn(document: unknown, name: string): Json[] {
  const list = objectOf(document, "a document")[name];
  if (!Array.isArray(list)) throw new ProtocolError(`msb printed a document without \`${name}\``);
  return list.map((item) => objectOf(item, name));
}

/** Returns a text, or `null`. */
export function textOf(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

/** Returns a number, or `null`. */
export function numberOf(value: unknown): number | null {
  return typeof value === "number" ? value : null;
}

function nested(document: Json, ...path: string[]): unknown {
  let value: unknown = document;
  for (const name of path) {
    if (value === null || typeof value !== "object") return undefined;
    value = (value as Json)[name];
  }
  return value;
}

/** Returns the labels in an object. */
export function labelsOf(value: unknown): Record<string, string> {
  if (value === null || typeof value !== "object") return {};
  return Object.fromEntries(Object.entries(value).map(([name, label]) => [name, String(label)]));
}

/** Reads an exit as `inspect` and `wait` print it. */
export function exitOf(value: unknown): SandboxExit | null {
  if (value === null || typeof value !== "object") return null;
  const exit = value as Json;
  const code = numberOf(exit["code"]);
  const signal = numberOf(exit["signal"]);
  const kind = textOf(exit["kind"]) ?? (signal !== null ? "signal" : code !== null ? "code" : (Object.keys(exit)[0] ?? "unknown"));
  return { kind, exitCode: code ?? (signal === null ? null : 128 + signal), signal };
}

/** Reads one entry of `msb inspect --json`. */
export function sandboxInfo(raw: Json): SandboxInfo {
  const name = textOf(raw["name"]);
  if (name === null) throw new ProtocolError("msb printed a sandbox without a name");
  const started = numberOf(raw["started_unix_ms"]);
  return {
    name,
    fullName: textOf(raw["full_name"]) ?? name,
    project: textOf(raw["project"]),
    id: textOf(raw["id"]) ?? "",
    state: textOf(raw["state"]) ?? "unknown",
    health: textOf(raw["health"]),
    labels: labelsOf(raw["labels"] ?? nested(raw, "spec", "definition", "labels")),
    agentSocket: textOf(raw["agent_socket"]),
    shell: textOf(nested(raw, "spec", "definition", "shell")) ?? "/bin/sh",
    startedAt: started === null ? null : new Date(started),
    lastExit: exitOf(raw["last_exit"]),
    raw,
  };
}

/** Runs `msb inspect` for one sandbox. */
export async function inspectSandbox(msb: Msb, name: string, options: CallOptions): Promise<SandboxInfo> {
  const document = await msb.json(["inspect", checkedName(name)], { signal: options.signal });
  const [found] = objectsIn(document, "sandboxes");
  if (found === undefined) {
    throw new SandboxNotFoundError("sandbox-not-found", `there is no sandbox "${name}"`, { subject: name });
  }
  return sandboxInfo(found);
}

/** Refuses what msb would take for an option. */
export function checkedName(name: string): string {
  if (typeof name !== "string" || name === "" || name.startsWith("-") || name.includes("\0")) {
    throw new SandboxNotFoundError("sandbox-not-found", `${JSON.stringify(name)} is not a name`, { subject: String(name) });
  }
  return name;
}
