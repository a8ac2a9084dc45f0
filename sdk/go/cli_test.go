package msb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	msb "github.com/msb-dev/msb/sdk/go"
)

const report = `{"version":1,"error":{"code":"%s","message":"it failed","causes":["one"],"hint":"do this","name":"web"}}`

func TestTypedFailures(t *testing.T) {
	for _, code := range []msb.Code{msb.CodeSandboxNotFound, msb.CodeInUse, msb.CodeLocked, "moon-phase"} {
		err := msb.FailureOf(6, "noise\n"+fmt.Sprintf(report, code)+"\n", "")
		var known *msb.Error
		if !errors.As(err, &known) || !errors.Is(err, code) {
			t.Fatal(err)
		}
		if known.Hint != "do this" || known.Name != "web" || known.ExitCode != 6 {
			t.Errorf("%#v", known)
		}
		if err.Error() != "it failed: one (hint: do this)" {
			t.Error(err)
		}
	}
}

func TestTextsOfAnOlderMsb(t *testing.T) {
	for text, code := range map[string]msb.Code{
		`error: there is no sandbox "x"`:                                   msb.CodeSandboxNotFound,
		"error: a sandbox a already exists\nhint: --replace replaces it":   msb.CodeSandboxExists,
		"error: b is not running":                                          msb.CodeSandboxNotRunning,
		"error: missed a rotation: the next file 2 of exec.log is missing": msb.CodeMissedRotation,
		`error: invalid value: "bad" is not a cursor of msb logs`:          msb.CodeInvalidCursor,
		"error: something else":                                            msb.CodeFailed,
		"":                                                                 msb.CodeFailed,
	} {
		wantCode(t, msb.FailureOf(1, text, "x"), code)
	}
	for exitCode, code := range map[int]msb.Code{3: msb.CodeMismatch, 4: msb.CodeTimedOut, 64: msb.CodeUsage, 130: msb.CodeInterrupted} {
		wantCode(t, msb.FailureOf(exitCode, "", ""), code)
	}
	var missed *msb.MissedRotationError
	if !errors.As(msb.FailureOf(1, "error: missed a rotation: the next file 2 of exec.log", ""), &missed) || missed.DroppedFromOffset != 2 {
		t.Errorf("%#v", missed)
	}
	var cursor *msb.InvalidCursorError
	if !errors.As(msb.FailureOf(1, "error: x is not a cursor", ""), &cursor) {
		t.Error("it is no InvalidCursorError")
	}
}

func TestABroadSuffix(t *testing.T) {
	text := `{"version":1,"error":{"code":"usage","message":"it has an error","causes":[],"hint":null},"findings":[` +
		`{"code":"msb::sandboxfile::%s","message":"` + "`*.com`" + ` matches a whole top-level domain","help":"name a domain"}]}`
	err := msb.FailureOf(64, fmt.Sprintf(text, "suffix_too_broad"), "")
	var broad *msb.SuffixTooBroadError
	if !errors.As(err, &broad) || broad.Raw != "*.com" || broad.Err.Hint != "name a domain" || !errors.Is(err, msb.CodeUsage) {
		t.Errorf("%#v", err)
	}
	wantCode(t, msb.FailureOf(64, fmt.Sprintf(text, "other"), ""), msb.CodeUsage)
}

func TestThereIsNoMsb(t *testing.T) {
	client := msb.NewClient(msb.WithProgram(filepath.Join(folder(t), "none")))
	_, err := client.List(within(t, 5*time.Second), msb.ListOptions{})
	wantCode(t, err, msb.CodeMsbNotFound)
}

func TestAnOlderMsb(t *testing.T) {
	client, home := fakeMsb(t, `echo "$@" >> "$MSB_HOME/calls"
case "$*" in *--json*) echo "error: unexpected argument '--json' found" >&2; exit 64;; esac`)
	ctx := within(t, 10*time.Second)
	for name, force := range map[string]bool{"a": false} {
		if err := client.Remove(ctx, name, msb.RemoveOptions{Force: force}); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Remove(ctx, "b", msb.RemoveOptions{Force: true, Timeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	calls, _ := os.ReadFile(filepath.Join(home, "calls"))
	if string(calls) != "rm --json -- a\nrm -- a\nrm --force --timeout=1000ms -- b\n" {
		t.Errorf("%s", calls)
	}
}

func TestResultsWithAFailure(t *testing.T) {
	client, _ := fakeMsb(t, `echo '{"version":1,"sandboxes":[{"name":"a","outcome":"failed","error":`+
		`{"code":"sandbox-running","message":"a runs","causes":[],"hint":null,"name":"a"}}]}'`)
	wantCode(t, client.Remove(within(t, 5*time.Second), "a", msb.RemoveOptions{}), msb.CodeSandboxRunning)
}

func TestPages(t *testing.T) {
	var entries []string
	for number, name := range []string{"e", "d", "c", "b", "a"} {
		entries = append(entries, fmt.Sprintf(`{"full_name":"%s","state":"stopped","agent_socket":"/none",`+
			`"spec":{"definition":{"labels":{"odd":"%d"}}}}`, name, number%2))
	}
	client, _ := fakeMsb(t, "echo '{\"sandboxes\":["+strings.Join(entries, ",")+"]}'")
	ctx := within(t, 5*time.Second)
	page, err := client.List(ctx, msb.ListOptions{Limit: 2})
	if err != nil || len(page.Sandboxes) != 2 || page.Sandboxes[0].Name() != "a" || page.NextCursor != "b" {
		t.Errorf("%v, %v", page, err)
	}
	page, err = client.List(ctx, msb.ListOptions{Labels: map[string]string{"odd": "1"}})
	if err != nil || len(page.Sandboxes) != 2 || page.Sandboxes[1].Name() != "d" || page.NextCursor != "" {
		t.Errorf("%v, %v", page, err)
	}
	_, err = client.List(ctx, msb.ListOptions{Limit: -1})
	wantCode(t, err, msb.CodeInvalidArgument)
}

func TestCancellingEndsMsb(t *testing.T) {
	client, home := fakeMsb(t, `echo $$ > "$MSB_HOME/new" && mv "$MSB_HOME/new" "$MSB_HOME/pid"
exec sleep 100`)
	ctx, cancel := context.WithCancel(context.Background())
	var pid int
	go func() {
		defer cancel()
		eventually(t, "msb was not started", func() bool {
			text, _ := os.ReadFile(filepath.Join(home, "pid"))
			pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
			return pid > 0
		})
	}()
	if _, err := client.List(ctx, msb.ListOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Error("msb still runs")
	}
}

func TestCancellingEndsAnMsbThatIgnoresSigterm(t *testing.T) {
	client, _ := fakeMsb(t, "trap '' TERM\nwhile :; do sleep 0.1; done")
	began := time.Now()
	_, err := client.List(within(t, 300*time.Millisecond), msb.ListOptions{})
	wantCode(t, err, msb.CodeTimedOut)
	if time.Since(began) > 8*time.Second {
		t.Error("it took too long")
	}
}

func TestAPipeThatStaysOpenDoesNotHang(t *testing.T) {
	client, _ := fakeMsb(t, `sleep 100 &
echo $! > "$MSB_HOME/pid"
echo '{"sandboxes":[]}'`)
	began := time.Now()
	if _, err := client.List(within(t, 10*time.Second), msb.ListOptions{}); err != nil || time.Since(began) > 5*time.Second {
		t.Error(err, time.Since(began))
	}
}

const oneSandbox = `*) echo '{"sandboxes":[{"full_name":"a","state":"running","agent_socket":"/none"}]}';; esac`

func TestALineThatIsNotJSON(t *testing.T) {
	client, _ := fakeMsb(t, "case $1 in logs) echo nonsense;; "+oneSandbox)
	ctx := within(t, 5*time.Second)
	sandbox, err := client.Get(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = sandbox.Logs(ctx, msb.LogOptions{})
	wantCode(t, err, msb.CodeProtocolError)
	_, err = sandbox.Exec(ctx, "true", nil)
	wantCode(t, err, msb.CodeSandboxNotRunning)
}

func TestMissedRotation(t *testing.T) {
	client, _ := fakeMsb(t, `case $1 in logs)
echo '{"t":"2026-11-30T18:04:27.202Z","name":"a","s":"stdout","id":1,"d":"AP8=","e":"b64","cursor":"c1"}'
echo "error: missed a rotation: the next file 2 of exec.log was removed" >&2
echo "hint: read without" >&2
exit 1;; `+oneSandbox)
	ctx := within(t, 5*time.Second)
	sandbox, err := client.Get(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := sandbox.LogStream(ctx, msb.LogOptions{Follow: true, Cursor: "c0"})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	entry, err := stream.Next(ctx)
	if err != nil || string(entry.Data) != "\x00\xff" || entry.Timestamp.UnixMilli() != 1796061867202 || entry.SessionID != 1 {
		t.Errorf("%v, %v", entry, err)
	}
	_, err = stream.Next(ctx)
	var missed *msb.MissedRotationError
	if !errors.As(err, &missed) || missed.Err.Hint != "read without" || missed.DroppedFromOffset != 2 {
		t.Error(err)
	}
}

func TestAStreamCanBeClosedAndCancelled(t *testing.T) {
	client, _ := fakeMsb(t, `case $1 in logs) exec yes '{"t":"2026-11-30T18:04:27Z","s":"stdout","d":"x","cursor":"c"}';; `+oneSandbox)
	ctx := within(t, 10*time.Second)
	sandbox, err := client.Get(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := sandbox.LogStream(ctx, msb.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Next(ctx); err != nil {
		t.Error(err)
	}
	stream.Close()
	_, err = stream.Next(ctx)
	wantCode(t, err, msb.CodeClosed)
	short, cancel := context.WithCancel(ctx)
	if stream, err = sandbox.LogStream(short, msb.LogOptions{Follow: true}); err != nil {
		t.Fatal(err)
	}
	cancel()
	eventually(t, "the stream goes on", func() bool {
		_, err = stream.Next(context.Background())
		return err != nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestALongStreamIsNotCutAtTheEndOfMsb(t *testing.T) {
	client, _ := fakeMsb(t, `case $1 in logs) for i in $(seq 300); do
echo '{"t":"2026-11-30T18:04:27Z","s":"stdout","d":"x","cursor":"c"}'; done;; `+oneSandbox)
	ctx := within(t, 20*time.Second)
	sandbox, err := client.Get(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := sandbox.LogStream(ctx, msb.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Long enough that msb has ended, and the deadline of its pipe has passed.
	time.Sleep(1500 * time.Millisecond)
	entries, err := stream.Collect(ctx)
	if err != nil || len(entries) != 300 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

func TestAFailedProject(t *testing.T) {
	client, home := fakeMsb(t, `echo '{"event":"step_began","step":"s","title":"t","sandbox":"web"}'
echo '{"event":"finished","ok":false,"error":{"code":"failed","message":"there is no image \"x\""}}'
echo "error: it failed" >&2
exit 1`)
	ctx := within(t, 5*time.Second)
	run, err := client.Project(home).Up(ctx, msb.UpOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	event, err := run.Next(ctx)
	if err != nil || event.Event != "step_began" || event.Sandbox != "web" {
		t.Errorf("%v, %v", event, err)
	}
	last, err := run.Wait(ctx)
	wantCode(t, err, msb.CodeImageNotFound)
	if last.Event != "finished" || last.OK {
		t.Errorf("%v", last)
	}
}

func TestASandboxThatDoesNotStart(t *testing.T) {
	client, _ := fakeMsb(t, `case $1 in create) echo "error: a could not be created and started" >&2; exit 1;;
logs) echo '{"t":"2026-11-30T18:04:27Z","s":"stderr","d":"the reason","cursor":"c"}';;
*) echo '{"sandboxes":[{"full_name":"a","state":"exited","last_exit":{"kind":"not_started","code":127,"message":"exec: no such file (ENOENT)"}}]}';; esac`)
	_, err := client.Create(within(t, 5*time.Second), "a", msb.CreateOptions{Image: "alpine"})
	var boot *msb.BootStartError
	if !errors.As(err, &boot) || boot.ErrnoName != "ENOENT" || boot.Stage != "not_started" || boot.LogTail != "the reason\n" {
		t.Fatalf("%#v", err)
	}
	wantCode(t, err, msb.CodeFailed)
}

func TestLogOptions(t *testing.T) {
	args, err := msb.LogArguments("a", msb.LogOptions{
		Tail: 3, Cursor: "c", Sources: []msb.LogSource{msb.SourceAll}, Since: time.Unix(0, 0), Follow: true,
	})
	joined := strings.Join(args, " ")
	if err != nil || !strings.HasPrefix(joined, "logs --json --follow --tail=3 --since=1970-01-01T00:00:00Z --cursor=c --source=stdout") {
		t.Error(joined, err)
	}
	for _, wrong := range []msb.LogOptions{{Tail: -1}, {Sources: []msb.LogSource{"nonsense"}}} {
		_, err := msb.LogArguments("a", wrong)
		wantCode(t, err, msb.CodeInvalidArgument)
	}
}

func TestErrorsOfContexts(t *testing.T) {
	client, _ := fakeMsb(t, "exec sleep 100")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := client.Get(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if msb.CodeOf(nil) != "" || msb.CodeOf(io.EOF) != msb.CodeFailed || msb.CodeOf(context.DeadlineExceeded) != msb.CodeTimedOut {
		t.Error("a code is wrong")
	}
}
