package main

import (
	"context"
	"io"
	"time"

	msb "github.com/msb-dev/msb/sdk/go"
)

func (d *driver) logSteps() map[string]handler {
	return map[string]handler{
		"logs":           d.logs,
		"log_stream":     d.logStream,
		"metrics":        d.metrics,
		"metrics_all":    d.metricsAll,
		"metrics_stream": d.metricsStream,
	}
}

func (s *step) logOptions() msb.LogOptions {
	options := msb.LogOptions{Tail: s.Tail, Cursor: s.Cursor, Follow: s.Follow}
	for _, source := range s.Sources {
		options.Sources = append(options.Sources, msb.LogSource(source))
	}
	return options
}

func ofEntry(entry msb.LogEntry) answer {
	result := answer{
		"timestamp":  entry.Timestamp.Format(time.RFC3339Nano),
		"source":     entry.Source,
		"session_id": nil,
		"cursor":     entry.Cursor,
		"data":       ofBytes(entry.Data),
	}
	if entry.SessionID != 0 {
		result["session_id"] = entry.SessionID
	}
	return result
}

func (d *driver) logs(ctx context.Context, s *step) (answer, error) {
	sandbox, err := d.sandbox(ctx, s.Sandbox)
	if err != nil {
		return nil, err
	}
	found, err := sandbox.Logs(ctx, s.logOptions())
	if err != nil {
		return nil, err
	}
	entries := []answer{}
	for _, entry := range found {
		entries = append(entries, ofEntry(entry))
	}
	return answer{"entries": entries}, nil
}

func (d *driver) logStream(ctx context.Context, s *step) (answer, error) {
	sandbox, err := d.sandbox(ctx, s.Sandbox)
	if err != nil {
		return nil, err
	}
	stream, err := sandbox.LogStream(ctx, s.logOptions())
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	entries := []answer{}
	for len(entries) < s.Count {
		entry, err := stream.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, ofEntry(entry))
	}
	return answer{"entries": entries}, nil
}

func ofMetrics(metrics msb.Metrics) answer {
	return answer{
		"cpu_percent":        metrics.CPUPercent,
		"memory_bytes":       metrics.MemoryBytes,
		"memory_limit_bytes": metrics.MemoryLimitBytes,
		"uptime_ms":          metrics.Uptime.Milliseconds(),
		"timestamp_ms":       metrics.Timestamp.UnixMilli(),
	}
}

func (d *driver) metrics(ctx context.Context, s *step) (answer, error) {
	sandbox, err := d.sandbox(ctx, s.Sandbox)
	if err != nil {
		return nil, err
	}
	metrics, err := sandbox.Metrics(ctx)
	return ofMetrics(metrics), err
}

func (d *driver) metricsAll(ctx context.Context, s *step) (answer, error) {
	all, err := d.client.AllMetrics(ctx)
	names := []string{}
	for name := range all {
		names = append(names, name)
	}
	return answer{"names": names}, err
}

func (d *driver) metricsStream(ctx context.Context, s *step) (answer, error) {
	sandbox, err := d.sandbox(ctx, s.Sandbox)
	if err != nil {
		return nil, err
	}
	stream, err := sandbox.MetricsStream(ctx, milliseconds(s.IntervalMs))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	samples := []answer{}
	for len(samples) < s.Count {
		metrics, err := stream.Next(ctx)
		if err != nil {
			return nil, err
		}
		samples = append(samples, ofMetrics(metrics))
	}
	return answer{"samples": samples}, nil
}
