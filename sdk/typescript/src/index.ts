/**
 * Sandboxes in microVMs: commands, files, logs and metrics of running ones over their agents, and everything else by
 * `msb`, which must be installed.
 */

export * from "./agent.js";
export { Awaitable } from "./awaitable.js";
export { CborError, type CborValue } from "./cbor.js";
export * from "./client.js";
export type { ClientOptions } from "./command.js";
export type {
  AddedFile,
  BindMount,
  CreateOptions,
  Duration,
  Mount,
  NetworkOptions,
  PortBinding,
  Secret,
  Size,
  TmpfsMount,
  Ulimits,
  VolumeMount,
} from "./create.js";
export type { Json, PublishedPort, SandboxExit, SandboxInfo, SandboxState } from "./documents.js";
export {
  AgentRefusedError,
  ClientClosedError,
  CommandFailedError,
  ConnectionLostError,
  ExecFailedError,
  ExecTimeoutError,
  ExistsError,
  FileError,
  FrameError,
  HandshakeError,
  IdRangeExhaustedError,
  ImageNotFoundError,
  InterruptedError,
  InUseError,
  InvalidArgumentError,
  InvalidCursorError,
  InvalidSandboxfileError,
  JobNotFoundError,
  LockedError,
  MismatchError,
  MissedRotationError,
  MsbError,
  MsbNotFoundError,
  NotFoundError,
  PathNotFoundError,
  ProjectError,
  ProtocolError,
  SandboxExistsError,
  SandboxNotFoundError,
  SandboxNotRunningError,
  SandboxPausedError,
  SandboxRunningError,
  SnapshotExistsError,
  SnapshotNotFoundError,
  StdinClosedError,
  SuffixTooBroadError,
  TimedOutError,
  TooLargeError,
  UnresponsiveError,
  UnsupportedError,
  UsageError,
  VolumeExistsError,
  VolumeNotFoundError,
  type ErrorDetails,
  type ExecFailureKind,
  type FileFailureKind,
} from "./errors.js";
export type {
  CommandOptions,
  ExecOptions,
  ExecStreamOptions,
  Rlimit,
  Signal,
  StdinSource,
  TerminalSize,
} from "./exec.js";
export { Files, type Contents, type FileEntry } from "./files.js";
export {
  FLAG_SESSION_START,
  FLAG_SHUTDOWN,
  FLAG_TERMINAL,
  FrameDecoder,
  LINK_ID,
  MAX_BODY_BYTES,
  MAX_FRAME_LEN,
  encodeFrame,
  type RawFrame,
} from "./frames.js";
export { Guest, type PendingProcess } from "./guest.js";
export { LogEntry, LogStream, type LogOptions, type LogSource, type LogStreamOptions, type PendingLogStream } from "./logs.js";
export { PROTOCOL_VERSION, type Payload } from "./messages.js";
export { MetricsStream, type Metrics, type MetricsStreamOptions } from "./metrics.js";
export { ExecOutput, Process, type ExitStatus, type ProcessEvent } from "./process.js";
export * from "./project.js";
export type { Ready } from "./ready.js";
export type { ConnectOptions } from "./relay.js";
export { Sandbox, type StartOptions, type StopOptions, type WaitOptions } from "./sandbox.js";
export { Images, Snapshots, Volumes, type SnapshotInfo, type VolumeInfo } from "./storage.js";
export { InputStream, OutputStream } from "./streams.js";
export {
  GuestFileReader,
  GuestFileWriter,
  type FileKind,
  type FileStat,
  type GuestPath,
  type WriteOptions,
} from "./transfers.js";
export type { CallOptions } from "./waiting.js";
