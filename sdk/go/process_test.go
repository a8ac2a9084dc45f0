package msb_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	msb "github.com/msb-dev/msb/sdk/go"
)

func TestCancellingEndsTheCommand(t *testing.T) {
	signals := make(chan int64, 10)
	client, _ := play(t, func(p *peer, message received) {
		if message.Type == "core.exec.signal" {
			signals <- message.Payload["signal"].(int64)
		}
		if message.Type == "core.exec.request" {
			p.send(message.id, 0, "core.exec.started", map[string]any{"pid": 1})
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	began := time.Now()
	_, err := client.Exec(ctx, "x", nil, msb.WithGrace(100*time.Millisecond))
	if !errors.Is(err, context.Canceled) || time.Since(began) > time.Second {
		t.Fatal(err)
	}
	if first, second := <-signals, <-signals; first != 15 || second != 9 {
		t.Errorf("the signals were %d and %d", first, second)
	}
	if _, err = client.Exec(ctx, "x", nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestTheContextOfAStreamEndsItsReadsAndWrites(t *testing.T) {
	client, _ := play(t, command(nil))
	ctx, cancel := context.WithCancel(context.Background())
	process, err := client.ExecStream(ctx, "x", nil, msb.WithStdinPipe())
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := process.Stdout().Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := process.Wait(within(t, time.Second)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_, err = process.Stdin().Write([]byte("x"))
	wantCode(t, err, msb.CodeStdinClosed)
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func TestASilentCommandIsGivenUp(t *testing.T) {
	client, peer := play(t, func(p *peer, message received) {
		if message.Type == "core.exec.request" {
			p.send(message.id, 0, "core.exec.started", map[string]any{"pid": 1})
		}
	})
	process, err := client.ExecStream(context.Background(), "x", nil, msb.WithGrace(0))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	process.Close()
	if took := time.Since(began); took < 4*time.Second || took > 8*time.Second {
		t.Errorf("it was given up after %v", took)
	}
	if peer.count("core.exec.signal") != 2 {
		t.Error("it got no SIGTERM and SIGKILL")
	}
	_, err = process.Wait(context.Background())
	wantCode(t, err, msb.CodeUnresponsive)
}

func TestAGuestThatDoesNotAnswerIsUnresponsive(t *testing.T) {
	defer msb.SetPatience(20*time.Millisecond, 100*time.Millisecond)()
	client, peer := play(t, func(*peer, received) {})
	_, err := client.Exec(within(t, 5*time.Second), "x", nil)
	wantCode(t, err, msb.CodeUnresponsive)
	_, err = client.Files().Read(within(t, 5*time.Second), "/x")
	wantCode(t, err, msb.CodeUnresponsive)
	if peer.count("core.ping") == 0 {
		t.Error("it was not pinged")
	}
}

func TestASlowGuestThatAnswersPingsIsWaitedFor(t *testing.T) {
	defer msb.SetPatience(20*time.Millisecond, 100*time.Millisecond)()
	client, _ := play(t, func(p *peer, message received) {
		switch message.Type {
		case "core.ping":
			p.send(message.id, 1, "core.pong", map[string]any{})
		case "core.exec.request":
			time.AfterFunc(500*time.Millisecond, func() {
				p.send(message.id, 0, "core.exec.started", map[string]any{"pid": 1})
				p.send(message.id, 1, "core.exec.exited", map[string]any{"code": 0})
			})
		}
	})
	if _, err := client.Exec(within(t, 5*time.Second), "x", nil); err != nil {
		t.Error(err)
	}
}

func TestOutputIsAcknowledgedWhenItIsRead(t *testing.T) {
	piece := map[string]any{"data": bytes.Repeat([]byte("x"), 64*1024)}
	acks := make(chan int64, 100)
	client, _ := play(t, func(p *peer, message received) {
		if message.Type == "core.exec.output.ack" {
			acks <- message.Payload["bytes"].(int64)
		}
		command(func(p *peer, message received) {
			for count := 0; count < 16; count++ {
				p.send(message.id, 0, "core.exec.stdout", piece)
			}
		})(p, message)
	})
	process, err := client.ExecStream(within(t, 5*time.Second), "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	select {
	case count := <-acks:
		t.Fatalf("%d bytes were acknowledged before they were read", count)
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := io.ReadFull(process.Stdout(), make([]byte, 1024*1024)); err != nil {
		t.Fatal(err)
	}
	var last int64
	eventually(t, "not all output was acknowledged", func() bool {
		select {
		case last = <-acks:
		default:
		}
		return last == 1024*1024
	})
}

func TestWaitDropsWhatIsNotRead(t *testing.T) {
	piece := map[string]any{"data": make([]byte, 1024*1024)}
	client, _ := play(t, command(func(p *peer, message received) {
		for count := 0; count < 20; count++ {
			p.send(message.id, 0, "core.exec.stdout", piece)
		}
		p.send(message.id, 1, "core.exec.exited", map[string]any{"code": 0})
	}))
	ctx := within(t, 10*time.Second)
	process, err := client.ExecStream(ctx, "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := process.Wait(ctx); err != nil || !status.Success() {
		t.Fatal(status, err)
	}
	kept, err := io.ReadAll(process.Stdout())
	wantCode(t, err, msb.CodeTooLarge)
	if len(kept) == 0 || len(kept) > 8*1024*1024 {
		t.Errorf("%d bytes were kept", len(kept))
	}
}

func TestAFloodEndsTheCommand(t *testing.T) {
	piece := map[string]any{"data": make([]byte, 1024*1024)}
	client, peer := play(t, command(func(p *peer, message received) {
		for count := 0; count < 40; count++ {
			p.send(message.id, 0, "core.exec.stdout", piece)
		}
	}))
	ctx := within(t, 10*time.Second)
	process, err := client.ExecStream(ctx, "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it got no signal", func() bool { return peer.count("core.exec.signal") > 0 })
	_, err = process.Wait(ctx)
	wantCode(t, err, msb.CodeProtocolError)
}

func TestInputWaitsForAcknowledgements(t *testing.T) {
	client, peer := play(t, command(nil))
	process, err := client.ExecStream(within(t, 10*time.Second), "x", nil, msb.WithStdinPipe())
	if err != nil {
		t.Fatal(err)
	}
	written, err := process.Stdin().WriteContext(within(t, 100*time.Millisecond), make([]byte, 4*1024*1024))
	wantCode(t, err, msb.CodeTimedOut)
	if written != 1024*1024 {
		t.Errorf("%d bytes were written", written)
	}
	eventually(t, "the input was not sent", func() bool { return peer.count("core.exec.stdin") == 8 })
	process.Close()
	if err := process.Stdin().Close(); err != nil {
		t.Error(err)
	}
}

func TestAnInputThatFailsEndsTheCommand(t *testing.T) {
	client, _ := play(t, command(nil))
	broken := errors.New("broken")
	_, err := client.Exec(within(t, 5*time.Second), "x", nil, msb.WithStdin(io.MultiReader(strings.NewReader("a"), failing{broken})))
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestDetachLeavesTheCommand(t *testing.T) {
	client, peer := play(t, command(nil))
	process, err := client.ExecStream(within(t, 5*time.Second), "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	process.Detach()
	process.Close()
	if peer.count("core.exec.signal") != 0 {
		t.Error("it got a signal")
	}
}

func TestClosingAProcessEndsIt(t *testing.T) {
	client, _ := play(t, command(nil))
	ctx := within(t, 5*time.Second)
	process, err := client.ExecStream(ctx, "x", nil)
	if err != nil || process.PID() != 42 {
		t.Fatal(err)
	}
	process.Close()
	status, err := process.Wait(ctx)
	if err != nil || status.Signal != msb.SIGTERM || status.ExitCode != 143 || status.String() != "signal 15" {
		t.Error(status, err)
	}
	if err := process.Kill(ctx); err != nil {
		t.Error(err)
	}
	wantCode(t, process.Signal(ctx, 65), msb.CodeInvalidArgument)
	wantCode(t, process.Resize(ctx, 1, 1), msb.CodeInvalidArgument)
}

func TestAnAbandonedFileSaysSo(t *testing.T) {
	client, _ := play(t, func(p *peer, message received) {
		if message.Type == "core.ping" {
			p.send(message.id, 1, "core.pong", nil)
		}
	})
	writer, err := client.Files().Create(within(t, 5*time.Second), "/x", msb.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	writer.Abort()
	wantCode(t, writer.Close(), msb.CodeClosed)
	_, err = writer.Write([]byte("x"))
	wantCode(t, err, msb.CodeClosed)
}

func TestNothingIsLeftBehind(t *testing.T) {
	client, _ := play(t, command(func(p *peer, message received) {
		p.send(message.id, 1, "core.exec.exited", map[string]any{"code": 0})
	}))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	before := runtime.NumGoroutine()
	for count := 0; count < 200; count++ {
		if _, err := client.Exec(ctx, "x", nil, msb.WithStdin(strings.NewReader("x"))); err != nil {
			t.Fatal(err)
		}
		process, err := client.ExecStream(ctx, "x", nil)
		if err != nil {
			t.Fatal(err)
		}
		process.Close()
	}
	eventually(t, "goroutines are left", func() bool { return runtime.NumGoroutine() <= before+2 })
}

func TestAReaderCanBeClosedWhileItReads(t *testing.T) {
	client, _ := play(t, func(p *peer, message received) {
		if message.Type == "core.fs.request" {
			p.send(message.id, 0, "core.fs.data", map[string]any{"data": []byte("x")})
		}
	})
	reader, err := client.Files().Open(within(t, 5*time.Second), "/x")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { reader.Close() })
	contents, err := io.ReadAll(reader)
	wantCode(t, err, msb.CodeClosed)
	if string(contents) != "x" {
		t.Errorf("%q", contents)
	}
}

func TestAnOperationWaitsForAPlace(t *testing.T) {
	var refusals atomic.Int32
	busy := map[string]any{"failure": map[string]any{"kind": "busy", "message": "16 file operations are under way already"}}
	client, _ := play(t, func(p *peer, message received) {
		switch {
		case message.Type == "core.ping":
			p.send(message.id, 1, "core.pong", nil)
		case message.Type == "core.fs.request" && refusals.Add(1)%3 != 0:
			p.send(message.id, 1, "core.fs.response", busy)
		case message.Type == "core.fs.request" && message.Payload["data"] != nil, message.Type == "core.fs.data":
			p.send(message.id, 1, "core.fs.response", nil)
		}
	})
	ctx := within(t, 5*time.Second)
	if err := client.Files().Write(ctx, "/x", []byte("x"), msb.WriteOptions{}); err != nil {
		t.Error(err)
	}
	writer, err := client.Files().Create(ctx, "/x", msb.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil || refusals.Load() != 6 {
		t.Error(refusals.Load(), err)
	}
}

func TestARawStreamWithoutAReaderStopsTheOthersOnly(t *testing.T) {
	piece := map[string]any{"data": make([]byte, 1024*1024)}
	client, _ := play(t, func(p *peer, message received) {
		if message.Type == "core.later.request" {
			for count := 0; count < 30; count++ {
				p.send(message.id, 0, "core.later.event", piece)
			}
			p.send(message.id, 1, "core.later.response", nil)
		}
	})
	ctx := within(t, 10*time.Second)
	frame, err := msb.NewFrame(msb.FlagSessionStart, "core.later.request", nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := client.Stream(ctx, frame)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	frames := 0
	for {
		if _, err := stream.Next(ctx); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		frames++
	}
	if frames != 31 {
		t.Errorf("%d frames were received", frames)
	}
}

func TestWrongArgumentsOfCommands(t *testing.T) {
	client, _ := play(t, command(nil))
	ctx := within(t, 5*time.Second)
	for name, options := range map[string][]msb.ExecOption{
		"a negative timeout":  {msb.WithTimeout(-1)},
		"a negative grace":    {msb.WithGrace(-1)},
		"a negative limit":    {msb.WithMaxOutput(-1)},
		"a name with =":       {msb.WithEnv("A=", "1")},
		"an empty name":       {msb.WithEnvMap(map[string]string{"": "1"})},
		"input of a terminal": {msb.WithTTY(24, 80), msb.WithStdin(strings.NewReader("x"))},
		"two inputs":          {msb.WithStdinPipe(), msb.WithStdin(strings.NewReader("x"))},
		"a pipe":              {msb.WithStdinPipe()},
		"no rows":             {msb.WithTTY(0, 80)},
		"no resource":         {msb.WithRlimits(msb.Rlimit{})},
		"NUL":                 {msb.WithDir("/a\x00b")},
	} {
		if _, err := client.Exec(ctx, "x", nil, options...); msb.CodeOf(err) != msb.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, cmd := range []string{"", "a\x00b"} {
		_, err := client.Exec(ctx, cmd, nil)
		wantCode(t, err, msb.CodeInvalidArgument)
	}
	process, err := client.ExecStream(ctx, "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = process.Stdin().Write([]byte("x"))
	wantCode(t, err, msb.CodeInvalidArgument)
}
