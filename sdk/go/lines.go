package msb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync/atomic"
)

const (
	// maxLineBytes is the longest line of JSON, in bytes: a log line of 1 MiB, escaped.
	maxLineBytes = 16 * 1024 * 1024
	// queuedLines is the number of lines that wait for a reader before msb has to wait.
	queuedLines = 16
)

// jsonLines are the JSON lines of a running msb.
type jsonLines struct {
	child *child
	name  string
	lines chan json.RawMessage
	// done is closed after the last line; failure is the reason then, and io.EOF for an msb that has succeeded.
	done    chan struct{}
	failure error
	closed  atomic.Bool
}

// lines starts an msb whose context ends it.
func (c *cli) lines(ctx context.Context, run invocation) (*jsonLines, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, "msb "+run.args[0])
	}
	running, err := c.start(run)
	if err != nil {
		return nil, err
	}
	lines := &jsonLines{
		child: running,
		name:  run.name,
		lines: make(chan json.RawMessage, queuedLines),
		done:  make(chan struct{}),
	}
	go lines.read(ctx, "msb "+run.args[0])
	return lines, nil
}

func (l *jsonLines) read(ctx context.Context, what string) {
	defer close(l.done)
	stderr := &tailBuffer{limit: maxStderrBytes}
	stderrRead := make(chan struct{}, 1)
	go copyAll(stderr, l.child.stderr, stderrRead)
	defer l.child.stdout.Close()
	stopped := make(chan struct{})
	defer close(stopped)
	go func() {
		select {
		case <-ctx.Done():
			l.child.end()
		case <-stopped:
		}
	}()
	err := l.scan()
	if err != nil {
		l.child.end()
	}
	exitCode := l.child.exitCode()
	<-stderrRead
	switch {
	case ctx.Err() != nil:
		l.failure = contextError(ctx, what)
	case err != nil:
		l.failure = err
	case exitCode != 0:
		l.failure = failureOf(exitCode, stderr.Bytes(), l.name)
	default:
		l.failure = io.EOF
	}
}

// scan passes the lines on to the reader, until the end or until the stream is closed.
func (l *jsonLines) scan() error {
	scanner := bufio.NewScanner(pipeReader{l.child.stdout})
	scanner.Buffer(make([]byte, 0, 64*1024), maxLineBytes)
	for scanner.Scan() {
		line := bytes.TrimSpace(scanner.Bytes())
		if len(line) == 0 {
			continue
		}
		if !json.Valid(line) {
			return errorf(CodeProtocolError, "msb printed a line that is not JSON")
		}
		select {
		case l.lines <- append(json.RawMessage(nil), line...):
		case <-l.child.ended:
			return nil
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return errorf(CodeProtocolError, "msb printed a line of more than %d bytes", maxLineBytes)
	}
	return nil
}

// next decodes the next document; io.EOF is the end of an msb that has succeeded.
func (l *jsonLines) next(ctx context.Context, into any) error {
	var line json.RawMessage
	select {
	case line = <-l.lines:
	default:
		select {
		case line = <-l.lines:
		case <-ctx.Done():
			return contextError(ctx, "waiting for msb")
		case <-l.done:
			// The last lines may have come at the same time.
			select {
			case line = <-l.lines:
			default:
				return l.end()
			}
		}
	}
	return decodeDocument(line, into)
}

// end returns the reason of the end, after it.
func (l *jsonLines) end() error {
	if l.closed.Load() && l.failure != io.EOF {
		return errorf(CodeClosed, "the stream is closed")
	}
	return l.failure
}

// close ends msb, and waits for its end, which takes at most a few seconds.
func (l *jsonLines) close() {
	if l.closed.Swap(true) {
		return
	}
	l.child.end()
	<-l.done
	// Lines that were not taken are dropped.
	for {
		select {
		case <-l.lines:
		default:
			return
		}
	}
}
