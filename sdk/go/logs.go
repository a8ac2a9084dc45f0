package msb

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"
)

// A LogSource is where a line of a log comes from.
type LogSource string

// The sources of logs. Without a choice, logs have those of commands: stdout, stderr, and output of terminals.
const (
	SourceStdout  LogSource = "stdout"
	SourceStderr  LogSource = "stderr"
	SourceOutput  LogSource = "output"
	SourceSystem  LogSource = "system"
	SourceRuntime LogSource = "runtime"
	SourceKernel  LogSource = "kernel"
	SourceNetwork LogSource = "network"
	SourceFlows   LogSource = "flows"
	SourceEvents  LogSource = "events"
	// SourceAll stands for all of them, in options only.
	SourceAll LogSource = "all"
)

var logSources = []LogSource{
	SourceStdout, SourceStderr, SourceOutput, SourceSystem, SourceRuntime, SourceKernel, SourceNetwork, SourceFlows,
	SourceEvents,
}

// LogOptions are options of Logs and LogStream.
type LogOptions struct {
	// Tail has only the last so many entries; 0 has all.
	Tail int
	// Since and Until have only the entries from one time to another; the zero time is no limit.
	Since time.Time
	Until time.Time
	// Cursor continues after the entry with this cursor.
	Cursor string
	// Sources are stdout, stderr and output by default.
	Sources []LogSource
	// Follow has LogStream wait for new entries until the sandbox ends.
	Follow bool
}

// LogEntry is one line of a log.
type LogEntry struct {
	Timestamp time.Time
	Source    LogSource
	// Data are the bytes of the line, without its newline.
	Data []byte
	// Cursor continues after this line, in LogOptions.
	Cursor string
	// SessionID is the number of the command, for its output; 0 for others.
	SessionID uint64
	// Partial is whether the line continues in the next entry.
	Partial bool
	// Note says what is missing before this line, if something is.
	Note string
	// Name is the sandbox.
	Name string
}

// Text returns the data as UTF-8; invalid bytes become U+FFFD.
func (e LogEntry) Text() string { return strings.ToValidUTF8(string(e.Data), "\uFFFD") }

// UnmarshalJSON reads a line of msb logs --json.
func (e *LogEntry) UnmarshalJSON(line []byte) error {
	var raw struct {
		Time     time.Time `json:"t"`
		Source   LogSource `json:"s"`
		Data     string    `json:"d"`
		Encoding string    `json:"e"`
		Cursor   string    `json:"cursor"`
		ID       *uint64   `json:"id"`
		Partial  bool      `json:"partial"`
		Note     string    `json:"note"`
		Name     string    `json:"name"`
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return err
	}
	*e = LogEntry{
		Timestamp: raw.Time.UTC(),
		Source:    raw.Source,
		Data:      []byte(raw.Data),
		Cursor:    raw.Cursor,
		Partial:   raw.Partial,
		Note:      raw.Note,
		Name:      raw.Name,
	}
	if raw.ID != nil {
		e.SessionID = *raw.ID
	}
	if raw.Encoding == "b64" {
		data, err := base64.StdEncoding.DecodeString(raw.Data)
		if err != nil {
			return err
		}
		e.Data = data
	}
	if raw.Time.IsZero() || raw.Cursor == "" {
		return errorf(CodeProtocolError, "a log line has no time or no cursor")
	}
	return nil
}

func (o LogOptions) arguments(name string) ([]string, error) {
	args := arguments{"logs", "--json"}
	if o.Follow {
		args = append(args, "--follow")
	}
	if o.Tail < 0 {
		return nil, invalid("the tail of a log must not be negative")
	}
	if o.Tail > 0 {
		args.text("tail", strconv.Itoa(o.Tail))
	}
	if !o.Since.IsZero() {
		args.text("since", o.Since.UTC().Format(time.RFC3339Nano))
	}
	if !o.Until.IsZero() {
		args.text("until", o.Until.UTC().Format(time.RFC3339Nano))
	}
	args.text("cursor", o.Cursor)
	for _, source := range o.Sources {
		if source == SourceAll {
			for _, each := range logSources {
				args.text("source", string(each))
			}
			continue
		}
		known := false
		for _, each := range logSources {
			known = known || each == source
		}
		if !known {
			return nil, invalid("%q is not a source of logs", source)
		}
		args.text("source", string(source))
	}
	return append(args, "--", name), nil
}

// Logs returns the entries of its log to the present end, of a stopped sandbox too. A *MissedRotationError says that
// entries after the cursor were removed by rotation, and an *InvalidCursorError that it is not one of this log.
func (s *Sandbox) Logs(ctx context.Context, options LogOptions) ([]LogEntry, error) {
	options.Follow = false
	stream, err := s.LogStream(ctx, options)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	return stream.Collect(ctx)
}

// LogStream returns the entries of its log one by one. The end of the context ends it; close it.
func (s *Sandbox) LogStream(ctx context.Context, options LogOptions) (*LogStream, error) {
	args, err := options.arguments(s.name)
	if err != nil {
		return nil, err
	}
	lines, err := s.client.cli.lines(ctx, invocation{args: args, name: s.name})
	if err != nil {
		return nil, err
	}
	return &LogStream{lines}, nil
}

// LogStream has the entries of a log. Close it, unless it is read to its end.
type LogStream struct {
	lines *jsonLines
}

// Next returns the next entry, and io.EOF at the end.
func (s *LogStream) Next(ctx context.Context) (LogEntry, error) {
	var entry LogEntry
	err := s.lines.next(ctx, &entry)
	return entry, err
}

// Collect returns all remaining entries.
func (s *LogStream) Collect(ctx context.Context) ([]LogEntry, error) {
	var entries []LogEntry
	for {
		entry, err := s.Next(ctx)
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			return entries, err
		}
		entries = append(entries, entry)
	}
}

// Close ends the stream.
func (s *LogStream) Close() error {
	s.lines.close()
	return nil
}
