package msb

import (
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/msb-dev/msb/sdk/go/internal/cbor"
)

const (
	// defaultGrace is the time between SIGTERM and SIGKILL.
	defaultGrace = 500 * time.Millisecond
	// maxOutputBytes is the most output that Exec collects unless another limit is given, in bytes.
	maxOutputBytes = 256 * 1024 * 1024
)

// A Signal is the number of a signal in the guest, which is Linux.
type Signal int

// Signals that programs send.
const (
	SIGHUP  Signal = 1
	SIGINT  Signal = 2
	SIGQUIT Signal = 3
	SIGKILL Signal = 9
	SIGUSR1 Signal = 10
	SIGUSR2 Signal = 12
	SIGTERM Signal = 15
	SIGCONT Signal = 18
	SIGSTOP Signal = 19
)

// Unlimited is the value of an Rlimit without a limit.
const Unlimited = ^uint64(0)

// Rlimit is a resource limit of a command, or of every process of a sandbox.
type Rlimit struct {
	// Resource is a name in lower case without RLIMIT_, such as nofile, nproc, as or cpu.
	Resource string
	// Soft and Hard are in the unit of the resource; Unlimited is no limit.
	Soft uint64
	Hard uint64
}

// argument returns the limit as msb reads it.
func (l Rlimit) argument() (string, error) {
	if l.Resource == "" || strings.Contains(l.Resource, "=") {
		return "", invalid("%q is not a resource of an Rlimit", l.Resource)
	}
	number := func(limit uint64) string {
		if limit == Unlimited {
			return "unlimited"
		}
		return strconv.FormatUint(limit, 10)
	}
	return l.Resource + "=" + number(l.Soft) + ":" + number(l.Hard), nil
}

// An ExecOption is an option of Exec, Shell, ExecStream and ShellStream.
type ExecOption func(*execConfig)

// execConfig has the options of a command.
type execConfig struct {
	dir       string
	user      string
	env       []string
	envErr    error
	timeout   time.Duration
	stdin     io.Reader
	pipe      bool
	tty       bool
	rows      int
	cols      int
	rlimits   []Rlimit
	maxOutput int
	grace     time.Duration
}

// WithDir sets the working directory; that of the sandbox by default.
func WithDir(path string) ExecOption {
	return func(c *execConfig) { c.dir = path }
}

// WithUser sets the user as name|uid[:group|gid]; that of the sandbox by default.
func WithUser(user string) ExecOption {
	return func(c *execConfig) { c.user = user }
}

// WithEnv adds a variable to those of the sandbox, over which it takes precedence.
func WithEnv(name, value string) ExecOption {
	return func(c *execConfig) {
		if name == "" || strings.Contains(name, "=") {
			c.envErr = invalid("%q is not a name of an environment variable", name)
		}
		c.env = append(c.env, name+"="+value)
	}
}

// WithEnvMap adds variables as WithEnv does.
func WithEnvMap(variables map[string]string) ExecOption {
	return func(c *execConfig) {
		for _, name := range sortedKeys(variables) {
			WithEnv(name, variables[name])(c)
		}
	}
}

// WithTimeout limits the time that the command runs: it is ended then, and the call fails with an ExecTimeoutError,
// which has the output until then. Without it, there is no limit but the context.
func WithTimeout(limit time.Duration) ExecOption {
	return func(c *execConfig) {
		if c.timeout = limit; limit == 0 {
			// Zero is no timeout in the configuration.
			c.timeout = 1
		}
	}
}

// WithStdin copies the standard input from a reader; it is empty by default. A read that does not return keeps its
// goroutine after the end of the command.
func WithStdin(input io.Reader) ExecOption {
	return func(c *execConfig) { c.stdin = input }
}

// WithStdinPipe keeps the standard input open, for Process.Stdin. Only ExecStream and ShellStream take it.
func WithStdinPipe() ExecOption {
	return func(c *execConfig) { c.pipe = true }
}

// WithTTY gives the command a terminal of this size; all its output is then on the standard output. The standard input
// of a stream is open then. It excludes WithStdin.
func WithTTY(rows, cols int) ExecOption {
	return func(c *execConfig) { c.tty, c.rows, c.cols = true, rows, cols }
}

// WithRlimits sets resource limits.
func WithRlimits(limits ...Rlimit) ExecOption {
	return func(c *execConfig) { c.rlimits = append(c.rlimits, limits...) }
}

// WithMaxOutput sets the most output that Exec and Shell collect, in bytes; 256 MiB by default. A command with more
// output is ended, and the error has CodeTooLarge.
func WithMaxOutput(count int) ExecOption {
	return func(c *execConfig) { c.maxOutput = count }
}

// WithGrace sets the time between SIGTERM and SIGKILL when the command is ended at its timeout, by its context or by
// Close; half a second by default.
func WithGrace(grace time.Duration) ExecOption {
	return func(c *execConfig) { c.grace = grace }
}

// configOf applies and checks the options.
func configOf(options []ExecOption) (*execConfig, error) {
	config := &execConfig{rows: 24, cols: 80, maxOutput: maxOutputBytes, grace: defaultGrace}
	for _, option := range options {
		option(config)
	}
	switch {
	case config.envErr != nil:
		return nil, config.envErr
	case config.timeout < 0:
		return nil, invalid("the timeout must not be negative")
	case config.grace < 0:
		return nil, invalid("the grace period must not be negative")
	case config.maxOutput < 0:
		return nil, invalid("the most output must not be negative")
	case config.tty && config.stdin != nil:
		return nil, invalid("a command with a terminal takes its input from Process.Stdin of ExecStream")
	case config.pipe && config.stdin != nil:
		return nil, invalid("WithStdin and WithStdinPipe exclude each other")
	}
	return config, checkSize(config.rows, config.cols)
}

func checkSize(rows, cols int) error {
	if rows < 1 || rows > 65535 || cols < 1 || cols > 65535 {
		return invalid("rows and cols must be from 1 to 65535")
	}
	return nil
}

// request returns the payload of core.exec.request.
func (c *execConfig) request(cmd string, args []string) (cbor.Map, error) {
	if cmd == "" {
		return nil, invalid("the command is empty")
	}
	texts := append([]string{cmd, c.dir, c.user}, args...)
	for _, text := range append(texts, c.env...) {
		if strings.ContainsRune(text, 0) {
			return nil, invalid("a text of a command must not contain NUL")
		}
	}
	limits := make([]any, 0, len(c.rlimits))
	for _, limit := range c.rlimits {
		if limit.Resource == "" {
			return nil, invalid("the resource of an Rlimit is empty")
		}
		limits = append(limits, cbor.Map{{Key: "resource", Value: limit.Resource}, {Key: "soft", Value: limit.Soft}, {Key: "hard", Value: limit.Hard}})
	}
	request := cbor.Map{
		{Key: "cmd", Value: cmd},
		{Key: "args", Value: args},
		{Key: "env", Value: c.env},
		{Key: "tty", Value: c.tty},
		{Key: "rows", Value: c.rows},
		{Key: "cols", Value: c.cols},
		{Key: "rlimits", Value: limits},
		{Key: "stdin_acks", Value: true},
		{Key: "output_acks", Value: true},
		{Key: "report_signal", Value: true},
	}
	if c.dir != "" {
		request = append(request, cbor.Entry{Key: "cwd", Value: c.dir})
	}
	if c.user != "" {
		request = append(request, cbor.Entry{Key: "user", Value: c.user})
	}
	return request, nil
}

// ExitStatus is the end of a command.
type ExitStatus struct {
	// ExitCode is the exit code, or 128 + the number of the signal that ended the command.
	ExitCode int
	// Signal is that signal, or 0.
	Signal Signal
}

// Success reports whether the exit code is 0.
func (s ExitStatus) Success() bool { return s.ExitCode == 0 }

// String returns the exit code or the signal as text.
func (s ExitStatus) String() string {
	if s.Signal != 0 {
		return fmt.Sprintf("signal %d", int(s.Signal))
	}
	return fmt.Sprintf("exit code %d", s.ExitCode)
}

// Output is the end of a command with all its output.
type Output struct {
	ExitStatus
	Stdout []byte
	Stderr []byte
}

// StdoutText returns the standard output as UTF-8; invalid bytes become U+FFFD.
func (o *Output) StdoutText() string { return strings.ToValidUTF8(string(o.Stdout), "\uFFFD") }

// StderrText returns the standard error as UTF-8; invalid bytes become U+FFFD.
func (o *Output) StderrText() string { return strings.ToValidUTF8(string(o.Stderr), "\uFFFD") }

func sortedKeys[V any](values map[string]V) []string {
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
