// Package vectors reads the test vectors that the SDKs of all languages share.
package vectors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/msb-dev/msb/sdk/go/internal/cbor"
)

// Value is a CBOR value with its encoding.
type Value struct {
	Name  string          `json:"name"`
	Hex   string          `json:"hex"`
	Value json.RawMessage `json:"value"`
}

// Frame is a frame.
type Frame struct {
	Hex     string          `json:"hex"`
	ID      uint32          `json:"id"`
	Flags   byte            `json:"flags"`
	Type    *string         `json:"type"`
	Payload json.RawMessage `json:"payload"`
}

// File is the file of vectors.
type File struct {
	CBOR           []Value          `json:"cbor"`
	CBORDecodeOnly []Value          `json:"cbor_decode_only"`
	CBORInvalid    []Value          `json:"cbor_invalid"`
	Frames         map[string]Frame `json:"frames"`
	FramesInvalid  []Value          `json:"frames_invalid"`
}

// Kit returns the folder of the conformance kit, and skips the test without it.
func Kit(t testing.TB) string {
	_, file, _, _ := runtime.Caller(0)
	folder := filepath.Join(filepath.Dir(file), "../../../conformance")
	if _, err := os.Stat(folder); err != nil {
		t.Skip("the conformance kit is not here")
	}
	return folder
}

// Load reads the vectors.
func Load(t testing.TB) File {
	data, err := os.ReadFile(filepath.Join(Kit(t), "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file File
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

// Bytes decodes hexadecimal digits.
func Bytes(t testing.TB, text string) []byte {
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Ordered reads JSON with $hex, $int and $float; objects become a cbor.Map in their order.
func Ordered(t testing.TB, raw json.RawMessage) any {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	value, err := next(decoder)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func next(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Number:
		return integer(token.String())
	case json.Delim:
		if token == '[' {
			items := []any{}
			for decoder.More() {
				item, err := next(decoder)
				if err != nil {
					return nil, err
				}
				items = append(items, item)
			}
			_, err := decoder.Token()
			return items, err
		}
		entries := cbor.Map{}
		for decoder.More() {
			key, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			value, err := next(decoder)
			if err != nil {
				return nil, err
			}
			entries = append(entries, cbor.Entry{Key: key, Value: value})
		}
		if _, err := decoder.Token(); err != nil {
			return nil, err
		}
		return special(entries)
	default:
		return token, nil
	}
}

func special(entries cbor.Map) (any, error) {
	if len(entries) != 1 {
		return entries, nil
	}
	text := fmt.Sprint(entries[0].Value)
	switch entries[0].Key {
	case "$hex":
		return hex.DecodeString(text)
	case "$int":
		return integer(text)
	case "$float":
		return strconv.ParseFloat(text, 64)
	default:
		return entries, nil
	}
}

func integer(text string) (any, error) {
	if number, err := strconv.ParseInt(text, 10, 64); err == nil {
		return number, nil
	}
	return strconv.ParseUint(text, 10, 64)
}

// Plain replaces each cbor.Map by the map that decoding returns.
func Plain(value any) any {
	switch value := value.(type) {
	case []any:
		items := []any{}
		for _, item := range value {
			items = append(items, Plain(item))
		}
		return items
	case cbor.Map:
		entries := map[string]any{}
		for _, entry := range value {
			entries[entry.Key.(string)] = Plain(entry.Value)
		}
		return entries
	default:
		return value
	}
}
