package cbor_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand"
	"reflect"
	"testing"

	"github.com/msb-dev/msb/sdk/go/internal/cbor"
	"github.com/msb-dev/msb/sdk/go/internal/vectors"
)

func TestVectors(t *testing.T) {
	file := vectors.Load(t)
	for _, each := range file.CBOR {
		encoded, err := cbor.Encode(vectors.Ordered(t, each.Value))
		if err != nil || hex.EncodeToString(encoded) != each.Hex {
			t.Errorf("%s is encoded as %x: %v", each.Name, encoded, err)
		}
	}
	for _, each := range append(file.CBOR, file.CBORDecodeOnly...) {
		decoded, err := cbor.Decode(vectors.Bytes(t, each.Hex))
		wanted := vectors.Plain(vectors.Ordered(t, each.Value))
		if float, isFloat := decoded.(float64); isFloat && math.IsNaN(float) {
			decoded, wanted = fmt.Sprint(decoded), fmt.Sprint(wanted)
		}
		if err != nil || !reflect.DeepEqual(decoded, wanted) {
			t.Errorf("%s is decoded as %#v instead of %#v: %v", each.Name, decoded, wanted, err)
		}
	}
	for _, each := range file.CBORInvalid {
		if decoded, err := cbor.Decode(vectors.Bytes(t, each.Hex)); err == nil {
			t.Errorf("%s is decoded as %#v", each.Name, decoded)
		}
	}
}

func TestEveryPrefixIsInvalid(t *testing.T) {
	for _, each := range vectors.Load(t).CBOR {
		data := vectors.Bytes(t, each.Hex)
		for end := range data {
			if _, err := cbor.Decode(data[:end]); err == nil {
				t.Errorf("%s is valid after %d bytes", each.Name, end)
			}
		}
	}
}

func TestMapsWithOtherKeys(t *testing.T) {
	decoded, err := cbor.Decode([]byte{0xa3, 0x61, 'a', 1, 2, 3, 0x41, 'b', 4})
	wanted := map[any]any{"a": int64(1), int64(2): int64(3), cbor.ByteString("b"): int64(4)}
	if err != nil || !reflect.DeepEqual(decoded, wanted) {
		t.Errorf("%#v, %v", decoded, err)
	}
	if _, err := cbor.Decode([]byte{0xa2, 2, 3, 2, 3}); err == nil {
		t.Error("a map has a key twice")
	}
}

func TestLimits(t *testing.T) {
	var nested any = int64(0)
	for depth := 0; depth < cbor.MaxDepth; depth++ {
		nested = []any{nested}
	}
	if _, err := cbor.Encode(nested); err != nil {
		t.Error(err)
	}
	if _, err := cbor.Encode([]any{nested}); err == nil {
		t.Error("a value that is nested too deeply is encoded")
	}
	for _, value := range []any{struct{}{}, "\xff", []string{"\xff"}, []any{make(chan int)}, map[string]any{"\xff": 1}} {
		if _, err := cbor.Encode(value); err == nil {
			t.Errorf("%#v is encoded", value)
		}
	}
	many := append([]byte{0x9a, 0, 4, 0, 0}, make([]byte, 1<<18)...)
	if _, err := cbor.Decode(many); err == nil {
		t.Error("a list of 2^18 items is decoded")
	}
	open := append([]byte{0x9f}, append(make([]byte, 1<<18), 0xff)...)
	if _, err := cbor.Decode(open); err == nil {
		t.Error("an open list of 2^18 items is decoded")
	}
}

func TestHalves(t *testing.T) {
	for bits, wanted := range map[uint16]float64{
		0x0000: 0, 0x0001: math.Ldexp(1, -24), 0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0xfc00: math.Inf(-1),
	} {
		decoded, err := cbor.Decode([]byte{0xf9, byte(bits >> 8), byte(bits)})
		if err != nil || decoded != wanted {
			t.Errorf("%#04x is %v instead of %v: %v", bits, decoded, wanted, err)
		}
	}
}

// Random bytes have no effect but an error or a value that can be encoded again.
func TestRandomBytes(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for count := 0; count < 100_000; count++ {
		data := make([]byte, random.Intn(40))
		random.Read(data)
		check(t, data)
	}
}

func check(t *testing.T, data []byte) {
	decoded, err := cbor.Decode(data)
	if err != nil {
		return
	}
	if hasOtherKeys(decoded) {
		return
	}
	encoded, err := cbor.Encode(decoded)
	if err != nil {
		t.Fatalf("%x is decoded as %#v, which cannot be encoded: %v", data, decoded, err)
	}
	again, err := cbor.Decode(encoded)
	if err != nil {
		t.Fatalf("%x is encoded as %x, which cannot be decoded: %v", data, encoded, err)
	}
	twice, err := cbor.Encode(again)
	if err != nil || !bytes.Equal(encoded, twice) {
		t.Fatalf("%x is encoded as %x, and then as %x: %v", data, encoded, twice, err)
	}
}

func hasOtherKeys(value any) bool {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			if hasOtherKeys(item) {
				return true
			}
		}
	case map[string]any:
		for _, item := range value {
			if hasOtherKeys(item) {
				return true
			}
		}
	case map[any]any:
		return true
	}
	return false
}

func FuzzDecode(f *testing.F) {
	for _, each := range vectors.Load(f).CBOR {
		f.Add(vectors.Bytes(f, each.Hex))
	}
	f.Fuzz(check)
}
