/**
 * The errors of this package. Each has a class, and a `code` that is the same in the SDKs of all languages.
 *
 * A call that is aborted by its `AbortSignal` rejects with the reason of the signal instead.
 */

/** What all errors can have besides a message. */
export interface ErrorDetails {
  /** The next step for the user. */
  hint?: string | null;
  /** The name of the sandbox, volume, image or snapshot. */
  subject?: string | null;
  /** The causes as text, the nearest first. */
  causes?: readonly string[];
  /** The cause as an error. */
  cause?: unknown;
}

/** The base class of all errors of this package. */
export class MsbError extends Error {
  /** The code, such as `sandbox-not-found`. It may be one that this version does not know. */
  readonly code: string;
  /** The next step for the user; `null` if there is none. */
  readonly hint: string | null;
  /** The name of the sandbox, volume, image or snapshot; `null` if there is none. */
  readonly subject: string | null;
  /** The causes as text, the nearest first. */
  readonly causes: readonly string[];

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = details.hint ?? null;
    this.subject = details.subject ?? null;
    this.causes = details.causes ?? [];
  }
}

/** A command of msb failed for another reason than those that have a class. */
export class CommandFailedError extends MsbError {
  constructor(
    message: string,
    details: ErrorDetails = {},
    /** The exit code of msb; `null` if a signal ended it. */
    readonly exitCode: number | null = null,
    code = "failed",
  ) {
    super(code, message, details);
  }
}

/** The executable `msb` cannot be started. */
export class MsbNotFoundError extends MsbError {
  constructor(message: string, details: ErrorDetails = {}) {
    super("msb-not-found", message, details);
  }
}

/** An argument or a combination of options is invalid. Nothing was done. */
export class InvalidArgumentError extends MsbError {
  constructor(message: string, details: ErrorDetails = {}) {
    super("invalid-argument", message, details);
  }
}

/** Something with this name does not exist. */
export class NotFoundError extends MsbError {}
/** The sandbox does not exist. */
export class SandboxNotFoundError extends NotFoundError {}
/** The volume does not exist. */
export class VolumeNotFoundError extends NotFoundError {}
/** The image does not exist. */
export class ImageNotFoundError extends NotFoundError {}
/** The snapshot does not exist. */
export class SnapshotNotFoundError extends NotFoundError {}
/** The job does not exist. */
export class JobNotFoundError extends NotFoundError {}
/** Something with this name exists already. */
export class ExistsError extends MsbError {}
/** The sandbox exists already. */
export class SandboxExistsError extends ExistsError {}
/** The volume exists already. */
export class VolumeExistsError extends ExistsError {}
/** The snapshot exists already. */
export class SnapshotExistsError extends ExistsError {}
/** The sandbox runs, and the operation needs a stopped one. */
export class SandboxRunningError extends MsbError {}
/** The volume, image or snapshot is in use. */
export class InUseError extends MsbError {}
/** The sandbox does not run, and the operation needs a running one. */
export class SandboxNotRunningError extends MsbError {}
/** The sandbox is paused, and the operation needs a running one. */
export class SandboxPausedError extends MsbError {}
/** A wait timed out. */
export class TimedOutError extends MsbError {}
/** Another msb changes the project. */
export class LockedError extends MsbError {}
/** The lock file or a trusted Sandboxfile does not match. */
export class MismatchError extends MsbError {}
/** This version of msb, of the agent or this host cannot do it. */
export class UnsupportedError extends MsbError {}
/** The Sandboxfile is invalid; `causes` are the errors in it. */
export class InvalidSandboxfileError extends MsbError {}
/** The guest does not answer. */
export class UnresponsiveError extends MsbError {}
/** The command line of msb is invalid. */
export class UsageError extends MsbError {}
/** A signal ended msb before it was done. */
export class InterruptedError extends MsbError {}
/** A rule or a secret is for hosts such as `*.com`, which match a whole public suffix. */
export class SuffixTooBroadError extends MsbError {
  constructor(
    message: string,
    /** The pattern, such as `*.com`. */
    readonly raw: string,
    details: ErrorDetails = {},
  ) {
    super("suffix-too-broad", message, details);
  }
}

/** Entries of a log after the cursor were removed by its rotation. */
export class MissedRotationError extends MsbError {
  constructor(
    message: string,
    details: ErrorDetails = {},
    /** The number of the oldest missing segment of the log; `null` if it is not known. */
    readonly droppedFromOffset: number | null = null,
  ) {
    super("missed-rotation", message, details);
  }
}

/** The cursor is malformed, or of another sandbox. */
export class InvalidCursorError extends MsbError {
  constructor(message: string, details: ErrorDetails = {}) {
    super("invalid-cursor", message, details);
  }
}

/** The connection to the sandbox ended before the answer: the sandbox ended, or its relay closed the connection. */
export class ConnectionLostError extends MsbError {
  constructor(message = "the sandbox ended, or its relay closed the connection", details: ErrorDetails = {}) {
    super("connection-lost", message, details);
  }
}

/** The client was closed by this program. */
export class ClientClosedError extends MsbError {
  constructor(message = "the client is closed", details: ErrorDetails = {}) {
    super("closed", message, details);
  }
}

/** The relay's handshake is not that of the protocol, or the relay refused the client. */
export class HandshakeError extends MsbError {
  constructor(message: string, details: ErrorDetails = {}) {
    super("handshake-failed", message, details);
  }
}

/** The relay or the guest sent bytes that are not the protocol. */
export class ProtocolError extends MsbError {
  constructor(message: string, details: ErrorDetails = {}, code = "protocol-error") {
    super(code, message, details);
  }
}

/** A frame is too short or too large. The next frame cannot be found, so the connection is closed. */
export class FrameError extends ProtocolError {
  constructor(message: string) {
    super(message, {}, "invalid-frame");
  }
}

/** The agent answered `core.error`: it did not act on the message. */
export class AgentRefusedError extends MsbError {
  constructor(
    message: string,
    /** `unsupported_type`, `malformed`, `wrong_session`, `unavailable`, `other`, or one of a later agent. */
    readonly kind: string,
    /** The type of the refused message, if it is known. */
    readonly messageType: string | null,
  ) {
    super(kind === "unsupported_type" ? "unsupported" : "agent-refused", message);
  }
}

/** The client has used all ids that the relay gave it. */
export class IdRangeExhaustedError extends MsbError {
  constructor() {
    super("ids-exhausted", "this client has used its range of ids", { hint: "open another client" });
  }
}

/** The reason why a command was not started. */
export type ExecFailureKind =
  | "not_found"
  | "permission_denied"
  | "not_executable"
  | "bad_cwd"
  | "bad_args"
  | "resource_limit"
  | "user_setup_failed"
  | "out_of_memory"
  | "pty_setup_failed"
  | "other";

/** The kinds that this version knows. */
export const EXEC_FAILURE_KINDS: ReadonlySet<string> = new Set<ExecFailureKind>([
  "not_found",
  "permission_denied",
  "not_executable",
  "bad_cwd",
  "bad_args",
  "resource_limit",
  "user_setup_failed",
  "out_of_memory",
  "pty_setup_failed",
]);

/** A command was not started. */
export class ExecFailedError extends MsbError {
  constructor(
    message: string,
    /** The reason; `other` for one of a later agent. */
    readonly kind: ExecFailureKind,
    /** The error number of Linux, if there is one. */
    readonly errno: number | null,
    /** Its name, such as `ENOENT`. */
    readonly errnoName: string | null,
    /** The failed step, such as `execve` or `chdir`. */
    readonly stage: string | null,
  ) {
    super("exec-failed", message);
  }
}

/** A command reached its timeout, and was ended. */
export class ExecTimeoutError extends MsbError {
  constructor(
    /** The timeout in milliseconds. */
    readonly timeoutMs: number,
    /** The standard output until then. */
    readonly stdout: Uint8Array,
    /** The standard error until then. */
    readonly stderr: Uint8Array,
  ) {
    super("exec-timeout", `the command was ended at its timeout of ${timeoutMs} ms`);
  }
}

/** The output of a command or a file exceeds the limit of the call. */
export class TooLargeError extends MsbError {
  constructor(
    message: string,
    /** The limit in bytes. */
    readonly limitBytes: number,
  ) {
    super("too-large", message, { hint: "read it as a stream" });
  }
}

/** The command no longer reads its standard input. */
export class StdinClosedError extends MsbError {
  constructor(
    message: string,
    readonly errno: number | null = null,
    readonly errnoName: string | null = null,
  ) {
    super("stdin-closed", message);
  }
}

/** The reason why an operation on a file failed. */
export type FileFailureKind =
  | "not_found"
  | "permission_denied"
  | "already_exists"
  | "not_directory"
  | "is_directory"
  | "directory_not_empty"
  | "no_space"
  | "read_only"
  | "wrong_kind"
  | "bad_request"
  | "no_such_user"
  | "busy"
  | "other";

/** The kinds that this version knows. */
export const FILE_FAILURE_KINDS: ReadonlySet<string> = new Set<FileFailureKind>([
  "not_found",
  "permission_denied",
  "already_exists",
  "not_directory",
  "is_directory",
  "directory_not_empty",
  "no_space",
  "read_only",
  "wrong_kind",
  "bad_request",
  "no_such_user",
  "busy",
]);

/** An operation on a file of the guest failed. */
export class FileError extends MsbError {
  constructor(
    message: string,
    /** The reason; `other` for one of a later agent. */
    readonly kind: FileFailureKind,
    /** The path in the guest. */
    readonly path: string,
    /** The error number of Linux, if there is one. */
    readonly errno: number | null,
    /** Its name, such as `ENOSPC`. */
    readonly errnoName: string | null,
    code = "file-failed",
  ) {
    super(code, message, { subject: path });
  }
}

/** A path of the guest does not exist. */
export class PathNotFoundError extends FileError {}

/** A step of a project failed. */
export class ProjectError extends MsbError {
  constructor(
    message: string,
    /** The last event, with `exit_code`, `steps` and `diagnostics`; `null` if msb ended without it. */
    readonly summary: Readonly<Record<string, unknown>> | null,
    details: ErrorDetails = {},
    code = "failed",
  ) {
    super(code, message, details);
  }
}

/** A typed failure, as msb prints it with `--json`. */
export interface Failure {
  code: string;
  message: string;
  causes?: readonly string[];
  hint?: string | null;
  name?: string | null;
}

type ErrorClass = new (code: string, message: string, details: ErrorDetails) => MsbError;

const CLASSES: { readonly [code: string]: ErrorClass } = {
  "sandbox-not-found": SandboxNotFoundError,
  "volume-not-found": VolumeNotFoundError,
  "image-not-found": ImageNotFoundError,
  "snapshot-not-found": SnapshotNotFoundError,
  "job-not-found": JobNotFoundError,
  "sandbox-exists": SandboxExistsError,
  "volume-exists": VolumeExistsError,
  "snapshot-exists": SnapshotExistsError,
  "sandbox-running": SandboxRunningError,
  "in-use": InUseError,
  "sandbox-not-running": SandboxNotRunningError,
  "sandbox-paused": SandboxPausedError,
  "timed-out": TimedOutError,
  locked: LockedError,
  mismatch: MismatchError,
  "invalid-sandboxfile": InvalidSandboxfileError,
  unsupported: UnsupportedError,
  unresponsive: UnresponsiveError,
  usage: UsageError,
  interrupted: InterruptedError,
  terminated: InterruptedError,
};

/** Converts a typed failure of msb to an error. Unknown codes become a {@link CommandFailedError} with the code. */
export function errorOf(failure: Failure, exitCode: number | null = null): MsbError {
  const { code, message } = failure;
  const details = { hint: failure.hint ?? null, subject: failure.name ?? null, causes: failure.causes ?? [] };
  const texts = [message, ...details.causes].join("\n");
  if (code === "missed-rotation" || /missed a rotation/.test(texts)) {
    const wanted = /the next file (\d+) of/.exec(texts)?.[1];
    return new MissedRotationError(message, details, wanted === undefined ? null : Number(wanted));
  }
  if (code === "invalid-cursor" || /cursor does not belong|is not a cursor of/.test(texts)) {
    return new InvalidCursorError(message, details);
  }
  const broad = /`([^`]*)` matches a whole (?:top-level domain|public suffix)/.exec(texts)?.[1];
  if (code === "suffix-too-broad" || broad !== undefined) {
    return new SuffixTooBroadError(message, broad ?? "", details);
  }
  const Known = Object.hasOwn(CLASSES, code) ? CLASSES[code] : undefined;
  return Known ? new Known(code, message, details) : new CommandFailedError(message, details, exitCode, code);
}
