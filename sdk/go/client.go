package msb

import (
	"context"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

// A ClientOption is an option of NewClient.
type ClientOption func(*Client)

// WithHome sets the state folder; MSB_HOME or that of msb by default.
func WithHome(path string) ClientOption {
	return func(c *Client) {
		if absolute, err := filepath.Abs(path); err == nil {
			path = absolute
		}
		c.cli.home = path
	}
}

// WithProgram sets the program; MSB or msb on PATH by default.
func WithProgram(path string) ClientOption {
	return func(c *Client) { c.cli.program = path }
}

// WithDriver sets the driver of virtual machines, krun or qemu; the best that works here by default.
func WithDriver(name string) ClientOption {
	return func(c *Client) { c.cli.driver = name }
}

// WithEnviron adds variables as NAME=value to the environment of msb, such as those of secrets.
func WithEnviron(variables ...string) ClientOption {
	return func(c *Client) { c.cli.env = append(c.cli.env, variables...) }
}

// Client runs msb for the lifecycle of sandboxes, volumes, images, snapshots and projects. Its methods can be called
// from several goroutines.
//
// All calls return an error with CodeMsbNotFound if there is no msb, and errors with the code of msb if it fails. A call
// whose context ends also ends its msb.
type Client struct {
	cli *cli

	mu    sync.Mutex
	links map[*connection]struct{}
}

// NewClient returns a client. It runs nothing yet.
func NewClient(options ...ClientOption) *Client {
	client := &Client{cli: &cli{}, links: map[*connection]struct{}{}}
	for _, option := range options {
		option(client)
	}
	return client
}

// Create creates a sandbox and boots it. Close of the sandbox stops it, and also removes it if it is ephemeral.
//
// The errors have CodeSandboxExists if the name is taken, CodeImageNotFound, CodeInvalidArgument and CodeUsage for
// options that are refused; a *SuffixTooBroadError is about a rule for a public suffix, and a *BootStartError about a
// sandbox that was created but did not start.
func (c *Client) Create(ctx context.Context, name string, options CreateOptions) (*Sandbox, error) {
	args, variables, err := options.arguments(name)
	if err != nil {
		return nil, err
	}
	// Relative paths of images are those of this program.
	dir, err := filepath.Abs(".")
	if err != nil {
		return nil, startError("msb", err)
	}
	if _, err := c.cli.change(ctx, invocation{args: args, name: name, dir: dir, env: variables}); err != nil {
		return nil, c.explainStart(ctx, name, err)
	}
	sandbox, err := c.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	sandbox.owned, sandbox.ephemeral, sandbox.secrets = true, options.Ephemeral, variables
	return sandbox, nil
}

// Get returns a sandbox by its full name.
func (c *Client) Get(ctx context.Context, name string) (*Sandbox, error) {
	details, listed, err := c.look(ctx, name)
	if err != nil {
		return nil, err
	}
	return newSandbox(c, details, listed), nil
}

// ListOptions are options of List.
type ListOptions struct {
	// Labels are the labels that all listed sandboxes have.
	Labels map[string]string
	// Limit is the most sandboxes of the page; 0 is no limit.
	Limit int
	// Cursor continues after the page with this NextCursor.
	Cursor string
}

// SandboxPage is a part of a list of sandboxes.
type SandboxPage struct {
	Sandboxes []*Sandbox
	// NextCursor continues after the page; it is empty at the end.
	NextCursor string
}

// List returns the sandboxes of all projects, sorted by name.
func (c *Client) List(ctx context.Context, options ListOptions) (*SandboxPage, error) {
	if options.Limit < 0 {
		return nil, invalid("the limit of a list must not be negative")
	}
	listed, err := c.listed(ctx, invocation{args: []string{"ps", "--all"}})
	if err != nil {
		return nil, err
	}
	var after []sandboxDocument
	for _, entry := range listed {
		if options.Cursor == "" || entry.FullName > options.Cursor {
			after = append(after, entry)
		}
	}
	found, err := c.sandboxes(ctx, after)
	if err != nil {
		return nil, err
	}
	page := &SandboxPage{}
	for _, sandbox := range found {
		if !hasLabels(sandbox.Labels(), options.Labels) {
			continue
		}
		if options.Limit > 0 && len(page.Sandboxes) == options.Limit {
			page.NextCursor = page.Sandboxes[options.Limit-1].Name()
			break
		}
		page.Sandboxes = append(page.Sandboxes, sandbox)
	}
	return page, nil
}

func hasLabels(labels, required map[string]string) bool {
	for name, value := range required {
		if present, has := labels[name]; !has || present != value {
			return false
		}
	}
	return true
}

// Connect returns a running sandbox that is connected; it waits for one that boots. See Sandbox.Connect.
func (c *Client) Connect(ctx context.Context, name string) (*Sandbox, error) {
	sandbox, err := c.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return sandbox, sandbox.Connect(ctx)
}

// ConnectOrCreate returns the sandbox of this name, started or resumed if it does not run, or else creates it as Create
// does. Close stops it only if this call has created it.
func (c *Client) ConnectOrCreate(ctx context.Context, name string, options CreateOptions) (*Sandbox, error) {
	// Wrong options are an error even if they are not needed.
	if _, _, err := options.arguments(name); err != nil {
		return nil, err
	}
	sandbox, err := c.Get(ctx, name)
	if CodeOf(err) == CodeSandboxNotFound {
		sandbox, err = c.Create(ctx, name, options)
		if CodeOf(err) != CodeSandboxExists {
			return sandbox, err
		}
		// Another program has created it meanwhile.
		sandbox, err = c.Get(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	switch sandbox.Status() {
	case StatusRunning:
		return sandbox, nil
	case StatusPaused:
		return sandbox, sandbox.Resume(ctx)
	default:
		return sandbox, sandbox.Start(ctx)
	}
}

// RemoveOptions are options of removing a sandbox.
type RemoveOptions struct {
	// Force stops a running sandbox first.
	Force bool
	// Timeout is the time for it to shut down before it is killed; 0 is the default of msb.
	Timeout time.Duration
}

// Remove removes a sandbox with its disk. If it runs, the error has CodeSandboxRunning, unless Force is set.
func (c *Client) Remove(ctx context.Context, name string, options RemoveOptions) error {
	args := []string{"rm"}
	if options.Force {
		args = append(args, "--force")
	}
	limit, err := durationFlags("timeout", options.Timeout)
	if err != nil {
		return err
	}
	args = append(append(args, limit...), "--", name)
	_, err = c.cli.change(ctx, invocation{args: args, name: name})
	return err
}

// Project returns the project of a folder, or of a Sandboxfile. Its path is relative to the working directory.
func (c *Client) Project(path string) *Project { return newProject(c, path) }

// Volumes returns the volumes of all projects and those of none.
func (c *Client) Volumes() *Volumes { return &Volumes{c.cli} }

// Images returns the images of this machine.
func (c *Client) Images() *Images { return &Images{c.cli} }

// Snapshots returns the snapshots of this machine.
func (c *Client) Snapshots() *Snapshots { return &Snapshots{c.cli} }

// Version returns the version of msb.
func (c *Client) Version(ctx context.Context) (string, error) {
	result, err := c.cli.run(ctx, invocation{args: []string{"--version"}})
	if err != nil {
		return "", err
	}
	words := strings.Fields(string(result.stdout))
	if len(words) == 0 {
		return "", errorf(CodeProtocolError, "msb printed no version")
	}
	return words[len(words)-1], nil
}

// Close closes the connections of all its sandboxes, which ends their commands. The sandboxes run on, and the client
// can be used further.
func (c *Client) Close() error {
	c.mu.Lock()
	var links []*connection
	for link := range c.links {
		links = append(links, link)
	}
	c.mu.Unlock()
	for _, link := range links {
		link.close()
	}
	return nil
}

// keep closes a connection with the client.
func (c *Client) keep(link *connection) {
	c.mu.Lock()
	c.links[link] = struct{}{}
	c.mu.Unlock()
	link.whenEnded(func() {
		c.mu.Lock()
		delete(c.links, link)
		c.mu.Unlock()
	})
}

// look returns what inspect and ps print about a sandbox.
func (c *Client) look(ctx context.Context, name string) (details sandboxDocument, listed *sandboxDocument, err error) {
	found, err := c.inspect(ctx, name, name)
	if err != nil {
		return details, nil, err
	}
	for _, entry := range found {
		if entry.FullName == name {
			details = entry
		}
	}
	if details.FullName == "" {
		missing := errorf(CodeSandboxNotFound, "there is no sandbox %q", name)
		missing.Name = name
		return details, nil, missing
	}
	all, err := c.listed(ctx, invocation{args: []string{"ps", "--all"}})
	if err != nil {
		return details, nil, err
	}
	for at := range all {
		if all[at].FullName == name {
			listed = &all[at]
		}
	}
	return details, listed, nil
}

func (c *Client) inspect(ctx context.Context, subject string, names ...string) ([]sandboxDocument, error) {
	for _, name := range names {
		if name == "" || strings.HasPrefix(name, "-") {
			return nil, invalid("%q is not a name of a sandbox", name)
		}
	}
	return c.listed(ctx, invocation{args: append([]string{"inspect"}, names...), name: subject})
}

func (c *Client) listed(ctx context.Context, run invocation) ([]sandboxDocument, error) {
	var document struct {
		Sandboxes []sandboxDocument `json:"sandboxes"`
	}
	if err := c.cli.json(ctx, run, &document); err != nil {
		return nil, err
	}
	return document.Sandboxes, nil
}

// sandboxes returns the sandboxes of a list, sorted by name.
func (c *Client) sandboxes(ctx context.Context, listed []sandboxDocument) ([]*Sandbox, error) {
	if len(listed) == 0 {
		return nil, nil
	}
	byName := map[string]*sandboxDocument{}
	for at := range listed {
		byName[listed[at].FullName] = &listed[at]
	}
	names := sortedKeys(byName)
	details, err := c.inspect(ctx, "", names...)
	if CodeOf(err) == CodeSandboxNotFound {
		// One was removed meanwhile.
		details = nil
		for _, name := range names {
			var one []sandboxDocument
			if one, err = c.inspect(ctx, name, name); err == nil {
				details = append(details, one...)
			} else if CodeOf(err) != CodeSandboxNotFound {
				return nil, err
			}
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	var found []*Sandbox
	for _, entry := range details {
		found = append(found, newSandbox(c, entry, byName[entry.FullName]))
	}
	sort.Slice(found, func(a, b int) bool { return found[a].Name() < found[b].Name() })
	return found, nil
}
