package msb

import (
	"context"
	"encoding/json"
	"io"
	"time"
)

// Metrics are the metrics of one sandbox.
type Metrics struct {
	// Name is the sandbox.
	Name string
	// Timestamp is the time of the measurement.
	Timestamp time.Time
	// Uptime is the time since its start.
	Uptime time.Duration
	// CPUPercent is its use of processors since the measurement before; 100 is one processor.
	CPUPercent float64
	// CPUTime is the processor time since its start.
	CPUTime time.Duration
	// VCPUs is the number of its virtual processors.
	VCPUs int
	// MemoryBytes and MemoryLimitBytes are the memory that it takes of the host, and may take.
	MemoryBytes      int64
	MemoryLimitBytes int64
	// These are counted since its start, in bytes.
	DiskReadBytes  int64
	DiskWriteBytes int64
	NetRxBytes     int64
	NetTxBytes     int64
	// Paused is whether it is paused.
	Paused bool
	// Raw has all fields that msb prints.
	Raw json.RawMessage
}

// UnmarshalJSON reads a sandbox of msb metrics --json.
func (m *Metrics) UnmarshalJSON(data []byte) error {
	var raw struct {
		FullName         string   `json:"full_name"`
		AgeMs            float64  `json:"age_ms"`
		UptimeMs         float64  `json:"uptime_ms"`
		CPUPercent       *float64 `json:"cpu_percent"`
		CPUMs            float64  `json:"cpu_ms"`
		VCPUs            int      `json:"vcpus"`
		MemoryBytes      int64    `json:"memory_bytes"`
		MemoryLimitBytes int64    `json:"memory_limit_bytes"`
		DiskReadBytes    int64    `json:"disk_read_bytes"`
		DiskWrittenBytes int64    `json:"disk_written_bytes"`
		NetReceivedBytes int64    `json:"net_received_bytes"`
		NetSentBytes     int64    `json:"net_sent_bytes"`
		Paused           bool     `json:"paused"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*m = Metrics{
		Name:             raw.FullName,
		Timestamp:        time.Now().Add(-milliseconds(raw.AgeMs)).UTC(),
		Uptime:           milliseconds(raw.UptimeMs),
		CPUTime:          milliseconds(raw.CPUMs),
		VCPUs:            raw.VCPUs,
		MemoryBytes:      raw.MemoryBytes,
		MemoryLimitBytes: raw.MemoryLimitBytes,
		DiskReadBytes:    raw.DiskReadBytes,
		DiskWriteBytes:   raw.DiskWrittenBytes,
		NetRxBytes:       raw.NetReceivedBytes,
		NetTxBytes:       raw.NetSentBytes,
		Paused:           raw.Paused,
		Raw:              append(json.RawMessage(nil), data...),
	}
	if raw.CPUPercent != nil {
		m.CPUPercent = *raw.CPUPercent
	}
	return nil
}

func milliseconds(count float64) time.Duration {
	return time.Duration(count * float64(time.Millisecond))
}

// metricsDocument is what msb metrics --json prints.
type metricsDocument struct {
	Sandboxes []Metrics         `json:"sandboxes"`
	Missing   []json.RawMessage `json:"missing"`
}

// AllMetrics returns the metrics of all running sandboxes, by name.
func (c *Client) AllMetrics(ctx context.Context) (map[string]Metrics, error) {
	var document metricsDocument
	if err := c.cli.json(ctx, invocation{args: []string{"metrics", "--all"}}, &document); err != nil {
		return nil, err
	}
	all := map[string]Metrics{}
	for _, metrics := range document.Sandboxes {
		all[metrics.Name] = metrics
	}
	return all, nil
}

// Metrics returns its metrics. If it does not run, the error has CodeSandboxNotRunning.
func (s *Sandbox) Metrics(ctx context.Context) (Metrics, error) {
	var document metricsDocument
	run := invocation{args: []string{"metrics", "--", s.name}, name: s.name}
	if err := s.client.cli.json(ctx, run, &document); err != nil {
		return Metrics{}, err
	}
	if len(document.Sandboxes) == 0 {
		missing := errorf(CodeSandboxNotRunning, "%s has no metrics: it does not run, or has just started", s.name)
		missing.Name = s.name
		return Metrics{}, missing
	}
	return document.Sandboxes[0], nil
}

// MetricsStream returns its metrics again and again. The end of the context ends it; close it.
func (s *Sandbox) MetricsStream(ctx context.Context, interval time.Duration) (*MetricsStream, error) {
	flags, err := durationFlags("interval", interval)
	if err != nil || interval == 0 {
		return nil, invalid("the interval must be above 0")
	}
	args := append([]string{"metrics", "--json", "--watch"}, flags...)
	lines, err := s.client.cli.lines(ctx, invocation{args: append(args, "--", s.name), name: s.name})
	if err != nil {
		return nil, err
	}
	return &MetricsStream{lines}, nil
}

// MetricsStream has the metrics of a sandbox. Close it.
type MetricsStream struct {
	lines *jsonLines
}

// Next returns the next metrics, and io.EOF when the sandbox has ended.
func (s *MetricsStream) Next(ctx context.Context) (Metrics, error) {
	for {
		var document metricsDocument
		if err := s.lines.next(ctx, &document); err != nil {
			return Metrics{}, err
		}
		if len(document.Sandboxes) > 0 {
			return document.Sandboxes[0], nil
		}
		if len(document.Missing) > 0 {
			s.lines.close()
			return Metrics{}, io.EOF
		}
	}
}

// Close ends the stream.
func (s *MetricsStream) Close() error {
	s.lines.close()
	return nil
}
