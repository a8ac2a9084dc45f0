package msb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	msb "github.com/msb-dev/msb/sdk/go"
)

const (
	// runs is a script that stores its process id, and runs on.
	runs = "echo $$ > /tmp/pid; exec sleep 7777"
	// alive is a script that says whether it runs.
	alive = "test -s /tmp/pid && kill -0 $(cat /tmp/pid)"
)

var shared struct {
	once    sync.Once
	sandbox *msb.Sandbox
	home    string
	err     error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.sandbox != nil {
		if err := shared.sandbox.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if shared.home != "" {
		os.RemoveAll(shared.home)
	}
	os.Exit(code)
}

// vm returns a running sandbox that the tests share.
func vm(t testing.TB) *msb.Sandbox {
	name := image(t)
	shared.once.Do(func() {
		if shared.home, shared.err = os.MkdirTemp("", "msb-t-"); shared.err != nil {
			return
		}
		client := msb.NewClient(msb.WithHome(shared.home))
		options := msb.CreateOptions{Image: name, MemoryMiB: 512, Ephemeral: true}
		shared.sandbox, shared.err = client.Create(context.Background(), "a", options)
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.sandbox
}

func TestACancelledCommandIsGoneWithinASecond(t *testing.T) {
	sandbox := vm(t)
	for name, options := range map[string][]msb.ExecOption{
		"without input": nil,
		"with input":    {msb.WithStdin(strings.NewReader(strings.Repeat("x", 1000)))},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		wait := within(t, 20*time.Second)
		if _, err := sandbox.Shell(wait, "rm -f /tmp/pid"); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := sandbox.Shell(ctx, runs, options...)
			done <- err
		}()
		eventually(t, "the command does not run", func() bool {
			output, err := sandbox.Shell(wait, alive)
			return err == nil && output.Success()
		})
		began := time.Now()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		eventually(t, "the command runs on", func() bool {
			output, err := sandbox.Shell(wait, alive)
			return err == nil && !output.Success()
		})
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: it was gone after %v", name, took)
		}
	}
}

func TestManyCommandsAtOnce(t *testing.T) {
	sandbox := vm(t)
	count := 200
	if text := os.Getenv("MSB_TEST_EXECS"); text != "" {
		count, _ = strconv.Atoi(text)
	}
	ctx := within(t, 2*time.Minute)
	var running sync.WaitGroup
	for number := 0; number < count; number++ {
		number := number
		running.Add(1)
		go func() {
			defer running.Done()
			output, err := sandbox.Exec(ctx, "echo", []string{strconv.Itoa(number)})
			if err != nil || strings.TrimSpace(string(output.Stdout)) != strconv.Itoa(number) {
				t.Error(number, err)
			}
		}()
	}
	running.Wait()
}

func TestASlowReaderSlowsOnlyItsCommand(t *testing.T) {
	sandbox := vm(t)
	ctx := within(t, 30*time.Second)
	slow, err := sandbox.ExecStream(ctx, "dd", []string{"if=/dev/zero", "bs=64k", "count=320"})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := io.ReadFull(slow.Stdout(), make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for count := 0; count < 3; count++ {
		if output, err := sandbox.Exec(ctx, "echo", []string{"x"}); err != nil || string(output.Stdout) != "x\n" {
			t.Fatal(err)
		}
	}
	rest, err := io.Copy(io.Discard, slow.Stdout())
	if err != nil || rest != 320*65536-1 {
		t.Error(rest, err)
	}
}

func TestLargeInputAndOutput(t *testing.T) {
	sandbox := vm(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	output, err := sandbox.Exec(within(t, 30*time.Second), "cat", nil, msb.WithStdin(bytes.NewReader(data)))
	if err != nil || !bytes.Equal(output.Stdout, data) {
		t.Error(err)
	}
}

func TestTheSampleOfTheChangelog(t *testing.T) {
	sandbox := vm(t)
	ctx := within(t, 20*time.Second)
	began := time.Now().Add(-5 * time.Second)
	if _, err := sandbox.Exec(ctx, "echo", []string{"for the log"}); err != nil {
		t.Fatal(err)
	}
	stream, err := sandbox.LogStream(ctx, msb.LogOptions{Follow: true, Since: began})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for {
		entry, err := stream.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if entry.Text() == "for the log" {
			if entry.Source != msb.SourceStdout || entry.Timestamp.Location() != time.UTC {
				t.Error(entry)
			}
			return
		}
	}
}

func TestTheConnectionSurvivesARestart(t *testing.T) {
	vm(t)
	client := msb.NewClient(msb.WithHome(shared.home))
	ctx := within(t, time.Minute)
	other, err := client.Create(ctx, "b", msb.CreateOptions{Image: image(t), Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for count := 0; count < 2; count++ {
		if _, err := other.Exec(ctx, "true", nil); err != nil {
			t.Fatal(err)
		}
		if err := other.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	process, err := other.ExecStream(ctx, "sleep", []string{"100"})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = process.Wait(ctx)
	wantCode(t, err, msb.CodeConnectionLost)
	_, err = other.Exec(ctx, "true", nil)
	wantCode(t, err, msb.CodeSandboxNotRunning)
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	_, err = client.Get(ctx, "b")
	wantCode(t, err, msb.CodeSandboxNotFound)
}

func TestChangesByName(t *testing.T) {
	vm(t)
	client := msb.NewClient(msb.WithHome(shared.home))
	ctx := within(t, time.Minute)
	made, err := client.ConnectOrCreate(ctx, "s", msb.CreateOptions{Image: image(t), Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	if err := client.StopWithTimeout(ctx, "s", 5*time.Second); err != nil {
		t.Error(err)
	}
	found, err := client.ConnectOrCreate(ctx, "s", msb.CreateOptions{Image: image(t)})
	if err != nil || found.Owned() || found.Status() != msb.StatusRunning {
		t.Fatal(found, err)
	}
	if err := client.Kill(ctx, "s"); err != nil {
		t.Error(err)
	}
	if again, err := client.Start(ctx, "s"); err != nil || again.Status() != msb.StatusRunning {
		t.Error(err)
	}
	if err := client.Stop(ctx, "nope"); msb.CodeOf(err) != msb.CodeSandboxNotFound {
		t.Error(err)
	}
	// Close leaves alone what it does not own.
	if err := found.Close(); err != nil {
		t.Error(err)
	}
	if status, err := made.WaitForStatus(ctx, msb.StatusRunning); err != nil || status != msb.StatusRunning {
		t.Error(status, err)
	}
}

func TestAMainProcessThatDoesNotStart(t *testing.T) {
	vm(t)
	client := msb.NewClient(msb.WithHome(shared.home))
	ctx := within(t, time.Minute)
	_, err := client.Create(ctx, "n", msb.CreateOptions{Image: image(t), Command: []string{"/nope"}})
	var boot *msb.BootStartError
	if !errors.As(err, &boot) || boot.ErrnoName != "ENOENT" || boot.Err.Name != "n" {
		t.Errorf("%#v", err)
	}
	if err := client.Remove(ctx, "n", msb.RemoveOptions{Force: true}); err != nil {
		t.Error(err)
	}
}

func BenchmarkExec(b *testing.B) {
	sandbox := vm(b)
	ctx := within(b, time.Minute)
	for count := 0; count < b.N; count++ {
		if _, err := sandbox.Exec(ctx, "true", nil); err != nil {
			b.Fatal(err)
		}
	}
}

func TestCommandsOfAPausedSandboxSaySo(t *testing.T) {
	vm(t)
	defer msb.SetPatience(100*time.Millisecond, 500*time.Millisecond)()
	client := msb.NewClient(msb.WithHome(shared.home))
	ctx := within(t, time.Minute)
	other, err := client.Create(ctx, "p", msb.CreateOptions{Image: image(t), Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	if err := other.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = other.Exec(ctx, "true", nil)
	wantCode(t, err, msb.CodeSandboxPaused)
	if err := other.Resume(ctx); err != nil {
		t.Error(err)
	}
}

func TestFilesInTheGuest(t *testing.T) {
	files := vm(t).Files()
	ctx := within(t, 20*time.Second)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(files.Write(ctx, "/tmp/new/one", []byte("1"), msb.WriteOptions{Parents: true, Mode: msb.Mode(0o600), User: "1:1"}))
	check(files.Copy(ctx, "/tmp/new/one", "/tmp/two", msb.CopyOptions{}))
	check(files.Rename(ctx, "/tmp/two", "/tmp/three"))
	check(files.Symlink(ctx, "/tmp/three", "/tmp/link"))
	stat, err := files.Stat(ctx, "/tmp/link")
	if err != nil || stat.Kind != msb.KindFile || stat.Mode != 0o600 || stat.UID != 1 {
		t.Error(stat, err)
	}
	real, err := files.RealPath(ctx, "/tmp/link")
	if err != nil || real != "/tmp/three" {
		t.Error(real, err)
	}
	if target, err := files.ReadLink(ctx, "/tmp/link"); err != nil || target != "/tmp/three" {
		t.Error(target, err)
	}
}

func TestAnAbandonedWriteLeavesNoFile(t *testing.T) {
	files := vm(t).Files()
	ctx := within(t, 20*time.Second)
	// More than the guest has places for, so that an abandoned transfer must give its own back.
	for count := 0; count < 20; count++ {
		writer, err := files.Create(ctx, "/tmp/never", msb.WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write(make([]byte, 300_000)); err != nil {
			t.Fatal(err)
		}
		writer.Abort()
	}
	if exists, err := files.Exists(ctx, "/tmp/never"); err != nil || exists {
		t.Error(exists, err)
	}
}

func TestManyOperationsOnFilesAtOnce(t *testing.T) {
	files := vm(t).Files()
	ctx := within(t, time.Minute)
	var running sync.WaitGroup
	for number := 0; number < 100; number++ {
		path := fmt.Sprintf("/tmp/many/%d", number)
		running.Add(1)
		go func() {
			defer running.Done()
			if err := files.Write(ctx, path, bytes.Repeat([]byte(path), 20_000), msb.WriteOptions{Parents: true}); err != nil {
				t.Error(err)
			}
			if text, err := files.ReadText(ctx, path); err != nil || len(text) != 20_000*len(path) {
				t.Error(len(text), err)
			}
		}()
	}
	running.Wait()
	if entries, err := files.List(ctx, "/tmp/many"); err != nil || len(entries) != 100 {
		t.Error(len(entries), err)
	}
}

func TestCopyFromAReader(t *testing.T) {
	files := vm(t).Files()
	ctx := within(t, 20*time.Second)
	writer, err := files.Create(ctx, "/tmp/copied", msb.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(writer, io.LimitReader(zeros{}, 3_000_000)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	reader, err := files.Open(ctx, "/tmp/copied")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if count, err := io.Copy(io.Discard, reader); err != nil || count != 3_000_000 {
		t.Error(count, err)
	}
}

type zeros struct{}

func (zeros) Read(into []byte) (int, error) { return len(into), nil }
