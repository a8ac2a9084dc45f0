package msb_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	msb "github.com/msb-dev/msb/sdk/go"
)

func TestFrozenCommands(t *testing.T) {
	for _, scenario := range []string{"plain", "unknown", "tag-64", "split", "joined", "foreign"} {
		output, err := agent(t, scenario).Exec(within(t, 10*time.Second), "x", nil)
		if err != nil || len(output.Stdout) == 0 {
			t.Errorf("%s: %v, %v", scenario, output, err)
		}
	}
}

func TestRawRequests(t *testing.T) {
	client := agent(t, "small-range")
	ctx := within(t, 5*time.Second)
	ping, err := msb.NewFrame(0, "core.ping", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Request(ctx, ping)
	if err != nil {
		t.Fatal(err)
	}
	message, err := response.Message()
	if err != nil || message.Type != "core.pong" || response.Flags != msb.FlagTerminal {
		t.Errorf("%v, %v", message, err)
	}
	if start, end := client.IDs(); start != 16 || end != 18 {
		t.Errorf("the ids are %d to %d", start, end)
	}
	if client.Ready().AgentVersion != "0.1.0" || !bytes.Equal(client.ReadyBytes()[4:8], make([]byte, 4)) {
		t.Errorf("%v", client.Ready())
	}
	wantCode(t, client.Send(ctx, msb.Frame{ID: 1}), msb.CodeInvalidArgument)
	if _, err := client.Request(ctx, ping); err != nil {
		t.Fatal(err)
	}
	_, err = client.Request(ctx, ping)
	wantCode(t, err, msb.CodeIDsExhausted)
}

func TestTheEndWakesEveryWaiter(t *testing.T) {
	client := agent(t, "close-mid-stream")
	ctx := within(t, 10*time.Second)
	var waiting sync.WaitGroup
	// The relay gives 16 ids.
	for count := 0; count < 7; count++ {
		waiting.Add(2)
		go func() {
			defer waiting.Done()
			_, err := client.Exec(ctx, "x", nil)
			if msb.CodeOf(err) != msb.CodeConnectionLost {
				t.Error(err)
			}
		}()
		go func() {
			defer waiting.Done()
			_, err := client.Files().Read(ctx, "/x")
			if msb.CodeOf(err) != msb.CodeConnectionLost {
				t.Error(err)
			}
		}()
	}
	waiting.Wait()
}

func TestAStreamWithoutAnExitIsNoSuccess(t *testing.T) {
	client := agent(t, "close-mid-stream")
	ctx := within(t, 10*time.Second)
	process, err := client.ExecStream(ctx, "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	output, err := io.ReadAll(process.Stdout())
	if string(output) != "hello\n" {
		t.Errorf("%q", output)
	}
	wantCode(t, err, msb.CodeConnectionLost)
	_, err = process.Wait(ctx)
	wantCode(t, err, msb.CodeConnectionLost)
	_, err = process.Collect(ctx, 1000)
	wantCode(t, err, msb.CodeConnectionLost)
}

func TestCloseWakesEveryWaiter(t *testing.T) {
	client := agent(t, "timeout")
	ctx := within(t, 10*time.Second)
	time.AfterFunc(100*time.Millisecond, func() { client.Close() })
	_, err := client.Exec(ctx, "x", nil)
	wantCode(t, err, msb.CodeClosed)
	if !errors.Is(err, fs.ErrClosed) || !errors.Is(err, msb.CodeClosed) {
		t.Error(err)
	}
	_, err = client.Exec(ctx, "x", nil)
	wantCode(t, err, msb.CodeClosed)
}

func TestATimeoutHasTheOutput(t *testing.T) {
	client := agent(t, "timeout-term")
	_, err := client.Exec(within(t, 10*time.Second), "x", nil, msb.WithTimeout(200*time.Millisecond))
	var timeout *msb.ExecTimeoutError
	if !errors.As(err, &timeout) || string(timeout.Stdout) != "hello\n" || timeout.Limit != 200*time.Millisecond {
		t.Fatal(err)
	}
	if !errors.Is(err, msb.CodeTimedOut) || !errors.Is(err, msb.CodeExecTimeout) || errors.Is(err, msb.CodeFailed) {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	for _, scenario := range []string{"refused", "bad-range", "not-ready", "close-handshake"} {
		_, err := msb.ConnectAgentPath(within(t, 5*time.Second), relay(t, scenario))
		if msb.CodeOf(err) != msb.CodeHandshakeFailed {
			t.Errorf("%s: %v", scenario, err)
		}
	}
}

func TestConnectingCanBeAborted(t *testing.T) {
	path := relay(t, "silent")
	_, err := msb.ConnectAgentPath(within(t, 200*time.Millisecond), path)
	wantCode(t, err, msb.CodeTimedOut)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err = msb.ConnectAgentPath(ctx, path); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestALongPath(t *testing.T) {
	path := relay(t, "plain")
	deep := filepath.Join(filepath.Dir(path), strings.Repeat("d", 60), strings.Repeat("e", 60))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(deep, "relay.sock")
	if err := os.Rename(path, long); err != nil {
		t.Fatal(err)
	}
	client, err := msb.ConnectAgentPath(within(t, 5*time.Second), long)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	output, err := client.Exec(within(t, 5*time.Second), "x", nil)
	if err != nil || output.ExitCode != 7 {
		t.Error(output, err)
	}
}

func TestOneMalformedMessageLeavesTheConnection(t *testing.T) {
	client := agent(t, "malformed")
	ctx := within(t, 5*time.Second)
	_, err := client.Exec(ctx, "x", nil)
	wantCode(t, err, msb.CodeProtocolError)
	if _, err := client.Exec(ctx, "x", nil); err != nil {
		t.Error(err)
	}
}

func TestTooMuchOutputEndsTheCommand(t *testing.T) {
	_, err := agent(t, "largest").Exec(within(t, 10*time.Second), "x", nil, msb.WithMaxOutput(1000))
	wantCode(t, err, msb.CodeTooLarge)
	if len(err.Error()) > 200 {
		t.Error(err)
	}
}

func TestEvents(t *testing.T) {
	ctx := within(t, 5*time.Second)
	process, err := agent(t, "plain").ExecStream(ctx, "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for {
		event, err := process.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, string(event.Kind))
	}
	if strings.Join(kinds, " ") != "started stdout stderr exited" {
		t.Error(kinds)
	}
	_, err = process.Stdout().Read(make([]byte, 1))
	wantCode(t, err, msb.CodeInvalidArgument)
}

func TestFileErrors(t *testing.T) {
	ctx := within(t, 5*time.Second)
	_, err := agent(t, "missing").Files().Read(ctx, "/nope")
	var file *msb.FileError
	if !errors.As(err, &file) || file.Errno != 2 || file.Path != "/nope" {
		t.Fatal(err)
	}
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, msb.CodePathNotFound) || !errors.Is(err, msb.CodeFileFailed) {
		t.Error(err)
	}
	_, err = agent(t, "listing-path").Files().List(ctx, "/x")
	wantCode(t, err, msb.CodeProtocolError)
	for _, path := range []string{"relative", "/a\x00b", ""} {
		_, err = agent(t, "old-agent").Files().Read(ctx, path)
		wantCode(t, err, msb.CodeInvalidArgument)
	}
}

func TestFileReaderIsAReader(t *testing.T) {
	ctx := within(t, 5*time.Second)
	reader, err := agent(t, "read").Files().Open(ctx, "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	contents, err := io.ReadAll(reader)
	if err != nil || string(contents) != "part one, part two" {
		t.Errorf("%q, %v", contents, err)
	}
	if stat, known := reader.Stat(); !known || stat.Size != 18 || stat.FileMode() != 0o644 {
		t.Errorf("%v, %v", stat, known)
	}
}
