package msb

import (
	"time"

	"github.com/msb-dev/msb/sdk/go/internal/wire"
)

var execFailureKinds = map[string]bool{
	"not_found":         true,
	"permission_denied": true,
	"not_executable":    true,
	"bad_cwd":           true,
	"bad_args":          true,
	"resource_limit":    true,
	"user_setup_failed": true,
	"out_of_memory":     true,
	"pty_setup_failed":  true,
}

func (p *Process) setID(id uint32) { p.id = id }

func (p *Process) onFrame(frame wire.Frame) {
	message, err := decodeMessage(frame)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	if err == nil {
		err = p.receive(message, frame.Flags&wire.FlagTerminal != 0)
	}
	if err != nil {
		p.finish(ExitStatus{}, err)
	}
	p.changed.wake()
}

func (p *Process) onLost(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish(ExitStatus{}, err)
}

// receive handles a message; its error ends the session.
func (p *Process) receive(message wire.Message, terminal bool) error {
	payload := message.Payload
	switch message.Type {
	case "core.exec.started":
		pid, err := integerIn(payload, "pid")
		if err != nil {
			return err
		}
		p.pid, p.started = int(pid), true
		p.event(Event{Kind: EventStarted, PID: p.pid})
	case "core.exec.stdout", "core.exec.stderr":
		data, err := bytesIn(payload)
		if err != nil {
			return err
		}
		return p.receiveOutput(message.Type == "core.exec.stderr", data)
	case "core.exec.stdin.ack":
		count, err := integerIn(payload, "bytes")
		if err != nil {
			return err
		}
		p.stdin.acknowledge(count)
	case "core.exec.stdin.error":
		reason := textIn(payload, "message")
		p.stdin.fail(reason)
		p.event(Event{Kind: EventStdinError, Message: reason})
	case "core.exec.exited":
		code, err := integerIn(payload, "code")
		if err != nil {
			return err
		}
		status := ExitStatus{ExitCode: int(code), Signal: Signal(smallIn(payload, "signal"))}
		p.event(Event{Kind: EventExited, Status: status})
		p.finish(status, nil)
		return nil
	case "core.exec.failed":
		return execFailure(payload)
	case "core.error":
		// A refused message of a running command, such as a late signal, does not end it.
		if terminal || !p.started {
			return refusal(payload)
		}
	}
	if terminal {
		return errorf(CodeProtocolError, "the guest ended the command without an exit code")
	}
	return nil
}

func execFailure(payload map[string]any) error {
	kind := textIn(payload, "kind")
	if !execFailureKinds[kind] {
		kind = "other"
	}
	err := errorf(CodeExecFailed, "%s", textIn(payload, "message"))
	if err.Message == "" {
		err.Message = "the command could not be started"
	}
	return &ExecFailedError{
		Err:       err,
		Kind:      kind,
		Errno:     smallIn(payload, "errno"),
		ErrnoName: textIn(payload, "errno_name"),
		Stage:     textIn(payload, "stage"),
	}
}

// refusal returns the error of a core.error.
func refusal(payload map[string]any) error {
	code := CodeFailed
	switch payload["kind"] {
	case "unsupported_type":
		code = CodeUnsupported
	case "unavailable":
		code = CodeUnresponsive
	}
	return errorf(code, "the guest refused: %s", textIn(payload, "message"))
}

func (p *Process) receiveOutput(toStderr bool, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if p.mode == toStreams {
		stream := p.stdout
		if toStderr {
			stream = p.stderr
		}
		stream.push(data)
		if p.limit < 0 && stream.buffer.Len() > maxUnreadBytes+maxQueuedBytes {
			return p.flooded()
		}
		return nil
	}
	if p.discards {
		p.consume(len(data))
		return nil
	}
	kind := EventStdout
	if toStderr {
		kind = EventStderr
	}
	p.event(Event{Kind: kind, Data: data})
	if p.queued > maxQueuedBytes {
		return p.flooded()
	}
	return nil
}

func (p *Process) flooded() error {
	p.sendSignal(SIGKILL)
	return errorf(CodeProtocolError, "the guest sent more output than its window allows")
}

// event queues an event, or adds its data to the last one: many small pieces would take much memory.
func (p *Process) event(event Event) {
	if p.mode == toStreams {
		return
	}
	if last := len(p.events) - 1; last >= 0 && len(event.Data) > 0 && p.events[last].Kind == event.Kind {
		if queued := &p.events[last]; len(queued.Data)+len(event.Data) <= maxEventBytes {
			queued.Data = append(queued.Data, event.Data...)
			p.queued += len(event.Data)
			return
		}
	}
	p.events = append(p.events, event)
	p.queued += len(event.Data) + frameOverhead
}

// useStreams decides that the output goes to the streams, unless it goes to the events already.
func (p *Process) useStreams() {
	if p.mode != undecided {
		return
	}
	p.mode = toStreams
	for _, event := range p.events {
		switch event.Kind {
		case EventStdout:
			p.stdout.push(event.Data)
		case EventStderr:
			p.stderr.push(event.Data)
		}
	}
	p.events, p.queued = nil, 0
}

// consume counts output that has reached the caller, and lets the guest send as much again.
func (p *Process) consume(count int) {
	p.taken += uint64(count)
	if p.taken-p.acked >= ackBytes && !p.ended {
		p.acked = p.taken
		// The end of the connection reaches the waiters by onLost.
		_ = p.post(0, "core.exec.output.ack", map[string]any{"bytes": p.acked})
	}
}

// discard has the command never wait for a reader.
func (p *Process) discard() {
	if p.discards {
		return
	}
	p.discards = true
	if p.mode == toStreams {
		p.stdout.settle()
		p.stderr.settle()
		return
	}
	kept := p.events[:0]
	for _, event := range p.events {
		if event.Kind == EventStdout || event.Kind == EventStderr {
			p.queued -= len(event.Data) + frameOverhead
			p.consume(len(event.Data))
		} else {
			kept = append(kept, event)
		}
	}
	p.events = kept
}

func (p *Process) stop(reason error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopLocked(reason)
}

// stopLocked begins to end the command; a reason becomes the error of the waiters.
func (p *Process) stopLocked(reason error) {
	if p.ended {
		return
	}
	if p.stopReason == nil {
		p.stopReason = reason
	}
	if p.stopping {
		return
	}
	p.stopping = true
	p.discard()
	p.sendSignal(SIGTERM)
	kill := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sendSignal(SIGKILL)
	}
	giveUp := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.finish(ExitStatus{}, errorf(CodeUnresponsive, "the guest did not report the end of the killed command"))
	}
	p.timers = append(p.timers, time.AfterFunc(p.grace, kill), time.AfterFunc(p.grace+endTimeout, giveUp))
}

func (p *Process) sendSignal(signal Signal) {
	if !p.ended {
		_ = p.post(0, "core.exec.signal", map[string]any{"signal": int(signal)})
	}
}

// finish sets the end. Only the first call has an effect.
func (p *Process) finish(status ExitStatus, err error) {
	if p.ended {
		return
	}
	p.ended, p.status, p.err = true, status, err
	if p.stopReason != nil {
		p.err = p.stopReason
	}
	for _, timer := range p.timers {
		timer.Stop()
	}
	p.connection.forget(p.id)
	close(p.done)
	p.changed.wake()
}
