package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	msb "github.com/msb-dev/msb/sdk/go"
)

func (d *driver) commandSteps() map[string]handler {
	return map[string]handler{
		"exec":        d.exec,
		"shell":       d.exec,
		"exec_start":  d.execStart,
		"exec_write":  d.execWrite,
		"exec_eof":    d.execEOF,
		"exec_read":   d.execRead,
		"exec_events": d.execEvents,
		"exec_wait":   d.execWait,
		"exec_signal": d.process(func(ctx context.Context, p *msb.Process, s *step) error {
			return p.Signal(ctx, msb.Signal(s.Signal))
		}),
		"exec_kill": d.process(func(ctx context.Context, p *msb.Process, s *step) error {
			return p.Kill(ctx)
		}),
		"exec_resize": d.process(func(ctx context.Context, p *msb.Process, s *step) error {
			return p.Resize(ctx, s.Rows, s.Cols)
		}),
		"exec_cancel": d.execCancel,
		"exec_many":   d.execMany,
	}
}

func (s *step) execOptions() []msb.ExecOption {
	options := []msb.ExecOption{msb.WithDir(s.Cwd), msb.WithUser(s.User), msb.WithEnvMap(s.Env)}
	if s.TTY {
		rows, cols := 24, 80
		if s.Rows > 0 {
			rows, cols = s.Rows, s.Cols
		}
		options = append(options, msb.WithTTY(rows, cols))
	}
	if s.Stdin != nil {
		options = append(options, msb.WithStdin(bytes.NewReader(*s.Stdin)))
	}
	if s.StdinPipe {
		options = append(options, msb.WithStdinPipe())
	}
	for _, limit := range s.Rlimits {
		options = append(options, msb.WithRlimits(msb.Rlimit(limit)))
	}
	return options
}

func (d *driver) exec(ctx context.Context, s *step) (answer, error) {
	guest, err := d.guest(ctx, s)
	if err != nil {
		return nil, err
	}
	options := s.execOptions()
	if s.TimeoutMs != nil {
		options = append(options, msb.WithTimeout(milliseconds(*s.TimeoutMs)))
	}
	var output *msb.Output
	if s.Do == "shell" {
		output, err = guest.Shell(ctx, s.Script, options...)
	} else {
		output, err = guest.Exec(ctx, s.Cmd, s.Args, options...)
	}
	if err != nil {
		return nil, err
	}
	result := ofStatus(output.ExitStatus)
	result["stdout"], result["stderr"] = ofBytes(output.Stdout), ofBytes(output.Stderr)
	return result, nil
}

func ofStatus(status msb.ExitStatus) answer {
	result := answer{"exit_code": status.ExitCode, "signal": nil}
	if status.Signal != 0 {
		result["signal"] = int(status.Signal)
	}
	return result
}

func (d *driver) execStart(ctx context.Context, s *step) (answer, error) {
	guest, err := d.guest(ctx, s)
	if err != nil {
		return nil, err
	}
	process, err := guest.ExecStream(ctx, s.Cmd, s.Args, s.execOptions()...)
	if err != nil {
		return nil, err
	}
	d.processes[s.As] = process
	return answer{"pid": process.PID()}, nil
}

func (d *driver) process(act func(context.Context, *msb.Process, *step) error) handler {
	return func(ctx context.Context, s *step) (answer, error) {
		process := d.processes[s.Process]
		if process == nil {
			return nil, fmt.Errorf("there is no process %q", s.Process)
		}
		return nil, act(ctx, process, s)
	}
}

func (d *driver) execWrite(ctx context.Context, s *step) (answer, error) {
	_, err := d.processes[s.Process].Stdin().Write(s.Data)
	return nil, err
}

func (d *driver) execEOF(ctx context.Context, s *step) (answer, error) {
	return nil, d.processes[s.Process].Stdin().Close()
}

func (d *driver) execRead(ctx context.Context, s *step) (answer, error) {
	stream := d.processes[s.Process].Stdout()
	if s.Stream == "stderr" {
		stream = d.processes[s.Process].Stderr()
	}
	var read []byte
	buffer := make([]byte, 4096)
	for {
		if s.UntilText != nil && strings.Contains(string(read), *s.UntilText) {
			break
		}
		part := buffer
		if s.UntilText == nil {
			if left := s.UntilLen - len(read); left <= 0 {
				break
			} else if left < len(part) {
				part = part[:left]
			}
		}
		count, err := stream.Read(part)
		read = append(read, part[:count]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return answer{"data": ofBytes(read)}, nil
}

func (d *driver) execEvents(ctx context.Context, s *step) (answer, error) {
	kinds := []msb.EventKind{}
	result := answer{"exit_code": nil}
	for {
		event, err := d.processes[s.Process].Next(ctx)
		if err == io.EOF {
			result["kinds"] = kinds
			return result, nil
		}
		if err != nil {
			return nil, err
		}
		if len(kinds) == 0 || kinds[len(kinds)-1] != event.Kind {
			kinds = append(kinds, event.Kind)
		}
		if event.Kind == msb.EventExited {
			result["exit_code"] = event.Status.ExitCode
		}
	}
}

func (d *driver) execWait(ctx context.Context, s *step) (answer, error) {
	ctx, cancel := s.limited(ctx)
	defer cancel()
	status, err := d.processes[s.Process].Wait(ctx)
	return ofStatus(status), err
}

func (d *driver) execCancel(ctx context.Context, s *step) (answer, error) {
	guest, err := d.guest(ctx, s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var cancelled atomic.Int64
	timer := time.AfterFunc(milliseconds(s.AfterMs), func() {
		cancelled.Store(time.Now().UnixNano())
		cancel()
	})
	defer timer.Stop()
	_, err = guest.Exec(ctx, s.Cmd, s.Args)
	if !errors.Is(err, context.Canceled) {
		return answer{"cancelled": false}, err
	}
	took := time.Since(time.Unix(0, cancelled.Load()))
	return answer{"cancelled": true, "took_ms": took.Milliseconds()}, nil
}

func (d *driver) execMany(ctx context.Context, s *step) (answer, error) {
	guest, err := d.guest(ctx, s)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	turns := make(chan struct{}, s.Concurrency)
	results := make(chan error, s.Count)
	times := make(chan time.Duration, s.Count)
	var succeeded atomic.Int64
	var running sync.WaitGroup
	for count := 0; count < s.Count; count++ {
		turns <- struct{}{}
		running.Add(1)
		go func() {
			defer running.Done()
			start := time.Now()
			output, err := guest.Exec(ctx, s.Cmd, s.Args)
			times <- time.Since(start)
			if err == nil && output.Success() {
				succeeded.Add(1)
			}
			results <- err
			<-turns
		}()
	}
	running.Wait()
	for count := 0; count < s.Count; count++ {
		if err := <-results; err != nil {
			return nil, err
		}
	}
	took := time.Since(began).Milliseconds()
	return answer{"ok": succeeded.Load(), "took_ms": took, "p50_us": median(times).Microseconds()}, nil
}

// median returns the median of the values in a full channel.
func median(values chan time.Duration) time.Duration {
	close(values)
	var sorted []time.Duration
	for value := range values {
		sorted = append(sorted, value)
	}
	if len(sorted) == 0 {
		return 0
	}
	sort.Slice(sorted, func(a, b int) bool { return sorted[a] < sorted[b] })
	return sorted[len(sorted)/2]
}
