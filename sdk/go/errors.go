package msb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// A Code is the kind of an error. It is the same text in the SDKs of all languages. A later msb may report codes that
// are not listed here.
type Code string

// The codes of errors. Those above CodeInvalidArgument are reported by msb, the others come from this package.
const (
	CodeFailed             Code = "failed"
	CodeInvalidSandboxfile Code = "invalid-sandboxfile"
	CodeMismatch           Code = "mismatch"
	CodeTimedOut           Code = "timed-out"
	CodeLocked             Code = "locked"
	CodeSandboxNotFound    Code = "sandbox-not-found"
	CodeVolumeNotFound     Code = "volume-not-found"
	CodeImageNotFound      Code = "image-not-found"
	CodeSnapshotNotFound   Code = "snapshot-not-found"
	CodeJobNotFound        Code = "job-not-found"
	CodeSandboxExists      Code = "sandbox-exists"
	CodeVolumeExists       Code = "volume-exists"
	CodeSnapshotExists     Code = "snapshot-exists"
	CodeSandboxRunning     Code = "sandbox-running"
	CodeInUse              Code = "in-use"
	CodeSandboxNotRunning  Code = "sandbox-not-running"
	CodeSandboxPaused      Code = "sandbox-paused"
	CodeUnsupported        Code = "unsupported"
	CodeUnresponsive       Code = "unresponsive"
	CodeUsage              Code = "usage"
	CodeInterrupted        Code = "interrupted"
	CodeTerminated         Code = "terminated"
	CodeSuffixTooBroad     Code = "suffix-too-broad"
	CodeMissedRotation     Code = "missed-rotation"
	CodeInvalidCursor      Code = "invalid-cursor"
	CodeInvalidArgument    Code = "invalid-argument"
	CodeMsbNotFound        Code = "msb-not-found"
	CodeConnectionLost     Code = "connection-lost"
	CodeClosed             Code = "closed"
	CodeHandshakeFailed    Code = "handshake-failed"
	CodeProtocolError      Code = "protocol-error"
	CodeInvalidFrame       Code = "invalid-frame"
	CodeIDsExhausted       Code = "ids-exhausted"
	CodeExecFailed         Code = "exec-failed"
	CodeExecTimeout        Code = "exec-timeout"
	CodeStdinClosed        Code = "stdin-closed"
	CodeTooLarge           Code = "too-large"
	CodeFileFailed         Code = "file-failed"
	CodePathNotFound       Code = "path-not-found"
)

// Error makes a Code a target of errors.Is: errors.Is(err, msb.CodeSandboxNotFound).
func (c Code) Error() string { return string(c) }

// general has the more general code of some codes, which errors.Is matches too.
var general = map[Code]Code{
	CodeExecTimeout:    CodeTimedOut,
	CodeSuffixTooBroad: CodeUsage,
	CodePathNotFound:   CodeFileFailed,
	CodeInvalidFrame:   CodeProtocolError,
}

// standard has the errors of the standard library that errors.Is matches for some codes.
var standard = map[Code]error{
	CodePathNotFound: fs.ErrNotExist,
	CodeClosed:       fs.ErrClosed,
	CodeStdinClosed:  io.ErrClosedPipe,
}

// Error is the error of all calls; errors.As finds it in the specific types too. errors.Is matches it with its Code, and
// with the more general code if there is one: CodeTimedOut for CodeExecTimeout, CodeUsage for CodeSuffixTooBroad,
// CodeFileFailed for CodePathNotFound, and CodeProtocolError for CodeInvalidFrame.
//
// A call whose context is cancelled returns an error that wraps context.Canceled. At the deadline of a context, the
// error has CodeTimedOut and wraps context.DeadlineExceeded.
type Error struct {
	// Code is the kind of the error.
	Code Code
	// Message is the text without causes and hint.
	Message string
	// Causes are the texts of the causes, the nearest first.
	Causes []string
	// Hint is the next step for the user; empty if nothing is known to help.
	Hint string
	// Name is the sandbox, volume, image or snapshot; empty if the error is not about one.
	Name string
	// ExitCode is the exit code of msb if a run of it failed, or else 0.
	ExitCode int

	cause error
}

// Error returns the message with causes and hint.
func (e *Error) Error() string {
	text := strings.Join(append([]string{e.Message}, e.Causes...), ": ")
	if e.Hint != "" {
		text += " (hint: " + e.Hint + ")"
	}
	return text
}

// Unwrap returns the error of the context or of the operating system that is the cause, or nil.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is the Code, a more general one, or the error of the standard library that means the same.
func (e *Error) Is(target error) bool {
	if code, isCode := target.(Code); isCode {
		return code == e.Code || code == general[e.Code]
	}
	return target == standard[e.Code] && target != nil
}

// Timeout reports whether a deadline was reached.
func (e *Error) Timeout() bool { return e.Is(CodeTimedOut) }

// CodeOf returns the code of an error: CodeTimedOut for the deadline of a context, CodeFailed if it has none, and an
// empty one for nil.
func CodeOf(err error) Code {
	var known *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &known):
		return known.Code
	case errors.Is(err, context.DeadlineExceeded):
		return CodeTimedOut
	default:
		return CodeFailed
	}
}

func errorf(code Code, format string, arguments ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, arguments...)}
}

func invalid(format string, arguments ...any) *Error {
	return errorf(CodeInvalidArgument, format, arguments...)
}

// contextError returns the error of a call whose context has ended.
func contextError(ctx context.Context, what string) error {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return &Error{Code: CodeTimedOut, Message: what + ": " + err.Error(), cause: err}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// ExecFailedError is the error of a command that was not started. Its code is CodeExecFailed.
type ExecFailedError struct {
	Err *Error
	// Kind is the reason: not_found, permission_denied, not_executable, bad_cwd, bad_args, resource_limit,
	// user_setup_failed, out_of_memory, pty_setup_failed or other.
	Kind string
	// Errno is the error number of Linux, or 0.
	Errno int
	// ErrnoName is its name, such as ENOENT, or empty.
	ErrnoName string
	// Stage is the failed step, such as execve or chdir, or empty.
	Stage string
}

// Error returns the message.
func (e *ExecFailedError) Error() string { return e.Err.Error() }

// Unwrap returns the *Error.
func (e *ExecFailedError) Unwrap() error { return e.Err }

// ExecTimeoutError is the error of a command that was ended at its timeout. Its code is CodeExecTimeout.
type ExecTimeoutError struct {
	Err *Error
	// Limit is the timeout.
	Limit time.Duration
	// Stdout and Stderr are the output until then.
	Stdout []byte
	Stderr []byte
}

// Error returns the message.
func (e *ExecTimeoutError) Error() string { return e.Err.Error() }

// Unwrap returns the *Error.
func (e *ExecTimeoutError) Unwrap() error { return e.Err }

// BootStartError is the error of a sandbox that could not be started: its virtual machine or guest failed, or its main
// process could not be started. Its code is the one that msb reports, mostly CodeFailed.
type BootStartError struct {
	Err *Error
	// Stage is not_started for the main process, and failure for the virtual machine or the guest.
	Stage string
	// Reason is the text of the guest or of msb.
	Reason string
	// ErrnoName is the name of the error of Linux in Reason, such as ENOENT, or empty.
	ErrnoName string
	// LogTail has the last lines of the sandbox's log.
	LogTail string
}

// Error returns the message.
func (e *BootStartError) Error() string { return e.Err.Error() }

// Unwrap returns the *Error.
func (e *BootStartError) Unwrap() error { return e.Err }

// MissedRotationError is the error of a log that was rotated past the cursor, so that entries are missing. Its code is
// CodeMissedRotation.
type MissedRotationError struct {
	Err *Error
	// DroppedFromOffset is the number of the oldest missing segment, or -1 if it is not known.
	DroppedFromOffset int64
}

// Error returns the message.
func (e *MissedRotationError) Error() string { return e.Err.Error() }

// Unwrap returns the *Error.
func (e *MissedRotationError) Unwrap() error { return e.Err }

// InvalidCursorError is the error of a text that is not a cursor, or not one of this log. Its code is CodeInvalidCursor.
type InvalidCursorError struct {
	Err *Error
}

// Error returns the message.
func (e *InvalidCursorError) Error() string { return e.Err.Error() }

// Unwrap returns the *Error.
func (e *InvalidCursorError) Unwrap() error { return e.Err }

// SuffixTooBroadError is the error of a network rule or a secret for a public suffix, such as *.com. Its code is
// CodeSuffixTooBroad.
type SuffixTooBroadError struct {
	Err *Error
	// Raw is the suffix as it was written.
	Raw string
}

// Error returns the message.
func (e *SuffixTooBroadError) Error() string { return e.Err.Error() }

// Unwrap returns the *Error.
func (e *SuffixTooBroadError) Unwrap() error { return e.Err }

// FileError is the error of an operation on a file that the guest refused. Its code is CodePathNotFound if there is no
// such file, or else CodeFileFailed.
type FileError struct {
	Err *Error
	// Kind is the reason: not_found, permission_denied, already_exists, not_directory, is_directory,
	// directory_not_empty, no_space, read_only, wrong_kind, bad_request, no_such_user, busy, or one of a later agent.
	Kind string
	// Path is the path in the guest.
	Path string
	// Errno is the error number of Linux, or 0.
	Errno int
	// ErrnoName is its name, such as ENOSPC, or empty.
	ErrnoName string
}

// Error returns the message.
func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap returns the *Error.
func (e *FileError) Unwrap() error { return e.Err }

// Is matches fs.ErrExist and fs.ErrPermission by the kind; the *Error matches fs.ErrNotExist.
func (e *FileError) Is(target error) bool {
	switch target {
	case fs.ErrExist:
		return e.Kind == "already_exists"
	case fs.ErrPermission:
		return e.Kind == "permission_denied"
	default:
		return false
	}
}
