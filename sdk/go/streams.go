package msb

import (
	"bytes"
	"context"
	"io"
)

const (
	// maxUnreadBytes is the most output that is kept of a stream that nothing reads, in bytes.
	maxUnreadBytes = 8 * 1024 * 1024
	// inputWindowBytes is the most input that is not acknowledged, in bytes.
	inputWindowBytes = 1024 * 1024
	// pieceBytes is the most data in one message, in bytes.
	pieceBytes = 128 * 1024
)

// ProcessOutput is an output stream of a command; it is an io.Reader. Its methods must not be called from several
// goroutines at the same time.
//
// A read ends with the command, so it ends with the context of ExecStream too.
type ProcessOutput struct {
	process *Process
	buffer  bytes.Buffer
	// unacknowledged is the part of the buffer that the guest counts as not read, in bytes.
	unacknowledged int
	claimed        bool
	dropped        bool
}

// Read reads the next bytes. io.EOF is the end of the command; if the connection ends before, the error has
// CodeConnectionLost.
func (o *ProcessOutput) Read(into []byte) (int, error) {
	return o.ReadContext(context.Background(), into)
}

// ReadContext reads as Read does. The end of its context leaves the command running, and takes no bytes.
func (o *ProcessOutput) ReadContext(ctx context.Context, into []byte) (int, error) {
	if len(into) == 0 {
		return 0, nil
	}
	p := o.process
	for {
		p.mu.Lock()
		if p.useStreams(); p.mode == toEvents {
			p.mu.Unlock()
			return 0, invalid("the output of the command is read as events")
		}
		o.claimed = true
		if o.buffer.Len() > 0 {
			count, _ := o.buffer.Read(into)
			freed := count
			if freed > o.unacknowledged {
				freed = o.unacknowledged
			}
			o.unacknowledged -= freed
			p.consume(freed)
			p.mu.Unlock()
			return count, nil
		}
		ended, err, changed := p.ended, p.err, p.changed.wait()
		p.mu.Unlock()
		switch {
		case ended && err != nil:
			return 0, err
		case ended && o.dropped:
			return 0, errorf(CodeTooLarge, "more than %d bytes were not read, and dropped", maxUnreadBytes)
		case ended:
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, contextError(ctx, "reading the output of the command")
		}
	}
}

// drops reports whether output beyond the buffer is dropped.
func (o *ProcessOutput) drops() bool {
	return o.process.discards || (o.process.waited && !o.claimed)
}

// push adds output.
func (o *ProcessOutput) push(data []byte) {
	p := o.process
	switch {
	case p.limit >= 0 && p.stdout.buffer.Len()+p.stderr.buffer.Len()+len(data) > p.limit:
		p.consume(len(data))
		p.stopLocked(errorf(CodeTooLarge, "the command wrote more than %d bytes", p.limit))
		return
	case p.limit < 0 && o.drops() && o.buffer.Len()+len(data) > maxUnreadBytes:
		o.dropped = true
		p.consume(len(data))
		return
	}
	o.buffer.Write(data)
	o.unacknowledged += len(data)
	o.settle()
}

// settle acknowledges output that does not have to be read first. A stream that nothing reads takes a while to fill up,
// so that reading only the other one rarely makes the command wait.
func (o *ProcessOutput) settle() {
	if o.process.limit >= 0 || o.drops() || (!o.claimed && o.buffer.Len() <= maxUnreadBytes) {
		o.process.consume(o.unacknowledged)
		o.unacknowledged = 0
	}
}

// take returns the output that is left.
func (o *ProcessOutput) take() []byte {
	taken := append([]byte(nil), o.buffer.Bytes()...)
	o.buffer.Reset()
	return taken
}

// ProcessInput is the standard input of a command; it is an io.WriteCloser. Writing waits while the command does not read.
type ProcessInput struct {
	process *Process
	// turn keeps the pieces of concurrent writes together.
	turn semaphore
	open bool

	// These need the lock of the process.
	closed bool
	sent   int64
	taken  int64
	reason string
	failed bool
}

// Write writes all bytes. If the command has closed its input or has ended, the error has CodeStdinClosed.
func (i *ProcessInput) Write(data []byte) (int, error) {
	return i.WriteContext(context.Background(), data)
}

// WriteContext writes as Write does, until the end of the context.
func (i *ProcessInput) WriteContext(ctx context.Context, data []byte) (int, error) {
	if err := i.begin(ctx); err != nil {
		return 0, err
	}
	defer i.turn.release()
	written := 0
	for len(data) > 0 {
		piece := data
		if len(piece) > pieceBytes {
			piece = piece[:pieceBytes]
		}
		if err := i.await(ctx, len(piece)); err != nil {
			return written, err
		}
		if err := i.process.post(0, "core.exec.stdin", map[string]any{"data": piece}); err != nil {
			return written, err
		}
		if err := i.process.connection.drain(ctx); err != nil {
			return written, err
		}
		written += len(piece)
		data = data[len(piece):]
	}
	return written, nil
}

// begin waits for other writes.
func (i *ProcessInput) begin(ctx context.Context) error {
	if !i.open {
		return invalid("the standard input of the command is empty; start it with WithStdinPipe")
	}
	select {
	case i.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return contextError(ctx, "writing to the command")
	}
}

// await waits until the command has read enough for another piece, which it counts as sent.
func (i *ProcessInput) await(ctx context.Context, size int) error {
	p := i.process
	for {
		p.mu.Lock()
		var err error
		switch {
		case i.closed:
			err = errorf(CodeStdinClosed, "the input of the command is closed")
		case i.failed:
			err = errorf(CodeStdinClosed, "%s", i.reason)
		case p.ended && CodeOf(p.err) == CodeConnectionLost:
			err = p.err
		case p.ended:
			err = errorf(CodeStdinClosed, "the command has ended")
		}
		if err == nil && i.sent-i.taken+int64(size) <= inputWindowBytes {
			i.sent += int64(size)
			p.mu.Unlock()
			return nil
		}
		changed := p.changed.wait()
		p.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return contextError(ctx, "writing to the command")
		}
	}
}

// acknowledge counts input that the command has read. A guest may claim any number.
func (i *ProcessInput) acknowledge(count int64) {
	if count > i.sent {
		count = i.sent
	}
	if count > i.taken {
		i.taken = count
	}
}

func (i *ProcessInput) fail(reason string) {
	if i.reason = reason; reason == "" {
		i.reason = "the command has closed its input"
	}
	i.failed = true
}

// Close ends the input; with a terminal it sends the end-of-file character, and the input stays open. It waits for
// writes of other goroutines.
func (i *ProcessInput) Close() error {
	if !i.open {
		return nil
	}
	select {
	case i.turn <- struct{}{}:
		defer i.turn.release()
	case <-i.process.done:
		return nil
	}
	p := i.process
	p.mu.Lock()
	idle := i.closed || p.ended
	i.closed = !p.tty
	p.mu.Unlock()
	if idle {
		return nil
	}
	return p.post(0, "core.exec.stdin", map[string]any{"data": []byte{}})
}
