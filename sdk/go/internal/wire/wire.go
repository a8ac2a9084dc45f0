// Package wire has the frames of the relay's protocol and their bodies.
//
// A frame is len u32 BE | id u32 BE | flags u8 | body, where len counts id, flags and body. The body is the CBOR of
// {v, t, p}: generation, type of the message, and the CBOR of the payload in a byte string.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/msb-dev/msb/sdk/go/internal/cbor"
)

const (
	// FlagTerminal marks the last frame of its session.
	FlagTerminal = 1
	// FlagSessionStart marks the first frame of a session.
	FlagSessionStart = 2
	// FlagShutdown marks a request to end the whole sandbox.
	FlagShutdown = 4

	// Generation is the generation of the messages.
	Generation = 1
	// MaxLen is the largest len, in bytes.
	MaxLen = 4 * 1024 * 1024
	// MinLen is the smallest len, in bytes: id and flags with an empty body.
	MinLen = 5
	// MaxBodyBytes is the largest body, in bytes.
	MaxBodyBytes = MaxLen - MinLen

	headerBytes = 9
)

// ErrFrame is the error of a frame that is too short or too large.
var ErrFrame = errors.New("invalid frame")

// Frame is one frame.
type Frame struct {
	ID    uint32
	Flags byte
	Body  []byte
}

// Encode returns the bytes on the wire.
func (f Frame) Encode() ([]byte, error) {
	length := len(f.Body) + MinLen
	if length > MaxLen {
		return nil, fmt.Errorf("%w: its %d bytes are more than the %d bytes allowed", ErrFrame, length, MaxLen)
	}
	out := make([]byte, headerBytes, headerBytes+len(f.Body))
	binary.BigEndian.PutUint32(out, uint32(length))
	binary.BigEndian.PutUint32(out[4:], f.ID)
	out[8] = f.Flags
	return append(out, f.Body...), nil
}

// Decoder splits a stream into frames, in whatever chunks its bytes arrive.
//
// It buffers only bytes that have arrived, whatever length a header announces.
type Decoder struct {
	buffer []byte
	at     int
}

// Feed appends the next bytes of the stream.
func (d *Decoder) Feed(data []byte) {
	if d.at > 0 {
		d.buffer = d.buffer[:copy(d.buffer, d.buffer[d.at:])]
		d.at = 0
	}
	d.buffer = append(d.buffer, data...)
}

// Take returns and removes the next bytes, or nil if more bytes are needed.
func (d *Decoder) Take(count int) []byte {
	if len(d.buffer)-d.at < count {
		return nil
	}
	taken := append([]byte(nil), d.buffer[d.at:d.at+count]...)
	d.at += count
	return taken
}

// Next returns the next complete frame; false if more bytes are needed. After an error the stream is useless.
func (d *Decoder) Next() (Frame, bool, error) {
	available := d.buffer[d.at:]
	if len(available) < 4 {
		return Frame{}, false, nil
	}
	length := binary.BigEndian.Uint32(available)
	if length < MinLen {
		return Frame{}, false, fmt.Errorf("%w: its %d bytes are fewer than the %d bytes of its header", ErrFrame, length, MinLen)
	}
	if length > MaxLen {
		return Frame{}, false, fmt.Errorf("%w: its %d bytes are more than the %d bytes allowed", ErrFrame, length, MaxLen)
	}
	end := 4 + int(length)
	if len(available) < end {
		return Frame{}, false, nil
	}
	frame := Frame{
		ID:    binary.BigEndian.Uint32(available[4:]),
		Flags: available[8],
		// A copy, as the buffer is used again.
		Body: append([]byte(nil), available[headerBytes:end]...),
	}
	d.at += end
	return frame, true, nil
}

// Message is a decoded body.
type Message struct {
	// Version is the sender's generation.
	Version int64
	Type    string
	Payload map[string]any
}

// EncodeBody encodes the envelope of a message. The payload is a cbor.Map or a map[string]any.
func EncodeBody(kind string, payload any) ([]byte, error) {
	encoded, err := cbor.Encode(payload)
	if err != nil {
		return nil, err
	}
	return cbor.Encode(cbor.Map{{Key: "v", Value: Generation}, {Key: "t", Value: kind}, {Key: "p", Value: encoded}})
}

// DecodeBody decodes an envelope and its payload, which may be no bytes, null or a map. Unknown keys are kept.
func DecodeBody(body []byte) (Message, error) {
	value, err := cbor.Decode(body)
	if err != nil {
		return Message{}, fmt.Errorf("a message is not valid CBOR: %w", err)
	}
	envelope, isMap := textMap(value)
	if !isMap {
		return Message{}, errors.New("the envelope of a message is not a map")
	}
	version, hasVersion := envelope["v"].(int64)
	kind, hasKind := envelope["t"].(string)
	encoded, hasPayload := envelope["p"].([]byte)
	if !hasVersion || !hasKind || !hasPayload {
		return Message{}, errors.New("the envelope of a message is not {v, t, p}")
	}
	message := Message{Version: version, Type: kind, Payload: map[string]any{}}
	if len(encoded) == 0 {
		return message, nil
	}
	value, err = cbor.Decode(encoded)
	if err != nil {
		return Message{}, fmt.Errorf("the payload of a message is not valid CBOR: %w", err)
	}
	if value == nil {
		return message, nil
	}
	if message.Payload, isMap = textMap(value); !isMap {
		return Message{}, errors.New("the payload of a message is not a map")
	}
	return message, nil
}

// textMap returns the entries of a map whose keys are texts; a later peer may add others, which have no meaning here.
func textMap(value any) (map[string]any, bool) {
	switch value := value.(type) {
	case map[string]any:
		return value, true
	case map[any]any:
		texts := make(map[string]any, len(value))
		for key, item := range value {
			if text, isText := key.(string); isText {
				texts[text] = item
			}
		}
		return texts, true
	default:
		return nil, false
	}
}
