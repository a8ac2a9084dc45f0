/** Options of commands, and their requests. */

import { InvalidArgumentError } from "./errors.js";
import type { Payload } from "./messages.js";
import type { CallOptions } from "./waiting.js";

/** A limit of the resources of a command, or of every process of a sandbox. `Infinity` means unlimited. */
export interface Rlimit {
  /** The resource in lower case without `RLIMIT_`: `nofile`, `nproc`, `as`, `core`, `cpu`, `fsize`, … */
  resource: string;
  /** The soft limit, in the unit of the resource. */
  soft: number | bigint;
  /** The hard limit; the soft one by default. */
  hard?: number | bigint;
}

/** The size of a terminal. */
export interface TerminalSize {
  rows: number;
  cols: number;
}

/** The input of a command; `"null"` is an empty one. Other texts are the input itself. */
export type StdinSource = "null" | string | Uint8Array | AsyncIterable<Uint8Array | string>;

/** Options of all commands. */
export interface CommandOptions extends CallOptions {
  /** The working directory. Default: that of the sandbox. */
  cwd?: string | undefined;
  /** The user as `name|uid[:group|gid]`. Default: that of the sandbox. */
  user?: string | undefined;
  /** Environment variables, in addition to those of the sandbox. */
  env?: Readonly<Record<string, string>> | undefined;
  /** The time after which the command is ended, in milliseconds. Default: none. */
  timeout?: number | undefined;
  /** Whether the command gets a terminal, with this size (24 rows and 80 columns by default). */
  tty?: boolean | TerminalSize | undefined;
  /** Limits of its resources. */
  rlimits?: readonly Rlimit[] | undefined;
  /** Ends the command: SIGTERM to its process group, and SIGKILL after `killAfter`. */
  signal?: AbortSignal | undefined;
  /** The time between SIGTERM and SIGKILL at a timeout or an abort, in milliseconds; 500 by default. */
  killAfter?: number | undefined;
}

/** Options of a command whose output is collected. */
export interface ExecOptions extends CommandOptions {
  /** The input; empty by default. */
  stdin?: StdinSource | undefined;
  /** The most output to collect, in bytes; 64 MiB by default. A command with more output is ended. */
  maxOutput?: number | undefined;
}

/** Options of a command that is a stream. */
export interface ExecStreamOptions extends CommandOptions {
  /** The input: `"pipe"` to write to `stdin` of the process; empty by default. */
  stdin?: StdinSource | "pipe" | undefined;
}

const OPTION_NAMES: ReadonlySet<string> = new Set([
  "cwd",
  "user",
  "env",
  "timeout",
  "tty",
  "rlimits",
  "signal",
  "killAfter",
  "stdin",
  "maxOutput",
]);

/** Splits `(args?, options?)`. */
export function argumentsOf<O extends CommandOptions>(
  first: readonly string[] | O | undefined,
  second: O | undefined,
): [readonly string[], O] {
  if (first === undefined || Array.isArray(first)) return [first ?? [], second ?? ({} as O)];
  if (second !== undefined) throw new InvalidArgumentError("options are given twice");
  return [[], first as O];
}

/** Checks the options of a command and returns the payload of `core.exec.request`. */
export function execRequest(cmd: string, args: readonly string[], options: ExecOptions | ExecStreamOptions): Payload {
  const { cwd, user, env = {}, tty = false, rlimits = [] } = options;
  for (const name of Object.keys(options)) {
    if (!OPTION_NAMES.has(name)) throw new InvalidArgumentError(`unknown exec option \`${name}\``);
  }
  checkText("the command", cmd);
  if (cmd === "") throw new InvalidArgumentError("the command is empty");
  if (!Array.isArray(args)) throw new InvalidArgumentError("args must be an array of strings");
  args.forEach((arg, at) => checkText(`argument ${at + 1}`, arg));
  if (cwd !== undefined) checkText("cwd", cwd);
  if (user !== undefined) checkText("user", user);
  checkMilliseconds("timeout", options.timeout);
  checkMilliseconds("killAfter", options.killAfter);
  if ("maxOutput" in options) checkMilliseconds("maxOutput", options.maxOutput);
  const { stdin = "null" } = options;
  if (tty !== false && stdin !== "null" && stdin !== "pipe") {
    throw new InvalidArgumentError('a command with a terminal takes its input with `stdin: "pipe"` of `execStream`');
  }
  const size = typeof tty === "object" ? tty : { rows: 24, cols: 80 };
  checkSize(size);
  return {
    cmd,
    args: [...args],
    env: Object.entries(env).map(([name, value]) => variable(name, value)),
    cwd,
    user,
    tty: tty !== false,
    rows: size.rows,
    cols: size.cols,
    rlimits: rlimits.map(rlimitOf),
    stdin_acks: true,
    output_acks: true,
    report_signal: true,
  };
}

function checkText(what: string, text: unknown): void {
  if (typeof text !== "string") throw new InvalidArgumentError(`${what} must be a string`);
  if (text.includes("\0")) throw new InvalidArgumentError(`${what} contains a NUL`);
}

function checkMilliseconds(what: string, value: number | undefined): void {
  if (value !== undefined && !(typeof value === "number" && value >= 0)) {
    throw new InvalidArgumentError(`${what} must be a number that is not negative`);
  }
}

/** Checks the size of a terminal. */
export function checkSize(size: TerminalSize): void {
  for (const value of [size.rows, size.cols]) {
    if (!Number.isInteger(value) || value < 1 || value > 0xffff) {
      throw new InvalidArgumentError("rows and cols must be integers from 1 to 65535");
    }
  }
}

function variable(name: string, value: string): string {
  if (name === "" || /[=\0]/.test(name)) {
    throw new InvalidArgumentError(`${JSON.stringify(name)} is not the name of a variable`);
  }
  checkText(`the variable ${name}`, value);
  return `${name}=${value}`;
}

/** A limit of the protocol that is none. */
export const UNLIMITED = (1n << 64n) - 1n;

/** Returns a checked limit as the protocol has it. */
export function rlimitOf({ resource, soft, hard = soft }: Rlimit): Required<Rlimit> {
  if (typeof resource !== "string" || resource === "") throw new InvalidArgumentError("a limit needs a `resource`");
  const limits = [soft, hard].map((value) => (value === Infinity ? UNLIMITED : value));
  for (const value of limits) {
    const isLimit =
      typeof value === "number"
        ? Number.isSafeInteger(value) && value >= 0
        : typeof value === "bigint" && value >= 0n && value <= UNLIMITED;
    if (!isLimit) {
      throw new InvalidArgumentError(`the limit of ${resource} must be an integer of at most 64 bits`);
    }
  }
  const [softLimit, hardLimit] = limits as [number | bigint, number | bigint];
  if (softLimit > hardLimit) throw new InvalidArgumentError(`the soft limit of ${resource} exceeds its hard limit`);
  return { resource, soft: softLimit, hard: hardLimit };
}

const SIGNALS: { readonly [name: string]: number } = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  ILL: 4,
  TRAP: 5,
  ABRT: 6,
  BUS: 7,
  FPE: 8,
  KILL: 9,
  USR1: 10,
  SEGV: 11,
  USR2: 12,
  PIPE: 13,
  ALRM: 14,
  TERM: 15,
  CHLD: 17,
  CONT: 18,
  STOP: 19,
  TSTP: 20,
  TTIN: 21,
  TTOU: 22,
  WINCH: 28,
};

/** A signal of Linux: its number, or its name with or without `SIG`. */
export type Signal = number | keyof typeof SIGNALS | `SIG${string}`;

/** Returns the number of a signal. */
export function signalNumber(signal: Signal): number {
  const number = typeof signal === "number" ? signal : SIGNALS[String(signal).replace(/^SIG/, "")];
  if (number === undefined || !Number.isInteger(number) || number < 1 || number > 64) {
    throw new InvalidArgumentError(`${signal} is not a signal`);
  }
  return number;
}
