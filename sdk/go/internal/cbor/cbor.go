// Package cbor encodes and decodes the subset of CBOR (RFC 8949) that the relay's protocol needs.
//
// The decoder treats its input as hostile: nesting, the number of items and announced lengths are bounded, and every
// malformed input is an error. Tags are skipped, including tag 64 around byte strings, and undefined is nil.
package cbor

import "errors"

const (
	// MaxDepth is the deepest nesting that is decoded or encoded. Valid messages need five levels.
	MaxDepth = 32
	// MaxItems is the most items in one document.
	MaxItems = 1 << 17
)

const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

const (
	infoUint8      = 24
	infoUint64     = 27
	infoIndefinite = 31

	simpleFalse     = 20
	simpleTrue      = 21
	simpleNull      = 22
	simpleUndefined = 23
	simpleHalf      = 25
	simpleSingle    = 26
	simpleDouble    = 27

	breakByte = 0xff
)

// Map is a map whose entries are encoded in this order.
type Map []Entry

// Entry is one entry of a Map.
type Entry struct {
	Key   any
	Value any
}

// ByteString is a byte string as the key of a decoded map, which a []byte cannot be.
type ByteString string

var (
	errCutOff   = errors.New("the value is cut off")
	errTooDeep  = errors.New("the value is nested too deeply")
	errTooMany  = errors.New("the value has too many items")
	errNotUTF8  = errors.New("a text is not valid UTF-8")
	errTwice    = errors.New("a map has a key twice")
	errKey      = errors.New("the key of a map is a list, a map or a float")
	errTooLarge = errors.New("an integer does not fit into 64 bits")
)
