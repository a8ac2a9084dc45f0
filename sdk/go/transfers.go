package msb

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/msb-dev/msb/sdk/go/internal/wire"
)

// windowFrames is the most messages with data that are sent without an acknowledgement.
const windowFrames = 8

// FileReader is a file of the guest that is being read; it is an io.ReadCloser. The guest sends only as much as is read.
// Its methods must not be called from several goroutines at the same time, except for Close.
type FileReader struct {
	ctx      context.Context
	box      *mailbox
	path     string
	giveBack func()
	once     sync.Once
	closed   atomic.Bool
	frames   int
	rest     []byte
	stat     *FileStat
	err      error
}

// Open opens a regular file for reading. The end of the context ends the reading; close the reader.
func (f *Files) Open(ctx context.Context, path string) (reader *FileReader, err error) {
	err = whileBusy(ctx, func() error {
		reader, err = f.open(ctx, path)
		return err
	})
	return reader, err
}

func (f *Files) open(ctx context.Context, path string) (*FileReader, error) {
	request, err := request("read", path)
	if err != nil {
		return nil, err
	}
	link, giveBack, err := f.links.transfer(ctx)
	if err != nil {
		return nil, err
	}
	box, err := begin(link, "read files", request, featureFiles)
	if err != nil {
		giveBack()
		return nil, err
	}
	reader := &FileReader{ctx: ctx, box: box, path: path, giveBack: giveBack}
	// The first piece, so that a missing file is an error of this call.
	if reader.rest, err = reader.receive(ctx); err != nil && err != io.EOF {
		reader.Close()
		return nil, f.links.explain(ctx, err)
	}
	return reader, nil
}

// Read reads the next bytes.
func (r *FileReader) Read(into []byte) (int, error) {
	for len(r.rest) == 0 {
		if len(into) == 0 {
			return 0, nil
		}
		piece, err := r.receive(r.ctx)
		if err != nil {
			return 0, err
		}
		r.rest = piece
	}
	count := copy(into, r.rest)
	r.rest = r.rest[count:]
	return count, nil
}

// Next returns the next piece of at most 128 KiB, and io.EOF at the end.
func (r *FileReader) Next(ctx context.Context) ([]byte, error) {
	if piece := r.rest; len(piece) > 0 {
		r.rest = nil
		return piece, nil
	}
	return r.receive(ctx)
}

// Stat returns the metadata of the file, which is known after its end.
func (r *FileReader) Stat() (FileStat, bool) {
	if r.stat == nil {
		return FileStat{}, false
	}
	return *r.stat, true
}

// receive returns the next piece that is not empty.
func (r *FileReader) receive(ctx context.Context) ([]byte, error) {
	for r.err == nil {
		message, _, err := r.box.nextMessage(ctx)
		if r.closed.Load() {
			err = errorf(CodeClosed, "the reader of %s is closed", r.path)
		}
		if err != nil {
			r.finish(err)
			break
		}
		if message.Type != "core.fs.data" {
			r.finish(r.end(message.Payload, checkResponse(message, r.path)))
			break
		}
		piece, err := bytesIn(message.Payload)
		if err != nil {
			r.finish(err)
			break
		}
		r.frames++
		ack := map[string]any{"frames": r.frames}
		if err := r.box.connection.postMessage(r.box.id, 0, "core.fs.data.ack", ack); err != nil {
			r.finish(err)
		}
		if len(piece) > 0 {
			return piece, nil
		}
	}
	return nil, r.err
}

func (r *FileReader) end(payload map[string]any, err error) error {
	if err != nil {
		return err
	}
	stat, err := statOf(payload["stat"])
	if err != nil {
		return err
	}
	r.stat = &stat
	return io.EOF
}

func (r *FileReader) finish(err error) {
	r.err = err
	r.Close()
}

// Close ends the reading.
func (r *FileReader) Close() error {
	r.once.Do(func() {
		r.closed.Store(true)
		r.box.close()
		r.giveBack()
	})
	return nil
}

// FileWriter is a file of the guest that is being written; it is an io.WriteCloser. Its methods must not be called from
// several goroutines at the same time, except for Abort.
type FileWriter struct {
	ctx      context.Context
	box      *mailbox
	path     string
	giveBack func()
	once     sync.Once
	sent     int64
	taken    int64
	closed   bool
	aborted  atomic.Bool
	err      error
}

// Create opens a file for writing. It appears, or replaces an older one, when the writer is closed; Abort and the end of
// the context abandon it.
func (f *Files) Create(ctx context.Context, path string, options WriteOptions) (writer *FileWriter, err error) {
	err = whileBusy(ctx, func() error {
		writer, err = f.create(ctx, path, options)
		return err
	})
	return writer, err
}

func (f *Files) create(ctx context.Context, path string, options WriteOptions) (*FileWriter, error) {
	request, err := options.request("write", path, options.Parents)
	if err != nil {
		return nil, err
	}
	link, giveBack, err := f.links.transfer(ctx)
	if err != nil {
		return nil, err
	}
	box, err := begin(link, "write files", request, featureFiles)
	if err != nil {
		giveBack()
		return nil, err
	}
	writer := &FileWriter{ctx: ctx, box: box, path: path, giveBack: giveBack}
	if err := writer.accepted(ctx); err != nil {
		writer.Abort()
		return nil, f.links.explain(ctx, err)
	}
	return writer, nil
}

// accepted returns whether the guest has refused to begin. It answers messages of a connection in their order, so a
// refusal comes before the answer to a ping.
func (w *FileWriter) accepted(ctx context.Context) error {
	body, err := wire.EncodeBody("core.ping", map[string]any{})
	if err != nil {
		return err
	}
	ping, err := openMailbox(w.box.connection, 0, body, false)
	if err != nil {
		return err
	}
	defer ping.close()
	if _, _, err := ping.nextMessage(ctx); err != nil {
		return err
	}
	frame, taken, _, err := w.box.take()
	if !taken || err != nil {
		return err
	}
	message, err := decodeMessage(frame)
	if err != nil {
		return err
	}
	if err := checkResponse(message, w.path); err != nil {
		return err
	}
	return errorf(CodeProtocolError, "the guest completed %s before its end", w.path)
}

// Write writes all bytes.
func (w *FileWriter) Write(data []byte) (int, error) {
	if w.closed {
		return 0, errorf(CodeClosed, "the writer of %s is closed", w.path)
	}
	written := 0
	for len(data) > 0 {
		piece := data
		if len(piece) > pieceBytes {
			piece = piece[:pieceBytes]
		}
		if err := w.send(piece); err != nil {
			return written, err
		}
		written += len(piece)
		data = data[len(piece):]
	}
	return written, nil
}

// ReadFrom writes all that a reader has.
func (w *FileWriter) ReadFrom(from io.Reader) (int64, error) {
	buffer := make([]byte, pieceBytes)
	var total int64
	for {
		count, err := io.ReadFull(from, buffer)
		written, writeError := w.Write(buffer[:count])
		total += int64(written)
		if writeError != nil {
			return total, writeError
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func (w *FileWriter) send(piece []byte) error {
	for w.err == nil && w.sent-w.taken >= windowFrames {
		w.acknowledgement()
	}
	if w.err == nil {
		w.sent++
		err := w.box.connection.postMessage(w.box.id, 0, "core.fs.data", map[string]any{"data": piece})
		if err == nil {
			err = w.box.connection.drain(w.ctx)
		}
		if err != nil {
			w.finish(err)
		}
	}
	if w.err == io.EOF {
		return errorf(CodeProtocolError, "the guest completed %s before its end", w.path)
	}
	return w.err
}

// acknowledgement waits for the next answer; io.EOF becomes the error after the last one.
func (w *FileWriter) acknowledgement() {
	message, _, err := w.box.nextMessage(w.ctx)
	if err != nil {
		w.finish(err)
		return
	}
	if message.Type != "core.fs.data.ack" {
		if err = checkResponse(message, w.path); err == nil {
			err = io.EOF
		}
		w.finish(err)
		return
	}
	frames, err := integerIn(message.Payload, "frames")
	if err != nil {
		w.finish(err)
		return
	}
	if frames > w.sent {
		frames = w.sent
	}
	if frames > w.taken {
		w.taken = frames
	}
}

// Close completes the file. After an error of Write or after Abort it does nothing, and returns that error.
func (w *FileWriter) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	if w.err == nil && w.aborted.Load() {
		w.err = errorf(CodeClosed, "the writing of %s was abandoned", w.path)
	}
	if w.err != nil {
		return w.err
	}
	if err := w.send(nil); err != nil {
		return err
	}
	for w.err == nil {
		w.acknowledgement()
	}
	if w.err == io.EOF {
		return nil
	}
	return w.err
}

// Abort abandons the file, unless it is complete.
func (w *FileWriter) Abort() {
	w.once.Do(func() {
		w.aborted.Store(true)
		w.box.close()
		w.giveBack()
	})
}

func (w *FileWriter) finish(err error) {
	w.err = err
	w.Abort()
}
