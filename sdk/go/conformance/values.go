package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	msb "github.com/msb-dev/msb/sdk/go"
)

// content has the bytes of a request.
type content []byte

// UnmarshalJSON reads {"text"}, {"hex"} or {"repeat", "times"}.
func (c *content) UnmarshalJSON(data []byte) error {
	var raw struct {
		Text   string `json:"text"`
		Hex    string `json:"hex"`
		Repeat string `json:"repeat"`
		Times  int    `json:"times"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	var err error
	switch {
	case raw.Hex != "":
		*c, err = hex.DecodeString(raw.Hex)
	case raw.Repeat != "":
		*c = content(strings.Repeat(raw.Repeat, raw.Times))
	default:
		*c = content(raw.Text)
	}
	return err
}

// ofBytes returns bytes as an answer has them.
func ofBytes(data []byte) answer {
	sum := sha256.Sum256(data)
	value := answer{"len": len(data), "sha256": hex.EncodeToString(sum[:]), "text": nil, "hex": nil}
	if len(data) <= 4096 && utf8.Valid(data) {
		value["text"] = string(data)
	}
	if len(data) <= 256 {
		value["hex"] = hex.EncodeToString(data)
	}
	return value
}

// decodeValue reads JSON with $hex, $int and $float.
func decodeValue(raw json.RawMessage) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return fromJSON(value)
}

func fromJSON(value any) (any, error) {
	switch value := value.(type) {
	case json.Number:
		return parseInteger(value.String())
	case []any:
		items := make([]any, 0, len(value))
		for _, item := range value {
			converted, err := fromJSON(item)
			if err != nil {
				return nil, err
			}
			items = append(items, converted)
		}
		return items, nil
	case map[string]any:
		if text, isText := value["$hex"].(string); isText {
			return hex.DecodeString(text)
		}
		if text, isText := value["$int"].(string); isText {
			return parseInteger(text)
		}
		if text, isText := value["$float"].(string); isText {
			return strconv.ParseFloat(text, 64)
		}
		entries := map[string]any{}
		for key, item := range value {
			converted, err := fromJSON(item)
			if err != nil {
				return nil, err
			}
			entries[key] = converted
		}
		return entries, nil
	default:
		return value, nil
	}
}

func parseInteger(text string) (any, error) {
	if number, err := strconv.ParseInt(text, 10, 64); err == nil {
		return number, nil
	}
	return strconv.ParseUint(text, 10, 64)
}

// toJSON returns a value as JSON with $hex, $int and $float.
func toJSON(value any) any {
	switch value := value.(type) {
	case []byte:
		return answer{"$hex": hex.EncodeToString(value)}
	case []any:
		items := make([]any, 0, len(value))
		for _, item := range value {
			items = append(items, toJSON(item))
		}
		return items
	case map[string]any:
		entries := answer{}
		for key, item := range value {
			entries[key] = toJSON(item)
		}
		return entries
	case map[any]any:
		entries := answer{}
		for key, item := range value {
			entries[fmt.Sprint(key)] = toJSON(item)
		}
		return entries
	case float64:
		return answer{"$float": floatText(value)}
	case uint64:
		return answer{"$int": strconv.FormatUint(value, 10)}
	case int64:
		if value > 1<<53-1 || value < -(1<<53-1) {
			return answer{"$int": strconv.FormatInt(value, 10)}
		}
		return value
	default:
		return value
	}
}

func floatText(value float64) string {
	switch {
	case math.IsNaN(value):
		return "NaN"
	case math.IsInf(value, 1):
		return "Infinity"
	case math.IsInf(value, -1):
		return "-Infinity"
	default:
		return strconv.FormatFloat(value, 'g', -1, 64)
	}
}

// ofError returns an error as an answer has it.
func ofError(err error) answer {
	var known *msb.Error
	if !errors.As(err, &known) {
		return answer{"code": "unexpected", "message": err.Error()}
	}
	fields := answer{"code": string(known.Code), "message": err.Error()}
	set := func(has bool, name string, value any) {
		if has {
			fields[name] = value
		}
	}
	set(known.Hint != "", "hint", known.Hint)
	set(known.Name != "", "name", known.Name)
	set(known.ExitCode != 0, "exit_code", known.ExitCode)
	var exec *msb.ExecFailedError
	if errors.As(err, &exec) {
		fields["kind"] = exec.Kind
		set(exec.Errno != 0, "errno", exec.Errno)
		set(exec.ErrnoName != "", "errno_name", exec.ErrnoName)
		set(exec.Stage != "", "stage", exec.Stage)
	}
	var file *msb.FileError
	if errors.As(err, &file) {
		fields["kind"], fields["path"] = file.Kind, file.Path
		set(file.Errno != 0, "errno", file.Errno)
		set(file.ErrnoName != "", "errno_name", file.ErrnoName)
	}
	var timeout *msb.ExecTimeoutError
	if errors.As(err, &timeout) {
		fields["timeout_ms"] = timeout.Limit.Milliseconds()
		fields["stdout"], fields["stderr"] = ofBytes(timeout.Stdout), ofBytes(timeout.Stderr)
	}
	var broad *msb.SuffixTooBroadError
	if errors.As(err, &broad) {
		fields["raw"] = broad.Raw
	}
	var missed *msb.MissedRotationError
	if errors.As(err, &missed) && missed.DroppedFromOffset >= 0 {
		fields["dropped_from_offset"] = missed.DroppedFromOffset
	}
	return fields
}
