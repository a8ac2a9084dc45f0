package wire_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/msb-dev/msb/sdk/go/internal/vectors"
	"github.com/msb-dev/msb/sdk/go/internal/wire"
)

func TestFrames(t *testing.T) {
	for name, each := range vectors.Load(t).Frames {
		data := vectors.Bytes(t, each.Hex)
		for _, chunk := range []int{1, 2, 7, len(data)} {
			frame := decodeInChunks(t, name, data, chunk)
			if frame.ID != each.ID || frame.Flags != each.Flags {
				t.Errorf("%s has id %d and flags %d", name, frame.ID, frame.Flags)
			}
			if encoded, err := frame.Encode(); err != nil || !bytes.Equal(encoded, data) {
				t.Errorf("%s is encoded as %x: %v", name, encoded, err)
			}
			message, err := wire.DecodeBody(frame.Body)
			if each.Type == nil {
				if err == nil {
					t.Errorf("%s is decoded as %#v", name, message)
				}
				continue
			}
			if err != nil || message.Type != *each.Type || message.Version != wire.Generation {
				t.Errorf("%s is decoded as %#v: %v", name, message, err)
			}
			if wanted := vectors.Plain(vectors.Ordered(t, each.Payload)); !reflect.DeepEqual(message.Payload, wanted) {
				t.Errorf("%s has the payload %#v instead of %#v", name, message.Payload, wanted)
			}
		}
	}
}

func decodeInChunks(t *testing.T, name string, data []byte, chunk int) wire.Frame {
	decoder := &wire.Decoder{}
	for at := 0; at < len(data); at += chunk {
		end := at + chunk
		if end > len(data) {
			end = len(data)
		}
		decoder.Feed(data[at:end])
		frame, complete, err := decoder.Next()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if complete != (end == len(data)) {
			t.Fatalf("%s is complete after %d of %d bytes", name, end, len(data))
		}
		if complete {
			return frame
		}
	}
	t.Fatalf("%s is not complete", name)
	return wire.Frame{}
}

func TestInvalidFrames(t *testing.T) {
	for _, each := range vectors.Load(t).FramesInvalid {
		decoder := &wire.Decoder{}
		decoder.Feed(vectors.Bytes(t, each.Hex))
		if _, _, err := decoder.Next(); !errors.Is(err, wire.ErrFrame) {
			t.Errorf("%s: %v", each.Name, err)
		}
	}
	if _, err := (wire.Frame{Body: make([]byte, wire.MaxBodyBytes+1)}).Encode(); !errors.Is(err, wire.ErrFrame) {
		t.Errorf("a frame that is too large is encoded: %v", err)
	}
	if _, err := (wire.Frame{Body: make([]byte, wire.MaxBodyBytes)}).Encode(); err != nil {
		t.Errorf("the largest frame: %v", err)
	}
}

func FuzzFrames(f *testing.F) {
	for _, each := range vectors.Load(f).Frames {
		f.Add(vectors.Bytes(f, each.Hex), byte(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, chunk byte) {
		decoder := &wire.Decoder{}
		for len(data) > 0 {
			end := int(chunk)%len(data) + 1
			decoder.Feed(data[:end])
			data = data[end:]
			for {
				frame, complete, err := decoder.Next()
				if err != nil {
					return
				}
				if !complete {
					break
				}
				_, _ = wire.DecodeBody(frame.Body)
			}
		}
	})
}
