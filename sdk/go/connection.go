package msb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/msb-dev/msb/sdk/go/internal/wire"
)

const (
	// connectTimeout limits connecting and the handshake, unless the caller has another limit.
	connectTimeout = 10 * time.Second
	// maxSocketPath is the longest path of a Unix socket on Linux, in bytes.
	maxSocketPath = 107
	// maxStarting is the most commands that are being started at the same time.
	maxStarting = 64
	// readBytes is the size of one read from the socket.
	readBytes = 256 * 1024
	// lastReadTimeout is the time to read the relay's last frames, with the reason, after a write has failed.
	lastReadTimeout = 2 * time.Second
)

// session receives the frames of one id. The connection calls it from one goroutine.
type session interface {
	setID(id uint32)
	onFrame(frame wire.Frame)
	onLost(err error)
}

// connection is a connection to a sandbox's relay, after the handshake. On accept the relay sends
// id_start u32 BE | id_end_exclusive u32 BE | the cached core.ready frame; then both sides send frames.
type connection struct {
	socket     net.Conn
	idStart    uint32
	idEnd      uint32
	ready      Ready
	readyBytes []byte
	outbox     *outbox
	// starting limits the commands that are being started, each of which takes memory of the guest.
	starting semaphore
	// heard is the time of the last bytes from the relay, in nanoseconds since 1970.
	heard atomic.Int64
	// lost is closed at the end of the connection, after failure is set.
	lost    chan struct{}
	failure onceError

	mu       sync.Mutex
	nextID   uint32
	sessions map[uint32]session
	reason   string
	onEnd    func()
}

// dial connects and waits for the handshake, and so for a guest that boots, within the limit.
func dial(ctx context.Context, path string, limit time.Duration) (*connection, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	socket, err := dialSocket(limited, path)
	if err != nil {
		return nil, dialError(ctx, limited, path, err)
	}
	// A socket whose deadline has passed wakes its reader.
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-limited.Done():
			_ = socket.SetDeadline(time.Unix(1, 0))
		case <-stop:
		}
	}()
	c, decoder, err := shake(socket)
	close(stop)
	<-stopped
	if err == nil && limited.Err() != nil {
		err = limited.Err()
	}
	if err != nil {
		socket.Close()
		if limited.Err() != nil {
			return nil, dialError(ctx, limited, path, err)
		}
		return nil, err
	}
	_ = socket.SetDeadline(time.Time{})
	c.heard.Store(time.Now().UnixNano())
	c.outbox = newOutbox(socket, func(error) { _ = socket.SetReadDeadline(time.Now().Add(lastReadTimeout)) })
	go c.read(decoder)
	return c, nil
}

func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	target := path
	if len(path) > maxSocketPath {
		// A path through the descriptor of its folder is short.
		folder, err := os.Open(filepath.Dir(path))
		if err != nil {
			return nil, err
		}
		defer folder.Close()
		target = fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), filepath.Base(path))
	}
	return new(net.Dialer).DialContext(ctx, "unix", target)
}

func dialError(ctx, limited context.Context, path string, cause error) error {
	switch {
	case ctx.Err() != nil:
		return contextError(ctx, "connecting to the relay "+path)
	case limited.Err() != nil:
		return errorf(CodeTimedOut, "the relay %s did not answer in time", path)
	case errors.Is(cause, os.ErrNotExist) || errors.Is(cause, syscall.ECONNREFUSED):
		err := errorf(CodeSandboxNotRunning, "the sandbox does not run: there is no relay at %s", path)
		err.cause = cause
		return err
	default:
		err := errorf(CodeHandshakeFailed, "cannot connect to the relay %s: %v", path, cause)
		err.cause = cause
		return err
	}
}

// shake reads the relay's greeting.
func shake(socket net.Conn) (*connection, *wire.Decoder, error) {
	decoder := &wire.Decoder{}
	buffer := make([]byte, 4096)
	var ids []byte
	for {
		count, err := socket.Read(buffer)
		decoder.Feed(buffer[:count])
		if ids == nil {
			ids = decoder.Take(8)
		}
		if ids != nil {
			frame, complete, frameError := decoder.Next()
			if frameError != nil {
				return nil, nil, errorf(CodeHandshakeFailed, "the relay began with an invalid frame: %v", frameError)
			}
			if complete {
				c, err := greeted(socket, ids, frame)
				return c, decoder, err
			}
		}
		if err != nil {
			return nil, nil, errorf(CodeHandshakeFailed, "the relay closed the connection in the handshake")
		}
	}
}

func greeted(socket net.Conn, ids []byte, frame wire.Frame) (*connection, error) {
	message, err := wire.DecodeBody(frame.Body)
	if err != nil {
		return nil, errorf(CodeHandshakeFailed, "the relay began with a malformed message: %v", err)
	}
	if message.Type == "core.error" {
		return nil, errorf(CodeHandshakeFailed, "the relay refused the connection: %s", textIn(message.Payload, "message"))
	}
	if message.Type != "core.ready" || frame.ID != 0 {
		return nil, errorf(CodeHandshakeFailed, "the relay began with %.64q instead of core.ready", message.Type)
	}
	start, end := binary.BigEndian.Uint32(ids), binary.BigEndian.Uint32(ids[4:])
	if start == 0 || start >= end {
		return nil, errorf(CodeHandshakeFailed, "the relay's range of ids is invalid: %d to %d", start, end)
	}
	ready, err := readyOf(message.Payload)
	if err != nil {
		return nil, errorf(CodeHandshakeFailed, "the relay began with an invalid core.ready: %v", err)
	}
	encoded, err := frame.Encode()
	if err != nil {
		return nil, errorf(CodeHandshakeFailed, "%v", err)
	}
	return &connection{
		socket:     socket,
		idStart:    start,
		idEnd:      end,
		ready:      ready,
		readyBytes: encoded,
		starting:   make(semaphore, maxStarting),
		lost:       make(chan struct{}),
		nextID:     start,
		sessions:   map[uint32]session{},
	}, nil
}

func (c *connection) read(decoder *wire.Decoder) {
	buffer := make([]byte, readBytes)
	for {
		for {
			frame, complete, err := decoder.Next()
			if err != nil {
				c.end(errorf(CodeInvalidFrame, "%v", err))
				return
			}
			if !complete {
				break
			}
			c.dispatch(frame)
		}
		count, err := c.socket.Read(buffer)
		if count > 0 {
			c.heard.Store(time.Now().UnixNano())
			decoder.Feed(buffer[:count])
		} else if err != nil {
			c.end(c.lostError(err))
			return
		}
	}
}

func (c *connection) dispatch(frame wire.Frame) {
	if frame.ID == 0 {
		message, err := wire.DecodeBody(frame.Body)
		if err == nil && message.Type == "core.error" {
			c.mu.Lock()
			c.reason = textIn(message.Payload, "message")
			c.mu.Unlock()
		}
		return
	}
	c.mu.Lock()
	receiver := c.sessions[frame.ID]
	if frame.Flags&wire.FlagTerminal != 0 {
		delete(c.sessions, frame.ID)
	}
	c.mu.Unlock()
	// Frames of ids without a session are late answers.
	if receiver != nil {
		receiver.onFrame(frame)
	}
}

func (c *connection) lostError(cause error) error {
	c.mu.Lock()
	why := c.reason
	c.mu.Unlock()
	if why == "" && !errors.Is(cause, io.EOF) && !errors.Is(cause, syscall.ECONNRESET) {
		why = cause.Error()
	}
	err := errorf(CodeConnectionLost, "the sandbox ended, or its relay closed the connection")
	if why != "" {
		err.Message += ": " + why
	}
	return err
}

func (c *connection) end(err error) {
	if !c.failure.set(err) {
		return
	}
	close(c.lost)
	c.socket.Close()
	c.outbox.close(err)
	c.mu.Lock()
	sessions := c.sessions
	c.sessions = nil
	onEnd := c.onEnd
	c.mu.Unlock()
	for _, receiver := range sessions {
		receiver.onLost(err)
	}
	if onEnd != nil {
		onEnd()
	}
}

// whenEnded calls a function at the end of the connection, or now if it has ended.
func (c *connection) whenEnded(action func()) {
	c.mu.Lock()
	ended := c.sessions == nil
	if !ended {
		c.onEnd = action
	}
	c.mu.Unlock()
	if ended {
		action()
	}
}

// close ends the connection, and with it every session: the relay ends their commands.
func (c *connection) close() {
	c.end(errorf(CodeClosed, "this client has been closed"))
}

// register allots an id for a session.
func (c *connection) register(receiver session) (uint32, error) {
	if err := c.failure.get(); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nextID >= c.idEnd {
		return 0, errorf(CodeIDsExhausted, "this connection has used all its session ids; open another one")
	}
	if c.sessions == nil {
		return 0, c.failure.get()
	}
	id := c.nextID
	c.nextID++
	receiver.setID(id)
	c.sessions[id] = receiver
	return id, nil
}

// forget drops all further frames of a session.
func (c *connection) forget(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, id)
}

// post queues a frame without waiting.
func (c *connection) post(id uint32, flags byte, body []byte) error {
	encoded, err := wire.Frame{ID: id, Flags: flags, Body: body}.Encode()
	if err != nil {
		return errorf(CodeInvalidFrame, "%v", err)
	}
	return c.outbox.post(encoded)
}

// postMessage queues a message without waiting.
func (c *connection) postMessage(id uint32, flags byte, kind string, payload any) error {
	body, err := wire.EncodeBody(kind, payload)
	if err != nil {
		return invalid("%s cannot be encoded: %v", kind, err)
	}
	return c.post(id, flags, body)
}

// drain waits until the relay has read most of what was sent.
func (c *connection) drain(ctx context.Context) error {
	return c.outbox.drain(ctx)
}

// require returns an error if the guest's agent has not reported a feature.
func (c *connection) require(feature, operation string) error {
	for _, known := range c.ready.Features {
		if known == feature {
			return nil
		}
	}
	version := ""
	if c.ready.AgentVersion != "" {
		version = " " + c.ready.AgentVersion
	}
	return errorf(CodeUnsupported, "the sandbox's agent%s cannot %s", version, operation)
}
