package msb

import (
	"strings"
	"time"
	"unicode"
)

// maxGuestText is the longest text of the guest or the relay in an error, in bytes.
const maxGuestText = 2000

// Ready is the guest's first message, core.ready.
type Ready struct {
	// BootTime is the time from the start of the guest's kernel to its agent.
	BootTime time.Duration
	// InitTime is the time from the agent's start until the root was mounted.
	InitTime time.Duration
	// ReadyTime is the time from the start of the guest's kernel to this message.
	ReadyTime time.Duration
	// AgentVersion is the version of the agent; empty if it does not report one.
	AgentVersion string
	// Features are what the agent supports besides commands, such as fs.
	Features []string
	// Fields has all fields of the message.
	Fields map[string]any
}

func readyOf(payload map[string]any) (Ready, error) {
	ready := Ready{AgentVersion: textIn(payload, "agent_version"), Fields: payload}
	for name, into := range map[string]*time.Duration{
		"boot_time_ns":  &ready.BootTime,
		"init_time_ns":  &ready.InitTime,
		"ready_time_ns": &ready.ReadyTime,
	} {
		value, err := integerIn(payload, name)
		if err != nil {
			return Ready{}, err
		}
		*into = time.Duration(value)
	}
	features, _ := payload["features"].([]any)
	for _, feature := range features {
		if word, isText := feature.(string); isText {
			ready.Features = append(ready.Features, word)
		}
	}
	return ready, nil
}

// printable shortens a text of the guest and replaces its control characters.
func printable(text string) string {
	if len(text) > maxGuestText {
		text = text[:maxGuestText]
	}
	return strings.Map(func(char rune) rune {
		if unicode.IsPrint(char) || char == '\n' {
			return char
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(text, ""))
}

// textIn returns a text field of a payload, or an empty one.
func textIn(payload map[string]any, name string) string {
	value, _ := payload[name].(string)
	return printable(value)
}

// integerIn returns an integer field of a payload.
func integerIn(payload map[string]any, name string) (int64, error) {
	value, isInteger := payload[name].(int64)
	if !isInteger {
		return 0, errorf(CodeProtocolError, "the guest sent a message without %q", name)
	}
	return value, nil
}

// smallIn returns an integer field of a payload that fits an int32, or 0 without one.
func smallIn(payload map[string]any, name string) int {
	value, isInteger := payload[name].(int64)
	if !isInteger || int64(int32(value)) != value {
		return 0
	}
	return int(value)
}

// bytesIn returns the byte string "data" of a payload.
func bytesIn(payload map[string]any) ([]byte, error) {
	value, isBytes := payload["data"].([]byte)
	if !isBytes {
		return nil, errorf(CodeProtocolError, "the guest sent a message without data")
	}
	return value, nil
}
