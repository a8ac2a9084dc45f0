package cbor

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"
	"unicode/utf8"
)

// Encode encodes nil, bool, int, int64, uint32, uint64, float64, string, []byte, []any, []string, map[string]any and Map.
func Encode(value any) ([]byte, error) {
	return appendValue(make([]byte, 0, 64), value, 0)
}

func appendHead(out []byte, major byte, argument uint64) []byte {
	major <<= 5
	switch {
	case argument < infoUint8:
		return append(out, major|byte(argument))
	case argument <= math.MaxUint8:
		return append(out, major|infoUint8, byte(argument))
	case argument <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(out, major|(infoUint8+1)), uint16(argument))
	case argument <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(out, major|(infoUint8+2)), uint32(argument))
	default:
		return binary.BigEndian.AppendUint64(append(out, major|infoUint64), argument)
	}
}

func appendInt(out []byte, value int64) []byte {
	if value < 0 {
		// -1 - value, without an overflow for the smallest integer.
		return appendHead(out, majorNegative, ^uint64(value))
	}
	return appendHead(out, majorUint, uint64(value))
}

func appendText(out []byte, text string) ([]byte, error) {
	if !utf8.ValidString(text) {
		return nil, errNotUTF8
	}
	return append(appendHead(out, majorText, uint64(len(text))), text...), nil
}

func appendSimple(out []byte, simple byte) []byte {
	return append(out, majorSimple<<5|simple)
}

func appendValue(out []byte, value any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, errTooDeep
	}
	switch value := value.(type) {
	case nil:
		return appendSimple(out, simpleNull), nil
	case bool:
		if value {
			return appendSimple(out, simpleTrue), nil
		}
		return appendSimple(out, simpleFalse), nil
	case int:
		return appendInt(out, int64(value)), nil
	case int64:
		return appendInt(out, value), nil
	case uint32:
		return appendHead(out, majorUint, uint64(value)), nil
	case uint64:
		return appendHead(out, majorUint, value), nil
	case float64:
		return binary.BigEndian.AppendUint64(appendSimple(out, simpleDouble), math.Float64bits(value)), nil
	case string:
		return appendText(out, value)
	case []byte:
		return append(appendHead(out, majorBytes, uint64(len(value))), value...), nil
	case ByteString:
		return append(appendHead(out, majorBytes, uint64(len(value))), value...), nil
	case []string:
		out = appendHead(out, majorArray, uint64(len(value)))
		for _, text := range value {
			var err error
			if out, err = appendText(out, text); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		return appendArray(out, value, depth)
	case Map:
		return appendMap(out, value, depth)
	case map[string]any:
		return appendMap(out, sorted(value), depth)
	default:
		return nil, fmt.Errorf("a %T cannot be encoded", value)
	}
}

func appendArray(out []byte, items []any, depth int) ([]byte, error) {
	out = appendHead(out, majorArray, uint64(len(items)))
	for _, item := range items {
		var err error
		if out, err = appendValue(out, item, depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func appendMap(out []byte, entries Map, depth int) ([]byte, error) {
	out = appendHead(out, majorMap, uint64(len(entries)))
	for _, entry := range entries {
		var err error
		if out, err = appendValue(out, entry.Key, depth+1); err != nil {
			return nil, err
		}
		if out, err = appendValue(out, entry.Value, depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sorted returns the entries of a map by their keys, so that the encoding is always the same.
func sorted(values map[string]any) Map {
	entries := make(Map, 0, len(values))
	for key, value := range values {
		entries = append(entries, Entry{key, value})
	}
	sort.Slice(entries, func(a, b int) bool { return entries[a].Key.(string) < entries[b].Key.(string) })
	return entries
}
