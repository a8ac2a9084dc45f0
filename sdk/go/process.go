package msb

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/msb-dev/msb/sdk/go/internal/cbor"
	"github.com/msb-dev/msb/sdk/go/internal/wire"
)

const (
	// endTimeout is the longest time until a guest reports the end of a killed command.
	endTimeout = 5 * time.Second
	// ackBytes is the output that is acknowledged at once, in bytes: a quarter of the guest's window.
	ackBytes = 256 * 1024
	// maxEventBytes is the most data of one event that is made of several messages, in bytes.
	maxEventBytes = 64 * 1024
)

// An EventKind is the kind of an Event.
type EventKind string

// The kinds of events.
const (
	EventStarted    EventKind = "started"
	EventStdout     EventKind = "stdout"
	EventStderr     EventKind = "stderr"
	EventStdinError EventKind = "stdin_error"
	EventExited     EventKind = "exited"
)

// Event is an event of a command.
type Event struct {
	Kind EventKind
	// PID is the process id in the guest, for EventStarted.
	PID int
	// Data are the bytes of EventStdout and EventStderr.
	Data []byte
	// Status is the end, for EventExited.
	Status ExitStatus
	// Message is the reason, for EventStdinError.
	Message string
}

// outputMode is where the output of a command goes.
type outputMode int

const (
	// undecided output waits in the events, and the command waits once a window of it is full.
	undecided outputMode = iota
	toStreams
	toEvents
)

// Process is a command that runs in a guest.
//
// Its output is read either from Stdout and Stderr, or as events by Next, or at once by Collect. Output that is not read
// makes the command wait, as a full pipe does; Wait drops output that nobody has begun to read.
//
// The end of the context of ExecStream ends the command: SIGTERM, then SIGKILL after a grace period. So does Close, unless
// Detach was called. When the connection closes, the relay ends it in any case.
type Process struct {
	connection *connection
	id         uint32
	tty        bool
	grace      time.Duration
	stdin      *ProcessInput
	stdout     *ProcessOutput
	stderr     *ProcessOutput
	// done is closed at the end, after status and err are set for good.
	done chan struct{}

	mu      sync.Mutex
	changed broadcast
	pid     int
	started bool
	ended   bool
	status  ExitStatus
	err     error
	// stopReason is why this package is ending the command; it becomes the error.
	stopReason error
	timers     []*time.Timer
	stopping   bool
	detached   bool

	mode   outputMode
	events []Event
	// queued is the size of the events, in bytes.
	queued int
	// discards is whether all output is acknowledged at once, and dropped if nothing reads it.
	discards bool
	// waited is whether output of a stream that nothing reads is dropped.
	waited bool
	// limit is the most output that is collected; -1 if it is not collected.
	limit int
	taken uint64
	acked uint64
}

func newProcess(c *connection, config *execConfig) *Process {
	p := &Process{connection: c, tty: config.tty, grace: config.grace, done: make(chan struct{}), limit: -1}
	p.stdin = &ProcessInput{process: p, open: config.pipe || config.tty || config.stdin != nil, turn: make(semaphore, 1)}
	p.stdout = &ProcessOutput{process: p}
	p.stderr = &ProcessOutput{process: p}
	return p
}

// start sends the request, and waits until the guest has started the command. input says whether its standard input is
// not empty.
func (p *Process) start(ctx context.Context, request cbor.Map, input bool) error {
	select {
	case p.connection.starting <- struct{}{}:
	case <-ctx.Done():
		return contextError(ctx, "starting the command")
	case <-p.connection.lost:
		return p.connection.failure.get()
	}
	defer p.connection.starting.release()
	if ctx.Err() != nil {
		return contextError(ctx, "starting the command")
	}
	if _, err := p.connection.register(p); err != nil {
		return err
	}
	err := p.post(wire.FlagSessionStart, "core.exec.request", request)
	if err == nil && !input {
		err = p.post(0, "core.exec.stdin", map[string]any{"data": []byte{}})
	}
	if err != nil {
		p.connection.forget(p.id)
		return err
	}
	watch := p.connection.watch()
	defer watch.stop()
	for {
		p.mu.Lock()
		started, ended, err, changed := p.started, p.ended, p.err, p.changed.wait()
		p.mu.Unlock()
		if started {
			// It may have ended, or be lost, meanwhile: that is for its readers.
			return nil
		}
		if ended {
			return err
		}
		if err := watch.await(ctx, changed); err != nil {
			// It may be started all the same.
			p.stop(err)
			return err
		}
	}
}

// follow ends the command at the end of the context.
func (p *Process) follow(ctx context.Context) {
	if ctx.Done() == nil {
		return
	}
	go func() {
		select {
		case <-ctx.Done():
			p.stop(contextError(ctx, "the command was ended"))
		case <-p.done:
		}
	}()
}

func (p *Process) post(flags byte, kind string, payload any) error {
	return p.connection.postMessage(p.id, flags, kind, payload)
}

// ID returns the number of the session in its connection.
func (p *Process) ID() uint32 { return p.id }

// PID returns the process id in the guest.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Stdin returns the standard input. It needs WithStdinPipe or WithTTY.
func (p *Process) Stdin() *ProcessInput { return p.stdin }

// Stdout returns the standard output; all output of a command with a terminal.
func (p *Process) Stdout() *ProcessOutput { return p.stdout }

// Stderr returns the standard error.
func (p *Process) Stderr() *ProcessOutput { return p.stderr }

// Next returns the next event, and io.EOF after EventExited. It excludes Stdout, Stderr and Collect, which take the same
// bytes. It returns an error with CodeConnectionLost if the connection ends before the command has reported its end.
func (p *Process) Next(ctx context.Context) (Event, error) {
	for {
		p.mu.Lock()
		if p.mode == toStreams {
			p.mu.Unlock()
			return Event{}, invalid("the output of the command is read by its streams")
		}
		p.mode = toEvents
		if len(p.events) > 0 {
			event := p.events[0]
			p.events[0] = Event{}
			p.events = p.events[1:]
			p.queued -= len(event.Data) + frameOverhead
			p.consume(len(event.Data))
			p.mu.Unlock()
			return event, nil
		}
		ended, err, changed := p.ended, p.err, p.changed.wait()
		p.mu.Unlock()
		switch {
		case ended && err != nil:
			return Event{}, err
		case ended:
			return Event{}, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, contextError(ctx, "waiting for an event")
		}
	}
}

// Wait waits for the end of the command. The end of its context leaves the command running. It never invents an exit
// code: it returns an error with CodeConnectionLost if the connection ends before the command has reported its end.
func (p *Process) Wait(ctx context.Context) (ExitStatus, error) {
	p.mu.Lock()
	p.useStreams()
	p.waited = true
	p.stdout.settle()
	p.stderr.settle()
	p.mu.Unlock()
	return p.wait(ctx)
}

func (p *Process) wait(ctx context.Context) (ExitStatus, error) {
	select {
	case <-p.done:
		return p.status, p.err
	default:
	}
	select {
	case <-p.done:
		return p.status, p.err
	case <-ctx.Done():
		return ExitStatus{}, contextError(ctx, "waiting for the end of the command")
	}
}

// Collect reads all remaining output and waits for the end. More than maxOutput bytes end the command, and the error has
// CodeTooLarge. The end of its context leaves the command running.
func (p *Process) Collect(ctx context.Context, maxOutput int) (*Output, error) {
	if err := p.collect(maxOutput); err != nil {
		return nil, err
	}
	status, err := p.wait(ctx)
	if err != nil {
		return nil, err
	}
	stdout, stderr := p.collected()
	return &Output{status, stdout, stderr}, nil
}

// collect has all output kept, up to a limit.
func (p *Process) collect(limit int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == toEvents {
		return invalid("the output of the command is read as events")
	}
	p.limit = limit
	p.useStreams()
	if p.stdout.buffer.Len()+p.stderr.buffer.Len() > limit {
		p.stopLocked(errorf(CodeTooLarge, "the command wrote more than %d bytes", limit))
	}
	p.stdout.settle()
	p.stderr.settle()
	return nil
}

func (p *Process) collected() (stdout, stderr []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.take(), p.stderr.take()
}

// Signal sends a signal to the process group of the command. One that has ended is no error.
func (p *Process) Signal(ctx context.Context, signal Signal) error {
	if signal < 1 || signal > 64 {
		return invalid("a signal must be from 1 to 64")
	}
	return p.send(ctx, "core.exec.signal", map[string]any{"signal": int(signal)})
}

// Terminate sends SIGTERM, and does not wait for the end.
func (p *Process) Terminate(ctx context.Context) error { return p.Signal(ctx, SIGTERM) }

// Kill sends SIGKILL, and does not wait for the end.
func (p *Process) Kill(ctx context.Context) error { return p.Signal(ctx, SIGKILL) }

// Resize sets the size of the terminal. It needs WithTTY.
func (p *Process) Resize(ctx context.Context, rows, cols int) error {
	if !p.tty {
		return invalid("the command has no terminal to resize; start it with WithTTY")
	}
	if err := checkSize(rows, cols); err != nil {
		return err
	}
	return p.send(ctx, "core.exec.resize", map[string]any{"rows": rows, "cols": cols})
}

// send sends a message to a command that runs.
func (p *Process) send(ctx context.Context, kind string, payload map[string]any) error {
	if ctx.Err() != nil {
		return contextError(ctx, "sending to the command")
	}
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended {
		return p.connection.failure.get()
	}
	if err := p.post(0, kind, payload); err != nil {
		return err
	}
	return p.connection.drain(ctx)
}

// Detach lets the command run on at Close; output that is not read is dropped. It still ends with the connection.
func (p *Process) Detach() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.detached = true
	p.discard()
}

// Close ends the command unless it has ended: SIGTERM, then SIGKILL after the grace period. It waits for the end, for a
// few seconds at most.
func (p *Process) Close() error {
	p.mu.Lock()
	if p.detached {
		p.mu.Unlock()
		return nil
	}
	p.stopLocked(nil)
	p.mu.Unlock()
	<-p.done
	return nil
}
