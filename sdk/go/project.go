package msb

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Project is the project of a folder or of a Sandboxfile.
type Project struct {
	client *Client
	folder string
	// options come before the command.
	options []string
}

func newProject(client *Client, path string) *Project {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return &Project{client: client, folder: filepath.Dir(path), options: []string{"--file=" + path}}
	}
	return &Project{client: client, folder: path}
}

// Named returns the same project with another name than that in its Sandboxfile.
func (p *Project) Named(name string) *Project {
	options := append(append([]string{}, p.options...), "--project="+name)
	return &Project{client: p.client, folder: p.folder, options: options}
}

// Folder returns the folder of the Sandboxfile.
func (p *Project) Folder() string { return p.folder }

// Plan is what Up would do.
type Plan struct {
	// Project is the name of the project.
	Project string
	// Changes are what would become of each sandbox.
	Changes []Change
	// Steps are the steps by name, with what each ensures, and which steps it is after.
	Steps map[string]json.RawMessage
	// Raw is the whole document.
	Raw json.RawMessage
}

// Change is what would become of a sandbox.
type Change struct {
	Name string `json:"name"`
	// Action is create, update, restart, start, remove, unchanged, or one of a later msb.
	Action string `json:"action"`
	// Reason, Drift and Fields are as msb prints them.
	Reason json.RawMessage `json:"reason"`
	Drift  json.RawMessage `json:"drift"`
	Fields json.RawMessage `json:"fields"`
}

// IsEmpty reports whether there is nothing to do.
func (p *Plan) IsEmpty() bool { return len(p.Steps) == 0 }

// PlanOptions are options of Plan.
type PlanOptions struct {
	// Sandboxes has only these sandboxes, and those that they depend on.
	Sandboxes []string
	// Trust allows the Sandboxfile to reach beyond its folder this time. Without it, the error of one that does has
	// CodeMismatch.
	Trust bool
	// Frozen needs the lock file to pin every image; the error has CodeMismatch if it does not.
	Frozen bool
}

// Plan returns what Up would do.
func (p *Project) Plan(ctx context.Context, options PlanOptions) (*Plan, error) {
	args := append(append([]string{}, p.options...), "plan")
	if options.Trust {
		args = append(args, "--trust")
	}
	if options.Frozen {
		args = append(args, "--frozen")
	}
	var raw json.RawMessage
	if err := p.client.cli.json(ctx, p.invocation(append(args, options.Sandboxes...)), &raw); err != nil {
		return nil, err
	}
	var document struct {
		Plan struct {
			Project string                     `json:"project"`
			Steps   map[string]json.RawMessage `json:"steps"`
		} `json:"plan"`
		Report struct {
			Changes []Change `json:"changes"`
		} `json:"report"`
	}
	if err := decodeDocument(raw, &document); err != nil {
		return nil, err
	}
	return &Plan{document.Plan.Project, document.Report.Changes, document.Plan.Steps, raw}, nil
}

// UpOptions are options of Up.
type UpOptions struct {
	// Sandboxes has only these sandboxes, and those that they depend on.
	Sandboxes []string
	// Trust allows the Sandboxfile to reach beyond its folder this time.
	Trust bool
	// NoWait does not wait until all sandboxes are healthy, or running if they have no health check.
	NoWait bool
	// WaitTimeout limits this wait; the error has CodeTimedOut after it. 0 is no limit.
	WaitTimeout time.Duration
	// ApproveLosses applies a plan that destroys data.
	ApproveLosses bool
}

// Up creates, updates and starts the sandboxes. The end of the context interrupts it.
func (p *Project) Up(ctx context.Context, options UpOptions) (*ProjectRun, error) {
	args := []string{"up", "--json"}
	if options.Trust {
		args = append(args, "--trust")
	}
	if options.ApproveLosses {
		args = append(args, "--yes")
	}
	limit, err := durationFlags("wait-timeout", options.WaitTimeout)
	if err != nil {
		return nil, err
	}
	if args = append(args, limit...); len(limit) == 0 && !options.NoWait {
		args = append(args, "--wait")
	}
	return p.run(ctx, append(args, options.Sandboxes...))
}

// DownOptions are options of Down.
type DownOptions struct {
	// Sandboxes has only these sandboxes, and those that depend on them.
	Sandboxes []string
	// Volumes also removes volumes with their contents.
	Volumes bool
	// Timeout is the time for a guest to shut down before it is killed; 10 seconds by default.
	Timeout time.Duration
}

// Down stops and removes the sandboxes. The end of the context interrupts it.
func (p *Project) Down(ctx context.Context, options DownOptions) (*ProjectRun, error) {
	args := []string{"down", "--json"}
	if options.Volumes {
		args = append(args, "--volumes", "--yes")
	}
	limit, err := durationFlags("timeout", options.Timeout)
	if err != nil {
		return nil, err
	}
	return p.run(ctx, append(append(args, limit...), options.Sandboxes...))
}

func (p *Project) run(ctx context.Context, args []string) (*ProjectRun, error) {
	lines, err := p.client.cli.lines(ctx, p.invocation(append(append([]string{}, p.options...), args...)))
	if err != nil {
		return nil, err
	}
	return &ProjectRun{lines: lines}, nil
}

func (p *Project) invocation(args []string) invocation {
	return invocation{args: args, dir: p.folder}
}

// Sandboxes returns the sandboxes of the project that exist.
func (p *Project) Sandboxes(ctx context.Context) ([]*Sandbox, error) {
	listed, err := p.client.listed(ctx, p.invocation(append(append([]string{}, p.options...), "ps")))
	if err != nil {
		return nil, err
	}
	return p.client.sandboxes(ctx, listed)
}

// ProjectEvent is one event of a running Up or Down.
type ProjectEvent struct {
	// Event is the kind: plan, step_began, step_succeeded, step_failed, finished, or one of a later msb.
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
	// Step, Title and Sandbox are set for events of a step.
	Step    string `json:"step"`
	Title   string `json:"title"`
	Sandbox string `json:"sandbox"`
	// OK is whether all steps have succeeded, and Changes whether there were any, for finished.
	OK      bool `json:"ok"`
	Changes bool `json:"changes"`
	// Raw is the whole event.
	Raw json.RawMessage `json:"-"`
}

// ProjectRun is a running Up or Down. Close it, unless it is read to its end.
type ProjectRun struct {
	lines   *jsonLines
	summary ProjectEvent
}

// Next returns the next event, and io.EOF at the end. The failure of msb is returned after the last event.
func (r *ProjectRun) Next(ctx context.Context) (ProjectEvent, error) {
	var raw json.RawMessage
	if err := r.lines.next(ctx, &raw); err != nil {
		return ProjectEvent{}, r.failure(err)
	}
	var event ProjectEvent
	if err := decodeDocument(raw, &event); err != nil {
		return ProjectEvent{}, err
	}
	event.Raw = raw
	if event.Event == "finished" {
		r.summary = event
	}
	return event, nil
}

// failure returns the error in the last event, if msb has printed no typed one.
func (r *ProjectRun) failure(err error) error {
	var failed *Error
	if !errors.As(err, &failed) || failed.Code != CodeFailed {
		return err
	}
	var finished struct {
		Error *report `json:"error"`
	}
	if len(r.summary.Raw) == 0 || json.Unmarshal(r.summary.Raw, &finished) != nil || finished.Error == nil {
		return err
	}
	finished.Error.Code = string(codeOfTexts(finished.Error, failed.ExitCode))
	return finished.Error.error(failed.ExitCode, finished.Error.Message)
}

// Wait waits for the end, and returns the last event.
func (r *ProjectRun) Wait(ctx context.Context) (ProjectEvent, error) {
	for {
		_, err := r.Next(ctx)
		if err == io.EOF {
			return r.summary, nil
		}
		if err != nil {
			return r.summary, err
		}
	}
}

// Close interrupts it unless it has ended, and waits for the end of msb.
func (r *ProjectRun) Close() error {
	r.lines.close()
	return nil
}
