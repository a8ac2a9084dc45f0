/** The options of a new sandbox, and the flags of `msb create`. */

import { InvalidArgumentError } from "./errors.js";
import { checkedName } from "./documents.js";
import { rlimitOf, UNLIMITED, type Rlimit } from "./exec.js";
import type { CallOptions } from "./waiting.js";

/** A time: milliseconds, or a text of msb such as `"90s"` or `"2h"`. */
export type Duration = number | string;
/** A size: MiB, or a text of msb such as `"512M"` or `"2G"`. */
export type Size = number | string;

/**
 * Limits of resources, by their names in lower case without `RLIMIT_`: a number for both limits in the unit of the
 * resource, `Infinity` for no limit, a pair of the soft and the hard one, or a text of msb such as `"1024:unlimited"`.
 */
export type Ulimits = Readonly<Record<string, number | bigint | string | readonly [number | bigint, number | bigint]>>;

/** A port of the host that leads into the sandbox. */
export interface PortBinding {
  /** The port of the host; 0 for a free one, which {@link Sandbox.ports} returns. */
  host: number;
  /** The port in the sandbox. */
  guest: number;
  /** The address of the host; `127.0.0.1` by default. */
  bind?: string | undefined;
  protocol?: "tcp" | "udp" | undefined;
}

interface MountFlags {
  /** The sandbox cannot change anything. */
  readonly?: boolean | undefined;
  noexec?: boolean | undefined;
  nosuid?: boolean | undefined;
  nodev?: boolean | undefined;
  uid?: number | undefined;
  gid?: number | undefined;
}

/** A path of the host in the sandbox. */
export interface BindMount extends MountFlags {
  bind: string;
  /** Where owners, modes and devices of files are kept; `strict` by default. */
  statVirtualization?: "strict" | "relaxed" | "off" | undefined;
  /** Which modes the host's files have; `private` by default. */
  hostPermissions?: "private" | "mirror" | undefined;
  /** How much the sandbox can add. */
  size?: Size | undefined;
  /** `disk` for a file that is a disk. */
  kind?: "disk" | undefined;
}

/** A volume in the sandbox. */
export interface VolumeMount extends MountFlags {
  volume: string;
}

/** A directory in the sandbox's memory. */
export interface TmpfsMount extends MountFlags {
  tmpfs: true;
  size?: Size | undefined;
  mode?: number | undefined;
}

/** Something that is mounted at a path of the sandbox. */
export type Mount = BindMount | VolumeMount | TmpfsMount;

/** A file of the host that is written into the sandbox at each start. */
export interface AddedFile {
  source: string;
  mode?: number | undefined;
  uid?: number | undefined;
  gid?: number | undefined;
}

/** The network of a sandbox. */
export interface NetworkOptions {
  /** What happens to connections that no rule matches. Default: only public addresses are allowed. */
  default?: "allow" | "deny" | (string & {}) | undefined;
  /** The rules in their order, such as `allow@example.com:tcp:443` or `deny@10.0.0.0/8`. */
  rules?: readonly string[] | undefined;
  ipv4Pool?: string | undefined;
  ipv6Pool?: string | undefined;
  /** The name servers that are asked for names that the rules allow, such as `1.1.1.1`. Default: those of the host. */
  dns?: readonly string[] | undefined;
  /** The domains in which the guest looks up names without a dot. */
  dnsSearch?: readonly string[] | undefined;
  /** `http://HOST:PORT` or `socks5://HOST:PORT`. */
  proxy?: string | undefined;
  /** Where the password of the proxy's user is read: `env=NAME`, `file=PATH` or `keyring=SERVICE`. */
  proxyPassword?: string | undefined;
  /** Intercepts TLS even without a secret. */
  tlsIntercept?: boolean | undefined;
  /** Hosts whose connections are not intercepted. */
  tlsBypass?: readonly string[] | undefined;
  /** A file with CAs of servers that this host does not trust. */
  tlsCa?: string | undefined;
}

/** A secret: the sandbox has a placeholder, which is replaced by the value in requests to the hosts. */
export interface Secret {
  /** The name of the variable in the sandbox. */
  name: string;
  /** The hosts that get the value, such as `api.example.org` or `*.example.org`. */
  hosts: readonly string[];
  /** The value. It is passed to msb in its environment, never on a command line. */
  value?: string | undefined;
  /** Reads the value from this variable of this process. Default: the one called `name`. */
  env?: string | undefined;
  /** Reads the value from a file. */
  file?: string | undefined;
  /** Reads the value from the keyring of the host. */
  keyring?: { service: string; account?: string | undefined } | undefined;
  /** The parts of a request in which it is replaced: `headers`, `basic-auth`, `query`, `body`. */
  inject?: readonly string[] | undefined;
  /** Limits `headers` to these. */
  headers?: readonly string[] | undefined;
  placeholder?: string | undefined;
  /** What happens to a request with the placeholder to another host; `block-and-log` by default. */
  onViolation?: "block" | "block-and-log" | "block-and-terminate" | "passthrough" | undefined;
  /** Hosts that get the placeholder. */
  passthroughHosts?: readonly string[] | undefined;
  requireTls?: boolean | undefined;
}

/** The options of a new sandbox. */
export interface CreateOptions extends CallOptions {
  /** A reference such as `alpine`, a path such as `./image`, or `snapshot:NAME`. */
  image: string;
  /** The main process. Default: that of the image; without any, the sandbox waits for commands. */
  command?: readonly string[] | undefined;
  /** Virtual processors. */
  cpus?: number | undefined;
  memory?: Size | undefined;
  /** The size of the writable disk. */
  disk?: Size | undefined;
  env?: Readonly<Record<string, string>> | undefined;
  /** Files of the host with lines `NAME=value`. Later ones, and `env`, take precedence. */
  envFiles?: readonly string[] | undefined;
  workdir?: string | undefined;
  /** The user of every process as `user[:group]`. */
  user?: string | undefined;
  hostname?: string | undefined;
  shell?: string | undefined;
  /** Limits of every process. */
  ulimits?: Ulimits | readonly Rlimit[] | undefined;
  /** The size of `/dev/shm`. Default: half of the memory. */
  shmSize?: Size | undefined;
  /** Addresses by name, for its `/etc/hosts`. */
  hosts?: Readonly<Record<string, string>> | undefined;
  /** What is mounted, by its path in the sandbox. */
  volumes?: Readonly<Record<string, Mount>> | undefined;
  /** Files that are written at each start, by their paths in the sandbox. */
  files?: Readonly<Record<string, AddedFile | string>> | undefined;
  ports?: readonly PortBinding[] | undefined;
  labels?: Readonly<Record<string, string>> | undefined;
  /** Scripts for the `PATH`, by name. Their bodies are not changed. */
  scripts?: Readonly<Record<string, string>> | undefined;
  /** Scripts from files, by name. */
  scriptFiles?: Readonly<Record<string, string>> | undefined;
  /** The network; `"none"` allows no connections. */
  network?: NetworkOptions | "none" | undefined;
  secrets?: readonly Secret[] | undefined;
  /** `no`, `on-failure`, `on-failure:N` or `always`. */
  restart?: "no" | "on-failure" | "always" | `on-failure:${number}` | undefined;
  /** The time after its start at which it is stopped. */
  maxDuration?: Duration | undefined;
  /** The time without activity after which it is stopped. */
  idleTimeout?: Duration | undefined;
  /** The time that it has to shut down before it is killed, where a call has none of its own. Default: 10 seconds. */
  stopTimeout?: Duration | undefined;
  /** The signal that asks its main process to end, by name or number. Default: that of the image, or `SIGTERM`. */
  stopSignal?: string | undefined;
  /** Removes an existing sandbox of this name, and its disk. */
  replace?: boolean | undefined;
  /** The same, with the time for it to shut down before it is killed. */
  replaceWithTimeout?: Duration | undefined;
  /** How long to wait while another msb changes the project. */
  lockTimeout?: Duration | undefined;
  /** When registries are queried for the image. */
  pull?: "always" | "missing" | "never" | undefined;
  /** The VM driver. */
  driver?: "krun" | "qemu" | undefined;
  /** Whether the end of the scope also removes it, with its disk. */
  ephemeral?: boolean | undefined;
  /** Whether the end of the scope leaves it running. */
  detached?: boolean | undefined;
}

const OPTION_NAMES: ReadonlySet<string> = new Set(
  (
    "image command cpus memory disk env envFiles workdir user hostname shell ulimits shmSize hosts volumes files ports " +
    "labels scripts scriptFiles network secrets restart maxDuration idleTimeout stopTimeout stopSignal replace " +
    "replaceWithTimeout lockTimeout pull driver ephemeral detached signal"
  ).split(" "),
);

/** The flags of a sandbox, and the environment of `msb` with the values of its secrets. */
export interface CreateCommand {
  readonly args: string[];
  readonly env: Record<string, string>;
}

/** Returns the command line of `msb create`. */
export function createCommand(name: string, options: CreateOptions): CreateCommand {
  for (const option of Object.keys(options)) {
    if (!OPTION_NAMES.has(option)) throw new InvalidArgumentError(`unknown option \`${option}\` of a sandbox`);
  }
  checkedName(name);
  const { image, command, network } = options;
  if (typeof image !== "string" || image === "" || image.startsWith("-")) {
    throw new InvalidArgumentError("a sandbox needs an `image`");
  }
  if (options.ephemeral && options.detached) {
    throw new InvalidArgumentError("a sandbox cannot be both ephemeral and detached");
  }
  const args: string[] = ["create", `--name=${name}`];
  const env: Record<string, string> = {};
  const flag = (flagName: string, value: string | number | undefined) => {
    if (value !== undefined) args.push(`--${flagName}=${value}`);
  };
  flag("cpus", options.cpus);
  flag("memory", sizeText(options.memory));
  flag("disk", sizeText(options.disk));
  for (const [key, value] of Object.entries(options.env ?? {})) flag("env", `${key}=${value}`);
  // A text is iterable too: each of its characters would be a file.
  if (typeof options.envFiles === "string") throw new InvalidArgumentError("`envFiles` is a list of files");
  for (const file of options.envFiles ?? []) flag("env-file", file);
  flag("workdir", options.workdir);
  flag("user", options.user);
  flag("hostname", options.hostname);
  flag("shell", options.shell);
  for (const limit of ulimitTexts(options.ulimits)) flag("ulimit", limit);
  flag("shm-size", sizeText(options.shmSize));
  for (const line of hostTexts(options.hosts)) flag("add-host", line);
  for (const [path, mount] of Object.entries(options.volumes ?? {})) flag(...mountFlag(path, mount));
  for (const [path, file] of Object.entries(options.files ?? {})) flag("add-file", fileText(path, file));
  for (const port of options.ports ?? []) flag("port", portText(port));
  for (const [key, value] of Object.entries(options.labels ?? {})) flag("label", `${key}=${value}`);
  for (const [key, body] of Object.entries(options.scripts ?? {})) flag("script-raw", `${key}=${body}`);
  for (const [key, path] of Object.entries(options.scriptFiles ?? {})) flag("script-path", `${key}:${path}`);
  if (network === "none") args.push("--no-net");
  else if (network !== undefined) args.push(...networkFlags(network));
  (options.secrets ?? []).forEach((secret, at) => flag("secret", secretText(secret, `MSB_SDK_SECRET_${at}`, env)));
  flag("restart", options.restart);
  flag("max-duration", durationText(options.maxDuration));
  flag("idle-timeout", durationText(options.idleTimeout));
  flag("stop-timeout", durationText(options.stopTimeout));
  if (!["string", "undefined"].includes(typeof options.stopSignal)) {
    throw new InvalidArgumentError("`stopSignal` is a text such as `SIGINT`");
  }
  flag("stop-signal", options.stopSignal);
  if (options.replaceWithTimeout !== undefined) flag("replace-with-timeout", durationText(options.replaceWithTimeout));
  else if (options.replace) args.push("--replace");
  flag("lock-timeout", durationText(options.lockTimeout));
  flag("pull", options.pull);
  flag("driver", options.driver);
  args.push(image);
  if (command !== undefined) {
    if (command.length === 0) throw new InvalidArgumentError("the main process is empty");
    args.push("--", ...command);
  }
  return { args, env };
}

/** Returns a time as msb writes it. */
export function durationText(duration: Duration | undefined): string | undefined {
  if (typeof duration !== "number") return duration;
  if (!(duration >= 0) || duration === Infinity) throw new InvalidArgumentError(`${duration} is not a time in milliseconds`);
  return `${Math.ceil(duration)}ms`;
}

/** Returns a size as msb writes it. */
export function sizeText(size: Size | undefined): string | undefined {
  if (typeof size !== "number") return size;
  if (!Number.isInteger(size) || size <= 0) throw new InvalidArgumentError(`${size} is not a size in MiB`);
  return `${size}M`;
}

function ulimitTexts(limits: CreateOptions["ulimits"] = []): string[] {
  if (limits === null || typeof limits !== "object") throw new InvalidArgumentError("`ulimits` is an object or a list");
  if (isList(limits)) return limits.map(rlimitText);
  return Object.entries(limits).map(([resource, limit]) => {
    if (typeof limit === "string") return namedText("ulimits", resource, limit);
    const [soft, hard] = typeof limit === "object" && limit !== null ? limit : [limit, limit];
    return rlimitText({ resource, soft, hard });
  });
}

/** `Array.isArray` does not tell readonly arrays from other objects. */
function isList(limits: Ulimits | readonly Rlimit[]): limits is readonly Rlimit[] {
  return Array.isArray(limits);
}

function rlimitText(limit: Rlimit): string {
  const { resource, soft, hard } = rlimitOf(limit);
  const [softText, hardText] = [soft, hard].map((value) => (value === UNLIMITED ? "unlimited" : String(value)));
  return namedText("ulimits", resource, `${softText}:${hardText}`);
}

function hostTexts(hosts: CreateOptions["hosts"] = {}): string[] {
  if (hosts === null || typeof hosts !== "object" || Array.isArray(hosts)) {
    throw new InvalidArgumentError("`hosts` is an object with an address for each name");
  }
  return Object.entries(hosts).map(([name, address]) => namedText("hosts", name, address));
}

function namedText(option: string, name: string, value: string): string {
  if (name === "" || name.includes("=")) throw new InvalidArgumentError(`"${name}" in \`${option}\` is not a name`);
  if (typeof value !== "string") throw new InvalidArgumentError(`${name} in \`${option}\` is not a text`);
  return `${name}=${value}`;
}

function mountFlag(path: string, mount: Mount): [string, string] {
  const { readonly, noexec, nosuid, nodev, uid, gid } = mount;
  const words: string[] = [];
  for (const [word, set] of Object.entries({ ro: readonly, noexec, nosuid, nodev })) if (set) words.push(word);
  const add = (key: string, value: string | number | undefined) => {
    if (value !== undefined) words.push(`${key}=${value}`);
  };
  add("uid", uid);
  add("gid", gid);
  const kinds = ["bind", "volume", "tmpfs"].filter((kind) => (mount as unknown as Record<string, unknown>)[kind] !== undefined);
  if (kinds.length !== 1) throw new InvalidArgumentError(`the mount at ${path} needs one of bind, volume and tmpfs`);
  if (!("bind" in mount) && ("statVirtualization" in mount || "hostPermissions" in mount)) {
    throw new InvalidArgumentError(`the policies of the mount at ${path} are for paths of the host only`);
  }
  if ("bind" in mount) {
    add("stat-virt", mount.statVirtualization);
    add("host-perms", mount.hostPermissions);
    add("size", sizeText(mount.size));
    add("kind", mount.kind);
  } else if ("tmpfs" in mount) {
    add("size", sizeText(mount.size));
    add("mode", mount.mode?.toString(8));
  }
  const text = words.length === 0 ? "" : `:${words.join(",")}`;
  if ("tmpfs" in mount) return ["tmpfs", `${path}${text}`];
  const source = "bind" in mount ? hostPath(mount.bind) : mount.volume;
  if (source.includes(":")) throw new InvalidArgumentError(`the source of the mount at ${path} contains a colon`);
  return ["volume", `${source}:${path}${text}`];
}

/** Writes a path of the host so that it is not taken for the name of a volume. */
function hostPath(path: string): string {
  return /^(\/|\.\.?(\/|$))/.test(path) ? path : `./${path}`;
}

function fileText(path: string, file: AddedFile | string): string {
  const { source, mode, uid, gid } = typeof file === "string" ? ({ source: file } as AddedFile) : file;
  const words = Object.entries({ mode: mode?.toString(8).padStart(4, "0"), uid, gid })
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${value}`);
  return `${hostPath(source)}:${path}${words.length === 0 ? "" : `:${words.join(",")}`}`;
}

function portText({ host, guest, bind, protocol }: PortBinding): string {
  for (const port of [host, guest]) {
    if (!Number.isInteger(port) || port < 0 || port > 65535) throw new InvalidArgumentError(`${port} is not a port`);
  }
  const address = bind === undefined ? "" : bind.includes(":") && !bind.startsWith("[") ? `[${bind}]:` : `${bind}:`;
  return `${address}${host}:${guest}${protocol === "udp" ? "/udp" : ""}`;
}

function networkFlags(network: NetworkOptions): string[] {
  const flags: string[] = [];
  const flag = (name: string, value: string | undefined) => {
    if (value !== undefined) flags.push(`--${name}=${value}`);
  };
  flag("net-default", network.default);
  for (const rule of network.rules ?? []) flag("net-rule", rule);
  flag("net-ipv4-pool", network.ipv4Pool);
  flag("net-ipv6-pool", network.ipv6Pool);
  for (const server of network.dns ?? []) flag("dns", server);
  for (const domain of network.dnsSearch ?? []) flag("dns-search", domain);
  flag("net-proxy", network.proxy);
  flag("net-proxy-password", network.proxyPassword);
  if (network.tlsIntercept) flags.push("--tls-intercept");
  for (const host of network.tlsBypass ?? []) flag("tls-bypass", host);
  flag("tls-ca", network.tlsCa);
  return flags;
}

function secretText(secret: Secret, variable: string, env: Record<string, string>): string {
  const { name, hosts, value, file, keyring } = secret;
  if (hosts.length === 0) throw new InvalidArgumentError(`the secret ${name} needs a host`);
  const sources = [value, secret.env, file, keyring].filter((source) => source !== undefined);
  if (sources.length > 1) throw new InvalidArgumentError(`the secret ${name} has more than one source`);
  const words: string[] = [];
  const add = (key: string, word: string | undefined) => {
    if (word !== undefined) words.push(`${key}=${word}`);
  };
  if (value !== undefined) {
    env[variable] = value;
    add("env", variable);
  }
  add("env", secret.env);
  add("file", file);
  add("keyring", keyring?.service);
  add("account", keyring?.account);
  add("inject", secret.inject?.join("+"));
  add("headers", secret.headers?.join("+"));
  add("placeholder", secret.placeholder);
  add("on-violation", secret.onViolation);
  add("passthrough-hosts", secret.passthroughHosts?.join("+"));
  add("require-tls", secret.requireTls === undefined ? undefined : String(secret.requireTls));
  return `${name}@${hosts.join(",")}${words.length === 0 ? "" : `:${words.join(",")}`}`;
}
