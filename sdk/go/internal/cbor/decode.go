package cbor

import (
	"fmt"
	"math"
	"unicode/utf8"
)

// Decode decodes exactly one value. It returns nil, bool, int64, uint64 (beyond the range of int64), float64, string,
// []byte, []any, map[string]any, or map[any]any if a key is not a text. Byte strings share the memory of data.
func Decode(data []byte) (any, error) {
	decoder := decoder{data: data}
	value, err := decoder.value(0)
	if err != nil {
		return nil, err
	}
	if rest := len(data) - decoder.at; rest != 0 {
		return nil, fmt.Errorf("%d bytes follow the value", rest)
	}
	return value, nil
}

type decoder struct {
	data  []byte
	at    int
	items int
}

func (d *decoder) take(count uint64) ([]byte, error) {
	if count > uint64(len(d.data)-d.at) {
		return nil, errCutOff
	}
	start := d.at
	d.at += int(count)
	return d.data[start:d.at:d.at], nil
}

// head returns the major type and the additional information of the next item, and counts it.
func (d *decoder) head(depth int) (major, info byte, err error) {
	if depth > MaxDepth {
		return 0, 0, errTooDeep
	}
	if d.items++; d.items > MaxItems {
		return 0, 0, errTooMany
	}
	initial, err := d.take(1)
	if err != nil {
		return 0, 0, err
	}
	return initial[0] >> 5, initial[0] & 31, nil
}

// atBreak consumes the end of a value of indefinite length, if it is next.
func (d *decoder) atBreak() (bool, error) {
	if d.at >= len(d.data) {
		return false, errCutOff
	}
	if d.data[d.at] != breakByte {
		return false, nil
	}
	d.at++
	return true, nil
}

// argument returns the argument of a head.
func (d *decoder) argument(info byte) (uint64, error) {
	if info < infoUint8 {
		return uint64(info), nil
	}
	if info > infoUint64 {
		return 0, fmt.Errorf("the additional information %d is invalid here", info)
	}
	taken, err := d.take(1 << (info - infoUint8))
	if err != nil {
		return 0, err
	}
	var argument uint64
	for _, octet := range taken {
		argument = argument<<8 | uint64(octet)
	}
	return argument, nil
}

func (d *decoder) value(depth int) (any, error) {
	major, info, err := d.head(depth)
	if err != nil {
		return nil, err
	}
	switch major {
	case majorSimple:
		return d.simple(info)
	case majorBytes, majorText:
		if info == infoIndefinite {
			return d.chunks(major)
		}
	case majorArray:
		if info == infoIndefinite {
			return d.openArray(depth)
		}
	case majorMap:
		if info == infoIndefinite {
			return d.entries(math.MaxUint64, depth)
		}
	}
	argument, err := d.argument(info)
	if err != nil {
		return nil, err
	}
	switch major {
	case majorUint:
		if argument > math.MaxInt64 {
			return argument, nil
		}
		return int64(argument), nil
	case majorNegative:
		if argument > math.MaxInt64 {
			return nil, errTooLarge
		}
		return -1 - int64(argument), nil
	case majorBytes, majorText:
		return d.chunk(major, argument)
	case majorArray:
		return d.array(argument, depth)
	case majorMap:
		if argument > uint64(len(d.data)-d.at)/2 {
			return nil, errCutOff
		}
		return d.entries(argument, depth)
	default:
		return d.value(depth + 1)
	}
}

func (d *decoder) simple(info byte) (any, error) {
	switch info {
	case simpleFalse:
		return false, nil
	case simpleTrue:
		return true, nil
	case simpleNull, simpleUndefined:
		return nil, nil
	case simpleHalf, simpleSingle, simpleDouble:
		bits, err := d.argument(info)
		if err != nil {
			return nil, err
		}
		switch info {
		case simpleHalf:
			return fromHalf(uint16(bits)), nil
		case simpleSingle:
			return float64(math.Float32frombits(uint32(bits))), nil
		default:
			return math.Float64frombits(bits), nil
		}
	default:
		return nil, fmt.Errorf("the simple value %d is not supported", info)
	}
}

func fromHalf(bits uint16) float64 {
	exponent, fraction := int(bits>>10&31), float64(bits&1023)
	value := math.Ldexp(1024+fraction, exponent-25)
	switch {
	case exponent == 0:
		value = math.Ldexp(fraction, -24)
	case exponent == 31 && fraction == 0:
		value = math.Inf(1)
	case exponent == 31:
		return math.NaN()
	}
	return math.Copysign(value, 1-float64(bits>>15)*2)
}

// chunk returns a byte string or a text of a known length.
func (d *decoder) chunk(major byte, length uint64) (any, error) {
	taken, err := d.take(length)
	if err != nil {
		return nil, err
	}
	if major == majorBytes {
		return taken, nil
	}
	if !utf8.Valid(taken) {
		return nil, errNotUTF8
	}
	return string(taken), nil
}

// chunks returns a byte string or a text of indefinite length.
func (d *decoder) chunks(major byte) (any, error) {
	joined := []byte{}
	for {
		if end, err := d.atBreak(); err != nil {
			return nil, err
		} else if end {
			break
		}
		inner, info, err := d.head(0)
		if err != nil {
			return nil, err
		}
		if inner != major {
			return nil, fmt.Errorf("a string of indefinite length has an invalid chunk")
		}
		length, err := d.argument(info)
		if err != nil {
			return nil, err
		}
		taken, err := d.take(length)
		if err != nil {
			return nil, err
		}
		if major == majorText && !utf8.Valid(taken) {
			return nil, errNotUTF8
		}
		joined = append(joined, taken...)
	}
	if major == majorText {
		return string(joined), nil
	}
	return joined, nil
}

func (d *decoder) array(length uint64, depth int) (any, error) {
	// More items than the remaining bytes can contain are refused before any memory is taken for them.
	if length > uint64(len(d.data)-d.at) {
		return nil, errCutOff
	}
	if length > MaxItems {
		return nil, errTooMany
	}
	items := make([]any, 0, length)
	for ; length > 0; length-- {
		item, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func (d *decoder) openArray(depth int) (any, error) {
	items := []any{}
	for {
		if end, err := d.atBreak(); err != nil {
			return nil, err
		} else if end {
			return items, nil
		}
		item, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
}

// entries returns a map of so many entries, or one of indefinite length for the largest number.
func (d *decoder) entries(length uint64, depth int) (any, error) {
	texts := map[string]any{}
	var others map[any]any
	for count := uint64(0); count < length; count++ {
		if length == math.MaxUint64 {
			if end, err := d.atBreak(); err != nil {
				return nil, err
			} else if end {
				break
			}
		}
		key, err := d.key(depth + 1)
		if err != nil {
			return nil, err
		}
		value, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		text, isText := key.(string)
		if !isText && others == nil {
			others = make(map[any]any, len(texts)+1)
			for name, earlier := range texts {
				others[name] = earlier
			}
		}
		if others == nil {
			if _, twice := texts[text]; twice {
				return nil, errTwice
			}
			texts[text] = value
			continue
		}
		if _, twice := others[key]; twice {
			return nil, errTwice
		}
		others[key] = value
	}
	if others != nil {
		return others, nil
	}
	return texts, nil
}

func (d *decoder) key(depth int) (any, error) {
	key, err := d.value(depth)
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case []byte:
		return ByteString(key), nil
	case []any, map[string]any, map[any]any, float64:
		return nil, errKey
	default:
		return key, nil
	}
}
