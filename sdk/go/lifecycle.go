package msb

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"
)

const (
	// pollInterval is the time between two looks at the state of a sandbox.
	pollInterval = 100 * time.Millisecond
	// logTailLines is the number of lines of the log in a BootStartError.
	logTailLines = 20
	// explainTimeout limits the look at a sandbox that did not start.
	explainTimeout = 10 * time.Second
)

var errnoInParentheses = regexp.MustCompile(`\((E[A-Z0-9]+)\)`)

// Refresh looks at the sandbox again. If it is gone, the error has CodeSandboxNotFound.
func (s *Sandbox) Refresh(ctx context.Context) error {
	details, listed, err := s.client.look(ctx, s.name)
	if err != nil {
		return err
	}
	s.update(details, listed)
	return nil
}

// change runs a command of msb about the sandbox, and looks at it again.
func (s *Sandbox) change(ctx context.Context, args ...string) error {
	run := invocation{args: append(args, "--", s.name), name: s.name, env: s.secrets}
	if _, err := s.client.cli.change(ctx, run); err != nil {
		if args[0] == "start" || args[0] == "restart" {
			return s.client.explainStart(ctx, s.name, err)
		}
		return err
	}
	return s.Refresh(ctx)
}

func (s *Sandbox) changeWithin(ctx context.Context, timeout time.Duration, command string) error {
	limit, err := durationFlags("timeout", timeout)
	if err != nil {
		return err
	}
	return s.change(ctx, append([]string{command}, limit...)...)
}

// Start starts it, and waits until it is up. One that runs is no error.
func (s *Sandbox) Start(ctx context.Context) error { return s.change(ctx, "start") }

// Stop shuts it down, and kills it after 10 seconds. Its disk is kept.
func (s *Sandbox) Stop(ctx context.Context) error { return s.change(ctx, "stop") }

// StopWithTimeout shuts it down, and kills it after the timeout.
func (s *Sandbox) StopWithTimeout(ctx context.Context, timeout time.Duration) error {
	return s.changeWithin(ctx, timeout, "stop")
}

// Restart stops it as Stop does, and starts it again.
func (s *Sandbox) Restart(ctx context.Context) error { return s.change(ctx, "restart") }

// RestartWithTimeout stops it as StopWithTimeout does, and starts it again.
func (s *Sandbox) RestartWithTimeout(ctx context.Context, timeout time.Duration) error {
	return s.changeWithin(ctx, timeout, "restart")
}

// Kill ends it at once, without a shutdown.
func (s *Sandbox) Kill(ctx context.Context) error { return s.change(ctx, "kill") }

// Pause pauses it: nothing runs in it until Resume.
func (s *Sandbox) Pause(ctx context.Context) error { return s.change(ctx, "pause") }

// Resume resumes it, and corrects its clock.
func (s *Sandbox) Resume(ctx context.Context) error { return s.change(ctx, "resume") }

// Remove removes it with its disk. If it runs, the error has CodeSandboxRunning, unless Force is set.
func (s *Sandbox) Remove(ctx context.Context, options RemoveOptions) error {
	if options.Force {
		s.Disconnect()
	}
	if err := s.client.Remove(ctx, s.name, options); err != nil {
		return err
	}
	s.Disconnect()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.owned, s.ephemeral = StatusRemoved, false, false
	return nil
}

// Wait waits for the end of the sandbox, and returns the end of its main process. If it was stopped before that, the
// error has CodeSandboxNotRunning.
func (s *Sandbox) Wait(ctx context.Context) (ExitStatus, error) {
	result, err := s.client.cli.output(ctx, invocation{args: []string{"wait", "--", s.name}, name: s.name})
	if err != nil {
		return ExitStatus{}, err
	}
	if err := s.Refresh(ctx); err != nil {
		return ExitStatus{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.status.ended() {
		if result.exitCode != 0 {
			return ExitStatus{}, failureOf(result.exitCode, result.stderr, s.name)
		}
		return ExitStatus{}, errorf(CodeFailed, "%s is %s after the wait for its end", s.name, s.status)
	}
	if exit := s.details.LastExit; exit != nil {
		switch exit.Kind {
		case "code":
			return ExitStatus{ExitCode: exit.Code}, nil
		case "signal":
			return ExitStatus{ExitCode: 128 + exit.Signal, Signal: Signal(exit.Signal)}, nil
		}
	}
	stopped := errorf(CodeSandboxNotRunning, "%s was stopped before its main process ended", s.name)
	stopped.Name = s.name
	return ExitStatus{}, stopped
}

// WaitForStatus waits until the sandbox has one of these states, and returns it.
func (s *Sandbox) WaitForStatus(ctx context.Context, statuses ...Status) (Status, error) {
	if len(statuses) == 0 {
		return "", invalid("WaitForStatus needs a status")
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return "", contextError(ctx, s.name+" is "+string(s.Status()))
		}
		if err := s.Refresh(ctx); err != nil {
			return "", err
		}
		for _, status := range statuses {
			if s.Status() == status {
				return status, nil
			}
		}
		timer.Reset(pollInterval)
	}
}

// explainStart returns a BootStartError for a sandbox that exists but did not start, or else the error itself.
func (c *Client) explainStart(ctx context.Context, name string, err error) error {
	var failed *Error
	if !errors.As(err, &failed) || failed.Code != CodeFailed || ctx.Err() != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	sandbox, lookError := c.Get(limited, name)
	if lookError != nil {
		return err
	}
	exit := sandbox.details.LastExit
	if exit == nil || (exit.Kind != "not_started" && exit.Kind != "failure") {
		return err
	}
	boot := &BootStartError{Err: failed, Stage: exit.Kind, Reason: printable(exit.Message)}
	if match := errnoInParentheses.FindStringSubmatch(exit.Message); match != nil {
		boot.ErrnoName = match[1]
	}
	sources := []LogSource{SourceStdout, SourceStderr, SourceSystem, SourceKernel}
	entries, _ := sandbox.Logs(limited, LogOptions{Tail: logTailLines, Sources: sources})
	var tail strings.Builder
	for _, entry := range entries {
		tail.WriteString(entry.Text() + "\n")
	}
	boot.LogTail = tail.String()
	return boot
}
