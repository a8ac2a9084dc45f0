package msb_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	msb "github.com/msb-dev/msb/sdk/go"
	"github.com/msb-dev/msb/sdk/go/internal/vectors"
)

// folder returns a temporary folder whose path is short, as paths of sockets are limited.
func folder(t testing.TB) string {
	path, err := os.MkdirTemp("", "msb-t-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(path) })
	return path
}

// within returns a context that ends when a test would hang.
func within(t testing.TB, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// relay starts the fake relay of the conformance kit, and returns the path of its socket.
func relay(t testing.TB, scenario string) string {
	kit := vectors.Kit(t)
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("there is no python3 for the fake relay")
	}
	path := filepath.Join(folder(t), "relay.sock")
	command := exec.Command("python3", filepath.Join(kit, "fake_relay.py"), scenario, path)
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		_ = command.Wait()
	})
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return path
}

// agent connects to a fake relay.
func agent(t testing.TB, scenario string) *msb.AgentClient {
	client, err := msb.ConnectAgentPath(within(t, 5*time.Second), relay(t, scenario))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// fakeMsb returns a client of a shell script in place of msb, and the folder that is its MSB_HOME.
func fakeMsb(t testing.TB, body string) (*msb.Client, string) {
	home := folder(t)
	path := filepath.Join(home, "msb")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return msb.NewClient(msb.WithProgram(path), msb.WithHome(home)), home
}

// image returns the image for tests with a virtual machine, and skips the test without one.
func image(t testing.TB) string {
	if os.Getenv("MSB") == "" || os.Getenv("MSB_IMAGE") == "" {
		t.Skip("MSB and MSB_IMAGE are not set")
	}
	return os.Getenv("MSB_IMAGE")
}

// wantCode fails the test if an error has another code.
func wantCode(t testing.TB, err error, code msb.Code) {
	t.Helper()
	if msb.CodeOf(err) != code {
		t.Fatalf("the error has the code %q instead of %q: %v", msb.CodeOf(err), code, err)
	}
}
