package msb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// maxDocumentBytes is the most that one run of msb may print, in bytes.
	maxDocumentBytes = 256 * 1024 * 1024
	// maxStderrBytes is the text that is kept of the standard error, in bytes.
	maxStderrBytes = 256 * 1024
	// killGrace is the time for msb to end after SIGTERM.
	killGrace = 3 * time.Second
	// pipeGrace is the time to read what an msb that has ended has printed. A child of it may keep the pipe open.
	pipeGrace = time.Second
)

// cli runs one msb with its state folder.
type cli struct {
	home    string
	driver  string
	program string
	env     []string

	mu sync.Mutex
	// plain has the commands of an older msb that have no --json.
	plain map[string]bool
}

// path returns the path of msb: the option, the variable MSB, or on PATH.
func (c *cli) path() (string, error) {
	named := c.program
	if named == "" {
		named = os.Getenv("MSB")
	}
	if named == "" {
		named = "msb"
	}
	found, err := exec.LookPath(named)
	if err == nil {
		found, err = filepath.Abs(found)
	}
	if err != nil {
		missing := errorf(CodeMsbNotFound, "there is no program %q", named)
		missing.Hint = "install msb, set MSB to its path, or use msb.WithProgram"
		missing.cause = err
		return "", missing
	}
	return found, nil
}

// environment returns the environment of a child. MSB_PROJECT would change the meaning of the commands.
func (c *cli) environment(extra map[string]string) []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "MSB_PROJECT=") {
			env = append(env, variable)
		}
	}
	env = append(env, c.env...)
	if c.home != "" {
		env = append(env, "MSB_HOME="+c.home)
	}
	if c.driver != "" {
		env = append(env, "MSB_DRIVER="+c.driver)
	}
	for name, value := range extra {
		env = append(env, name+"="+value)
	}
	return env
}

// invocation is one run of msb.
type invocation struct {
	args []string
	// name is the sandbox, volume, image or snapshot that the run is about, for its errors.
	name string
	// dir is the working directory; the root by default, so that no Sandboxfile is read by accident.
	dir string
	env map[string]string
}

// child is a running msb.
type child struct {
	cmd    *exec.Cmd
	stdout *os.File
	stderr *os.File
	// exited is closed after the end of the process.
	exited chan struct{}
	// ended is closed by the first call of end.
	ended chan struct{}
	once  sync.Once
}

func (c *cli) start(run invocation) (*child, error) {
	program, err := c.path()
	if err != nil {
		return nil, err
	}
	for _, arg := range run.args {
		if strings.ContainsRune(arg, 0) {
			return nil, invalid("an argument of msb must not contain NUL")
		}
	}
	cmd := exec.Command(program, run.args...)
	cmd.Env = c.environment(run.env)
	if cmd.Dir = run.dir; cmd.Dir == "" {
		cmd.Dir = "/"
	}
	// A session of its own: Ctrl-C in the terminal of this program is no request to interrupt msb.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdout, stdoutWriter, err := os.Pipe()
	if err != nil {
		return nil, startError(program, err)
	}
	defer stdoutWriter.Close()
	stderr, stderrWriter, err := os.Pipe()
	if err != nil {
		stdout.Close()
		return nil, startError(program, err)
	}
	defer stderrWriter.Close()
	cmd.Stdout, cmd.Stderr = stdoutWriter, stderrWriter
	if err := cmd.Start(); err != nil {
		stdout.Close()
		stderr.Close()
		return nil, startError(program, err)
	}
	running := &child{cmd: cmd, stdout: stdout, stderr: stderr, exited: make(chan struct{}), ended: make(chan struct{})}
	go running.reap()
	return running, nil
}

func startError(program string, cause error) error {
	err := errorf(CodeFailed, "cannot start %s: %v", program, cause)
	err.cause = cause
	return err
}

func (c *child) reap() {
	// The exit code is read from the state.
	_ = c.cmd.Wait()
	deadline := time.Now().Add(pipeGrace)
	_ = c.stderr.SetReadDeadline(deadline)
	_ = c.stdout.SetReadDeadline(deadline)
	close(c.exited)
}

// end ends the process in the background: SIGTERM, and SIGKILL if it does not react.
func (c *child) end() {
	c.once.Do(func() {
		close(c.ended)
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		go func() {
			timer := time.NewTimer(killGrace)
			defer timer.Stop()
			select {
			case <-c.exited:
			case <-timer.C:
				_ = c.cmd.Process.Kill()
			}
		}()
	})
}

// exitCode returns the exit code after the end; 128 + n for signal n.
func (c *child) exitCode() int {
	<-c.exited
	if status, isWait := c.cmd.ProcessState.Sys().(syscall.WaitStatus); isWait && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return c.cmd.ProcessState.ExitCode()
}

// output is the result of a run of msb that has ended.
type output struct {
	exitCode int
	stdout   []byte
	stderr   []byte
}

// output runs msb to its end, whatever its exit code. After a cancellation it waits for the end of msb, which has locks.
func (c *cli) output(ctx context.Context, run invocation) (output, error) {
	if ctx.Err() != nil {
		return output{}, contextError(ctx, "msb "+run.args[0])
	}
	running, err := c.start(run)
	if err != nil {
		return output{}, err
	}
	stdout := &limitedBuffer{limit: maxDocumentBytes, overflow: running.end}
	stderr := &tailBuffer{limit: maxStderrBytes}
	read := make(chan struct{}, 2)
	go copyAll(stdout, running.stdout, read)
	go copyAll(stderr, running.stderr, read)
	done := make(chan struct{})
	go func() {
		<-read
		<-read
		<-running.exited
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		running.end()
		<-done
		return output{}, contextError(ctx, "msb "+run.args[0])
	}
	if stdout.overflowed {
		return output{}, errorf(CodeProtocolError, "msb printed more than %d bytes", maxDocumentBytes)
	}
	return output{running.exitCode(), stdout.Bytes(), stderr.Bytes()}, nil
}

// pipeReader reads what an msb has printed. After its end a child of it may keep the pipe open: then there is a deadline,
// and silence is the end.
type pipeReader struct{ pipe *os.File }

func (r pipeReader) Read(buffer []byte) (int, error) {
	count, err := r.pipe.Read(buffer)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// The deadline may have passed while the reader was busy.
		_ = r.pipe.SetReadDeadline(time.Now().Add(pipeGrace / 5))
		count, err = r.pipe.Read(buffer)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF
	}
	return count, err
}

func copyAll(to io.Writer, from *os.File, done chan<- struct{}) {
	defer func() { done <- struct{}{} }()
	defer from.Close()
	buffer := make([]byte, 64*1024)
	for {
		count, err := pipeReader{from}.Read(buffer)
		if _, writeError := to.Write(buffer[:count]); err != nil || writeError != nil {
			return
		}
	}
}

// run runs msb, and returns its typed failure.
func (c *cli) run(ctx context.Context, run invocation) (output, error) {
	result, err := c.output(ctx, run)
	if err != nil {
		return output{}, err
	}
	if result.exitCode != 0 {
		return output{}, failureOf(result.exitCode, result.stderr, run.name)
	}
	return result, nil
}

// json runs a command that prints a JSON document, and decodes it.
func (c *cli) json(ctx context.Context, run invocation, into any) error {
	run.args = withJSON(run.args)
	result, err := c.run(ctx, run)
	if err != nil {
		return err
	}
	return decodeDocument(result.stdout, into)
}

func decodeDocument(document []byte, into any) error {
	if err := json.Unmarshal(document, into); err != nil {
		broken := errorf(CodeProtocolError, "msb printed a document that is not as expected: %v", err)
		broken.cause = err
		return broken
	}
	return nil
}

// change runs a command that changes something, with --json if this msb knows it there, and returns its document. An
// older msb refuses the option and does nothing; it has no document.
func (c *cli) change(ctx context.Context, run invocation) ([]byte, error) {
	command := run.args[0]
	if command == "volume" || command == "image" || command == "snapshot" {
		command += " " + run.args[1]
	}
	c.mu.Lock()
	plain := c.plain[command]
	c.mu.Unlock()
	if !plain {
		typed := run
		typed.args = withJSON(run.args)
		result, err := c.output(ctx, typed)
		if err != nil {
			return nil, err
		}
		if result.exitCode == 0 {
			document := bytes.TrimSpace(result.stdout)
			if len(document) > 0 && !json.Valid(document) {
				return nil, errorf(CodeProtocolError, "msb %s printed something that is not JSON", command)
			}
			return document, checkResults(document)
		}
		if result.exitCode != 64 || !bytes.Contains(result.stderr, []byte("unexpected argument '--json'")) {
			return nil, failureOf(result.exitCode, result.stderr, run.name)
		}
		c.mu.Lock()
		if c.plain == nil {
			c.plain = map[string]bool{}
		}
		c.plain[command] = true
		c.mu.Unlock()
	}
	_, err := c.run(ctx, run)
	return nil, err
}

// withJSON adds --json before the arguments that are no options.
func withJSON(args []string) []string {
	cut := len(args)
	for at, arg := range args {
		if arg == "--" {
			cut = at
			break
		}
	}
	with := append([]string{}, args[:cut]...)
	with = append(with, "--json")
	return append(with, args[cut:]...)
}

// limitedBuffer keeps the first bytes of a stream, and calls overflow for more.
type limitedBuffer struct {
	bytes.Buffer
	limit      int
	overflow   func()
	overflowed bool
}

func (b *limitedBuffer) Write(data []byte) (int, error) {
	if b.overflowed || b.Len()+len(data) > b.limit {
		b.overflowed = true
		b.overflow()
		return 0, errors.New("too long")
	}
	return b.Buffer.Write(data)
}

// tailBuffer keeps the last bytes of a stream.
type tailBuffer struct {
	mu    sync.Mutex
	data  []byte
	limit int
}

func (b *tailBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, data...)
	if over := len(b.data) - b.limit; over > b.limit {
		b.data = append(b.data[:0], b.data[over:]...)
	}
	return len(data), nil
}

func (b *tailBuffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if over := len(b.data) - b.limit; over > 0 {
		return append([]byte(nil), b.data[over:]...)
	}
	return append([]byte(nil), b.data...)
}
