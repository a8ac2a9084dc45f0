// Command agent-loop runs generated code in a sandbox: no network but one host, a time limit, and only its files come
// out.
//
//	agent-loop [IMAGE]
//
// A real agent would ask a model for the next program; this one has three prepared: one that works, one that never ends,
// and one that tries to reach a host that is not allowed.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	msb "github.com/msb-dev/msb/sdk/go"
)

const (
	// allowedHost is the only host that generated code may connect to.
	allowedHost = "api.example.org"
	// timeLimit is the longest run of one program.
	timeLimit = 5 * time.Second
	// outputLimit is the most output that goes back to the model, in bytes.
	outputLimit = 1024 * 1024
)

var programs = []string{
	"mkdir -p /work/out && echo 'the answer is 42' > /work/out/answer.txt && echo done",
	"echo thinking; while :; do :; done",
	"ping -c 1 -W 1 192.0.2.1",
}

func main() {
	image := "alpine"
	if len(os.Args) > 1 {
		image = os.Args[1]
	}
	// Ctrl-C ends the program that runs, and removes the sandbox.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, image); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, image string) (err error) {
	sandbox, err := msb.NewClient().Create(ctx, fmt.Sprintf("agent-%d", os.Getpid()), msb.CreateOptions{
		Image:       image,
		MemoryMiB:   256,
		Network:     msb.OnlyHosts(allowedHost),
		MaxDuration: 10 * time.Minute,
		Ephemeral:   true,
	})
	if err != nil {
		return err
	}
	defer func() {
		if closeError := sandbox.Close(); err == nil {
			err = closeError
		}
	}()
	for number, program := range programs {
		feedback, err := runProgram(ctx, sandbox, program)
		if err != nil {
			return err
		}
		fmt.Printf("program %d: %s\n", number+1, feedback)
	}
	return printFiles(ctx, sandbox)
}

// runProgram runs one program, and returns what the model is told about it.
func runProgram(ctx context.Context, sandbox *msb.Sandbox, program string) (string, error) {
	options := msb.WriteOptions{Parents: true}
	if err := sandbox.Files().Write(ctx, "/work/program.sh", []byte(program), options); err != nil {
		return "", err
	}
	output, err := sandbox.Exec(ctx, "sh", []string{"/work/program.sh"},
		msb.WithDir("/work"), msb.WithTimeout(timeLimit), msb.WithMaxOutput(outputLimit))
	var timeout *msb.ExecTimeoutError
	switch {
	case errors.As(err, &timeout):
		return fmt.Sprintf("ended after %v; it wrote %q", timeout.Limit, timeout.Stdout), nil
	case errors.Is(err, msb.CodeTooLarge):
		return err.Error(), nil
	case err != nil:
		return "", err
	}
	return fmt.Sprintf("exit code %d; it wrote %q", output.ExitCode, output.StdoutText()+output.StderrText()), nil
}

// printFiles prints the files that the programs have made. Their names are the guest's, but each is one plain element
// of a path. Only regular files of a bounded size are read.
func printFiles(ctx context.Context, sandbox *msb.Sandbox) error {
	entries, err := sandbox.Files().List(ctx, "/work/out")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Kind != msb.KindFile || entry.Size > outputLimit {
			continue
		}
		contents, err := sandbox.Files().Read(ctx, entry.Path)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s", entry.Name, contents)
	}
	return nil
}
