package msb

import (
	"context"
	"net"
	"sync"
)

const (
	// outboxBytes is the size of the queue above which senders wait.
	outboxBytes = 4 * 1024 * 1024
	// maxOutboxBytes is the size of the queue at which the relay has stopped reading for good: signals and
	// acknowledgements never wait.
	maxOutboxBytes = 64 * 1024 * 1024
)

// outbox writes frames to a socket from one goroutine, so that no caller hangs in a write.
type outbox struct {
	mu      sync.Mutex
	frames  net.Buffers
	bytes   int
	writing bool
	// broken is whether a write has failed. The sessions learn of the end from the reading side, which may know the reason.
	broken  bool
	err     error
	changed broadcast
	socket  net.Conn
	onError func(error)
}

func newOutbox(socket net.Conn, onError func(error)) *outbox {
	return &outbox{socket: socket, onError: onError}
}

// post queues a frame.
func (o *outbox) post(frame []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	if o.broken {
		return nil
	}
	if o.bytes > maxOutboxBytes {
		return errorf(CodeConnectionLost, "the relay has stopped reading")
	}
	o.frames = append(o.frames, frame)
	o.bytes += len(frame)
	if !o.writing {
		o.writing = true
		go o.write()
	}
	return nil
}

// write writes until the queue is empty.
func (o *outbox) write() {
	for {
		o.mu.Lock()
		frames := o.frames
		o.frames = nil
		if len(frames) == 0 || o.err != nil {
			o.writing = false
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
		written, err := frames.WriteTo(o.socket)
		o.mu.Lock()
		o.bytes -= int(written)
		failed := err != nil && o.err == nil
		if failed {
			o.broken = true
			o.frames, o.bytes = nil, 0
		}
		o.changed.wake()
		o.mu.Unlock()
		if failed {
			o.onError(err)
		}
	}
}

// drain waits until the queue is short.
func (o *outbox) drain(ctx context.Context) error {
	for {
		o.mu.Lock()
		err, long, changed := o.err, o.bytes > outboxBytes, o.changed.wait()
		o.mu.Unlock()
		if err != nil || !long {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return contextError(ctx, "sending to the guest")
		}
	}
}

// close has all later calls fail.
func (o *outbox) close(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
	o.frames, o.bytes = nil, 0
	o.changed.wake()
}
