package msb

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/msb-dev/msb/sdk/go/internal/wire"
)

// Only tests change these.
var (
	// pingInterval is the time between pings of a guest that is waited for.
	pingInterval = 5 * time.Second
	// answerTimeout is the longest silence of a guest that is waited for.
	answerTimeout = 20 * time.Second
)

const (
	// maxQueuedBytes is the most bytes of frames that one session may queue.
	maxQueuedBytes = 16 * 1024 * 1024
	// frameOverhead is counted for each queued frame, in bytes.
	frameOverhead = 128
)

// mailbox is a session whose frames are taken one by one.
//
// If it pauses, a full queue stops the reading of the whole connection, as the raw tier has no other flow control.
// If not, a full queue ends the session: the guest sends more than it may.
type mailbox struct {
	connection *connection
	id         uint32
	pauses     bool

	mu      sync.Mutex
	frames  []wire.Frame
	bytes   int
	ended   bool
	err     error
	changed broadcast
}

// openMailbox starts a session with its first frame.
func openMailbox(c *connection, flags byte, body []byte, pauses bool) (*mailbox, error) {
	box := &mailbox{connection: c, pauses: pauses}
	id, err := c.register(box)
	if err != nil {
		return nil, err
	}
	if err := c.post(id, flags, body); err != nil {
		c.forget(id)
		return nil, err
	}
	return box, nil
}

func (m *mailbox) setID(id uint32) { m.id = id }

func (m *mailbox) onFrame(frame wire.Frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.pauses && m.bytes > maxQueuedBytes && !m.ended {
		changed := m.changed.wait()
		m.mu.Unlock()
		select {
		case <-changed:
		case <-m.connection.lost:
		}
		m.mu.Lock()
		if m.connection.failure.get() != nil {
			break
		}
	}
	if m.ended || m.err != nil {
		return
	}
	m.frames = append(m.frames, frame)
	m.bytes += len(frame.Body) + frameOverhead
	if m.bytes > maxQueuedBytes && !m.pauses {
		m.connection.forget(m.id)
		m.err = errorf(CodeProtocolError, "the guest sent more than was asked for")
	}
	m.changed.wake()
}

func (m *mailbox) onLost(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
	}
	m.changed.wake()
}

// take returns the next frame if there is one; false means that the caller has to wait. io.EOF is the end after the
// TERMINAL frame.
func (m *mailbox) take() (wire.Frame, bool, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case len(m.frames) > 0:
		frame := m.frames[0]
		m.frames[0] = wire.Frame{}
		m.frames = m.frames[1:]
		m.bytes -= len(frame.Body) + frameOverhead
		m.ended = frame.Flags&wire.FlagTerminal != 0
		m.changed.wake()
		return frame, true, nil, nil
	case m.ended:
		return wire.Frame{}, false, nil, io.EOF
	case m.err != nil:
		return wire.Frame{}, false, nil, m.err
	default:
		return wire.Frame{}, false, m.changed.wait(), nil
	}
}

// nextFrame waits for the next frame.
func (m *mailbox) nextFrame(ctx context.Context) (wire.Frame, error) {
	for {
		frame, taken, changed, err := m.take()
		if taken || err != nil {
			return frame, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return wire.Frame{}, contextError(ctx, "waiting for the guest")
		}
	}
}

// nextMessage waits for the next message of an operation, as long as the guest shows signs of life.
func (m *mailbox) nextMessage(ctx context.Context) (message wire.Message, terminal bool, err error) {
	watch := m.connection.watch()
	defer watch.stop()
	for {
		frame, taken, changed, err := m.take()
		if err == io.EOF {
			err = errorf(CodeProtocolError, "the guest ended the operation without an answer")
		}
		if err != nil {
			return wire.Message{}, false, err
		}
		if taken {
			message, err := decodeMessage(frame)
			return message, frame.Flags&wire.FlagTerminal != 0, err
		}
		if err := watch.await(ctx, changed); err != nil {
			return wire.Message{}, false, err
		}
	}
}

func decodeMessage(frame wire.Frame) (wire.Message, error) {
	message, err := wire.DecodeBody(frame.Body)
	if err != nil {
		return wire.Message{}, errorf(CodeProtocolError, "%v", err)
	}
	return message, nil
}

// close ends the receiving; later frames are dropped.
func (m *mailbox) close() {
	m.mu.Lock()
	m.ended = true
	m.frames, m.bytes = nil, 0
	m.changed.wake()
	m.mu.Unlock()
	m.connection.forget(m.id)
}

// watch pings a guest that is waited for.
type watch struct {
	connection *connection
	began      time.Time
	timer      *time.Timer
	pinged     bool
}

func (c *connection) watch() *watch {
	return &watch{connection: c, began: time.Now(), timer: time.NewTimer(pingInterval)}
}

func (w *watch) stop() { w.timer.Stop() }

// await waits until the channel is closed. It returns an error at the end of the context, or if the guest is silent.
func (w *watch) await(ctx context.Context, changed <-chan struct{}) error {
	for {
		select {
		case <-changed:
			return nil
		case <-ctx.Done():
			return contextError(ctx, "waiting for the guest")
		case <-w.timer.C:
		}
		w.timer.Reset(pingInterval)
		last := time.Unix(0, w.connection.heard.Load())
		if last.Before(w.began) {
			last = w.began
		}
		if silent := time.Since(last); w.pinged && silent > answerTimeout {
			return errorf(CodeUnresponsive, "the guest has not answered for %v", silent.Round(time.Second))
		}
		w.ping()
	}
}

// ping sends a ping, whose answer only counts as a sign of life.
func (w *watch) ping() {
	w.pinged = true
	body, err := wire.EncodeBody("core.ping", map[string]any{})
	if err == nil {
		// The waiter learns of the end of the connection from its session.
		_, _ = openMailbox(w.connection, 0, body, false)
	}
}
