// The parts of Node's API that this package uses. They are declared here because the package has no dependencies, and
// this file is not published: the public declarations mention no type of Node.

declare module "node:net" {
  export interface Socket {
    on(event: "data", listener: (chunk: Uint8Array) => void): this;
    on(event: "error", listener: (error: Error & { code?: string }) => void): this;
    on(event: "close" | "connect" | "drain" | "end", listener: () => void): this;
    write(data: Uint8Array): boolean;
    cork(): void;
    uncork(): void;
    pause(): this;
    resume(): this;
    destroy(): this;
    ref(): this;
    unref(): this;
  }
  export function createConnection(options: { path: string }): Socket;
}

declare module "node:child_process" {
  export interface Output {
    on(event: "data", listener: (chunk: Uint8Array) => void): this;
    on(event: "end" | "close", listener: () => void): this;
    on(event: "error", listener: (error: Error) => void): this;
    pause(): this;
    resume(): this;
    destroy(): this;
  }
  export interface ChildProcess {
    readonly pid: number | undefined;
    readonly stdout: Output;
    readonly stderr: Output;
    on(event: "error", listener: (error: Error & { code?: string }) => void): this;
    on(event: "close", listener: (code: number | null, signal: string | null) => void): this;
    kill(signal: string): boolean;
  }
  export function spawn(
    program: string,
    args: readonly string[],
    options: { env: Record<string, string | undefined>; cwd?: string; stdio: readonly string[] },
  ): ChildProcess;
}

declare module "node:process" {
  export const env: Record<string, string | undefined>;
}
