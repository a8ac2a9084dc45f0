/** Running commands in a guest. */

import { Awaitable } from "./awaitable.js";
import { argumentsOf, type CommandOptions, type ExecOptions, type ExecStreamOptions } from "./exec.js";
import { InvalidArgumentError } from "./errors.js";
import { execute, Process, type ExecOutput, type ProcessEvent } from "./process.js";
import type { Relay } from "./relay.js";
import type { CallOptions } from "./waiting.js";

/** A command that is being started: `await` it for the process, or iterate over its events at once. */
export type PendingProcess = Awaitable<Process, ProcessEvent>;

/** Something that runs commands: a sandbox, or a connection to one. */
export abstract class Guest {
  /** Returns the connection, and opens it if necessary. @internal */
  protected abstract relay(options: CallOptions): Promise<Relay>;

  /** Returns the shell of {@link shell}. @internal */
  protected abstract shellProgram(options: CallOptions): Promise<string>;

  /**
   * Runs a program, and collects its output. It has no input unless `stdin` has some.
   *
   * ```js
   * const { exitCode, stdout } = await sandbox.exec("python3", ["-c", "print(1)"], { cwd: "/tmp", timeout: 10_000 });
   * ```
   *
   * @param cmd A path if it contains a `/`, or else a name to search on the `PATH` of the guest.
   * @throws {ExecFailedError} If it cannot be started.
   * @throws {ExecTimeoutError} If it was ended at its timeout; the error has the output until then.
   * @throws {TooLargeError} If its output exceeds `maxOutput` bytes.
   * @throws {ConnectionLostError} If the sandbox ends first.
   */
  exec(cmd: string, args: readonly string[], options?: ExecOptions): Promise<ExecOutput>;
  exec(cmd: string, options?: ExecOptions): Promise<ExecOutput>;
  async exec(cmd: string, first?: readonly string[] | ExecOptions, second?: ExecOptions): Promise<ExecOutput> {
    const [args, options] = argumentsOf(first, second);
    return execute(await this.relay(callOptions(options)), cmd, args, options);
  }

  /** Runs a script in the sandbox's shell, as {@link exec} does. */
  async shell(script: string, options: ExecOptions = {}): Promise<ExecOutput> {
    const shell = await this.shellProgram(callOptions(options));
    return this.exec(shell, ["-c", checkedScript(script)], options);
  }

  /**
   * Starts a program and returns its process: `await` it, or iterate over its events at once.
   *
   * ```js
   * for await (const event of sandbox.execStream("make", ["test"])) {
   *   if (event.type === "stdout") process.stdout.write(event.data);
   * }
   * ```
   */
  execStream(cmd: string, args: readonly string[], options?: ExecStreamOptions): PendingProcess;
  execStream(cmd: string, options?: ExecStreamOptions): PendingProcess;
  execStream(cmd: string, first?: readonly string[] | ExecStreamOptions, second?: ExecStreamOptions): PendingProcess {
    return started(async () => {
      const [args, options] = argumentsOf(first, second);
      return new Process(await this.relay(callOptions(options)), cmd, args, options);
    });
  }

  /** Starts a script in the sandbox's shell, as {@link execStream} does. */
  shellStream(script: string, options: ExecStreamOptions = {}): PendingProcess {
    return started(async () => {
      const shell = await this.shellProgram(callOptions(options));
      return new Process(await this.relay(callOptions(options)), shell, ["-c", checkedScript(script)], options);
    });
  }
}

/** A command starts at once, even if the caller does not wait for it. */
function started(start: () => Promise<Process>): PendingProcess {
  const process = start();
  process.catch(() => {});
  return new Awaitable(() => process);
}

function callOptions(options: CommandOptions): CallOptions {
  if (options === null || typeof options !== "object") throw new InvalidArgumentError("options must be an object");
  return { signal: options.signal };
}

function checkedScript(script: string): string {
  if (typeof script !== "string") throw new InvalidArgumentError("a script must be a string");
  return script;
}
