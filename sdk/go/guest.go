package msb

import (
	"context"
	"io"
	"time"
)

// links opens connections to a guest.
type links interface {
	// connection returns the connection that commands and operations share.
	connection(ctx context.Context) (*connection, error)
	// transfer returns a connection for one transfer of a file, and a function that gives it back.
	transfer(ctx context.Context) (*connection, func(), error)
	// explain returns a better reason for an error, if there is one.
	explain(ctx context.Context, err error) error
	// shell returns the shell for scripts.
	shell() string
}

// Guest runs commands and has files. Sandbox and AgentClient have its methods.
type Guest struct {
	links links
}

// Exec runs a command to its end, and returns its exit code and output. A non-zero exit code is no error. cmd is a path
// if it contains a slash, or else a name to search on PATH.
//
// The end of the context ends the command: SIGTERM, then SIGKILL after the grace period. The call does not wait for that.
//
// It returns an *ExecFailedError if the command could not be started, an *ExecTimeoutError at its timeout, and errors with
// CodeTooLarge for more output than WithMaxOutput allows, CodeSandboxNotRunning, CodeSandboxPaused, CodeConnectionLost if
// the sandbox ended before the command did, and CodeUnresponsive if the guest answers neither the request nor pings.
func (g *Guest) Exec(ctx context.Context, cmd string, args []string, options ...ExecOption) (*Output, error) {
	config, err := configOf(options)
	if err != nil {
		return nil, err
	}
	if config.pipe {
		return nil, invalid("Exec cannot keep the standard input open; use ExecStream or WithStdin")
	}
	began := time.Now()
	process, err := g.start(ctx, cmd, args, config)
	if err != nil {
		return nil, err
	}
	if err := process.collect(config.maxOutput); err != nil {
		return nil, err
	}
	var expired <-chan time.Time
	if config.timeout > 0 {
		timer := time.NewTimer(config.timeout - time.Since(began))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-process.done:
	case <-ctx.Done():
		err := contextError(ctx, "the command was ended")
		process.stop(err)
		return nil, err
	case <-expired:
		return nil, process.expire(ctx, config.timeout)
	}
	if process.err != nil {
		return nil, process.err
	}
	stdout, stderr := process.collected()
	return &Output{process.status, stdout, stderr}, nil
}

// expire ends a command at its timeout, and returns the error with its output.
func (p *Process) expire(ctx context.Context, limit time.Duration) error {
	p.stop(nil)
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	stdout, stderr := p.collected()
	return &ExecTimeoutError{
		Err:    errorf(CodeExecTimeout, "the command was ended at its timeout of %v", limit),
		Limit:  limit,
		Stdout: stdout,
		Stderr: stderr,
	}
}

// Shell runs a script in the sandbox's shell, as Exec does.
func (g *Guest) Shell(ctx context.Context, script string, options ...ExecOption) (*Output, error) {
	return g.Exec(ctx, g.links.shell(), []string{"-c", script}, options...)
}

// ExecStream starts a command. The end of the context ends it, as does Close of the process; WithTimeout ends it too, and
// the methods of the process then return an *ExecTimeoutError without output. The errors are those of Exec.
func (g *Guest) ExecStream(ctx context.Context, cmd string, args []string, options ...ExecOption) (*Process, error) {
	config, err := configOf(options)
	if err != nil {
		return nil, err
	}
	process, err := g.start(ctx, cmd, args, config)
	if err != nil {
		return nil, err
	}
	process.follow(ctx)
	if config.timeout > 0 {
		process.expireLater(config.timeout)
	}
	return process, nil
}

func (p *Process) expireLater(limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.timers = append(p.timers, time.AfterFunc(limit, func() {
		p.stop(&ExecTimeoutError{
			Err:   errorf(CodeExecTimeout, "the command was ended at its timeout of %v", limit),
			Limit: limit,
		})
	}))
}

// ShellStream starts a script in the sandbox's shell, as ExecStream does.
func (g *Guest) ShellStream(ctx context.Context, script string, options ...ExecOption) (*Process, error) {
	return g.ExecStream(ctx, g.links.shell(), []string{"-c", script}, options...)
}

// Files returns the files of the guest.
func (g *Guest) Files() *Files { return &Files{links: g.links} }

func (g *Guest) start(ctx context.Context, cmd string, args []string, config *execConfig) (*Process, error) {
	request, err := config.request(cmd, args)
	if err != nil {
		return nil, err
	}
	link, err := g.links.connection(ctx)
	if err != nil {
		return nil, err
	}
	process := newProcess(link, config)
	if err := process.start(ctx, request, process.stdin.open); err != nil {
		return nil, g.links.explain(ctx, err)
	}
	if config.stdin != nil {
		go process.feed(config.stdin)
	}
	return process, nil
}

// feed copies the input. A command need not read it, but a reader that fails must not look like the end of the input.
func (p *Process) feed(input io.Reader) {
	buffer := make([]byte, pieceBytes)
	for {
		count, err := input.Read(buffer)
		if _, writeError := p.stdin.Write(buffer[:count]); writeError != nil {
			return
		}
		if err == io.EOF {
			_ = p.stdin.Close()
			return
		}
		if err != nil {
			p.stop(err)
			return
		}
	}
}
