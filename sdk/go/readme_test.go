package msb_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// frame is what the examples that are no programs are in.
const frame = `package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	msb "github.com/msb-dev/msb/sdk/go"
)

var _, _, _, _, _ = errors.As, io.EOF, os.Stdout, strings.Fields, time.Second

func main() {
	ctx := context.Background()
	client := msb.NewClient()
	sandbox, err := client.Create(ctx, "readme", msb.CreateOptions{Image: "alpine", Ephemeral: true})
	if err != nil {
		log.Fatal(err)
	}
	defer sandbox.Close()
	if err := example(ctx, client, sandbox); err != nil {
		log.Panic(err)
	}
	fmt.Println("done")
}

func example(ctx context.Context, client *msb.Client, sandbox *msb.Sandbox) error {
%s}
`

var block = regexp.MustCompile("(?s)```go\n(.*?)```")

// programs writes the examples of README.md as programs of one module, and returns their folders.
func programs(t *testing.T, root, image string) []string {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for number, found := range block.FindAllStringSubmatch(string(readme), -1) {
		program := found[1]
		if !strings.HasPrefix(program, "package main") {
			program = fmt.Sprintf(frame, program)
		}
		program = strings.ReplaceAll(program, `"alpine"`, fmt.Sprintf("%q", image))
		path := filepath.Join(root, fmt.Sprint("example", number+1))
		write(t, filepath.Join(path, "main.go"), program)
		folders = append(folders, path)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "go.mod"), "module readme\n\ngo 1.19\n\nrequire github.com/msb-dev/msb/sdk/go v0.0.0\n\n"+
		"replace github.com/msb-dev/msb/sdk/go => "+here+"\n")
	return folders
}

func write(t *testing.T, path, text string) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs a program, and returns its standard output.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	command := exec.Command(name, args...)
	command.Dir = dir
	command.Env = append(append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off"), env...)
	var stderr strings.Builder
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Errorf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, output, stderr.String())
	}
	return string(output)
}

func TestReadme(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds programs")
	}
	root := folder(t)
	name := os.Getenv("MSB_IMAGE")
	examples := programs(t, root, name)
	run(t, root, nil, "go", "vet", "./...")
	bin := filepath.Join(root, "bin") + "/"
	run(t, root, nil, "go", "build", "-o", bin, "./...")
	image(t)
	sandboxfile, err := os.ReadFile("examples/project/Sandboxfile")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "examples/project/Sandboxfile"), strings.ReplaceAll(string(sandboxfile), `"alpine"`, fmt.Sprintf("%q", name)))
	env := []string{"MSB_HOME=" + filepath.Join(root, "h")}
	for number, path := range examples {
		output := run(t, root, env, bin+filepath.Base(path))
		switch {
		case number == 0 && output != "hello from a sandbox\n":
			t.Errorf("the first example printed %q", output)
		case number > 0 && !strings.HasSuffix(output, "done\n"):
			t.Errorf("example %d printed %q", number+1, output)
		}
	}
}

func TestAgentLoop(t *testing.T) {
	name := image(t)
	home := folder(t)
	output := run(t, ".", []string{"MSB_HOME=" + home}, "go", "run", "./examples/agent-loop", name)
	for _, wanted := range []string{
		"program 1: exit code 0", `program 2: ended after 5s; it wrote "thinking\n"`, "answer.txt: the answer is 42",
	} {
		if !strings.Contains(output, wanted) {
			t.Errorf("%q is missing in %q", wanted, output)
		}
	}
}

func TestTheReferenceIsCurrent(t *testing.T) {
	run(t, ".", nil, "scripts/reference", "--check")
}
