package msb

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A Status is the state of a sandbox. A later msb may report others than those listed here.
type Status string

// The states of a sandbox.
const (
	StatusCreated Status = "created"
	StatusRunning Status = "running"
	StatusPaused  Status = "paused"
	StatusStopped Status = "stopped"
	StatusExited  Status = "exited"
	StatusFailed  Status = "failed"
	StatusCrashed Status = "crashed"
	// StatusRemoved is the state of a sandbox that this program has removed.
	StatusRemoved Status = "removed"
)

const (
	// closeTimeout limits Close, in which the sandbox shuts down.
	closeTimeout = time.Minute
	// maxTransfers is the most connections for transfers of files at the same time, below the 128 clients of a relay.
	maxTransfers = 16
)

// ended reports whether nothing runs in a sandbox of this state.
func (s Status) ended() bool {
	switch s {
	case StatusStopped, StatusExited, StatusFailed, StatusCrashed, StatusCreated, StatusRemoved:
		return true
	default:
		return false
	}
}

// sandboxDocument is a sandbox as inspect and ps print it.
type sandboxDocument struct {
	FullName    string   `json:"full_name"`
	State       Status   `json:"state"`
	AgentSocket string   `json:"agent_socket"`
	Ports       []string `json:"ports"`
	LastExit    *struct {
		Kind    string `json:"kind"`
		Code    int    `json:"code"`
		Signal  int    `json:"signal"`
		Message string `json:"message"`
	} `json:"last_exit"`
	Spec struct {
		Definition struct {
			Shell  string            `json:"shell"`
			Labels map[string]string `json:"labels"`
			Ports  []struct {
				Host     int    `json:"host"`
				Guest    int    `json:"guest"`
				Bind     string `json:"bind"`
				Protocol string `json:"protocol"`
			} `json:"ports"`
		} `json:"definition"`
	} `json:"spec"`
	raw json.RawMessage
}

// UnmarshalJSON also keeps the whole document.
func (d *sandboxDocument) UnmarshalJSON(data []byte) error {
	type plain sandboxDocument
	if err := json.Unmarshal(data, (*plain)(d)); err != nil {
		return err
	}
	d.raw = append(json.RawMessage(nil), data...)
	return nil
}

// ports returns the declared ports with those of the host that are in use; ps has them in the same order.
func (d *sandboxDocument) ports(listed *sandboxDocument) []Port {
	declared := d.Spec.Definition.Ports
	ports := make([]Port, len(declared))
	for at, port := range declared {
		ports[at] = Port{Host: port.Host, Guest: port.Guest, Bind: port.Bind, Protocol: port.Protocol}
	}
	if listed == nil || len(listed.Ports) != len(ports) {
		return ports
	}
	for at, text := range listed.Ports {
		if real, valid := parsePort(text); valid && real.Guest == ports[at].Guest {
			ports[at].Host = real.Host
		}
	}
	return ports
}

// Sandbox is a sandbox. It runs commands over a connection that is opened by the first one and shared by all. Its methods
// can be called from several goroutines.
//
// Close is the end of its scope: it stops a sandbox that this object owns, which one made by Create does, and removes it
// if it is ephemeral. Others it leaves running.
type Sandbox struct {
	*Guest
	client    *Client
	name      string
	secrets   map[string]string
	transfers semaphore

	mu        sync.Mutex
	details   sandboxDocument
	status    Status
	realPorts []Port
	owned     bool
	ephemeral bool
	link      *connection
	// opening is the attempt to connect that concurrent calls share.
	opening *opening
}

// opening is an attempt to connect; link and err are set before done is closed.
type opening struct {
	done chan struct{}
	link *connection
	err  error
}

func newSandbox(client *Client, details sandboxDocument, listed *sandboxDocument) *Sandbox {
	sandbox := &Sandbox{client: client, name: details.FullName, transfers: make(semaphore, maxTransfers)}
	sandbox.Guest = &Guest{sandboxLinks{sandbox}}
	sandbox.update(details, listed)
	return sandbox
}

func (s *Sandbox) update(details sandboxDocument, listed *sandboxDocument) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.details, s.status, s.realPorts = details, details.State, details.ports(listed)
	if listed != nil {
		s.status = listed.State
	}
}

// Name returns the full name, which is unique on this machine.
func (s *Sandbox) Name() string { return s.name }

// Status returns the state when it was last looked at, by Refresh or a call that changed it.
func (s *Sandbox) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Labels returns the labels.
func (s *Sandbox) Labels() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	labels := map[string]string{}
	for name, value := range s.details.Spec.Definition.Labels {
		labels[name] = value
	}
	return labels
}

// Ports returns the ports of the host that lead into it, with the real ports while it runs.
func (s *Sandbox) Ports() []Port {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Port(nil), s.realPorts...)
}

// Details returns the JSON of msb inspect.
func (s *Sandbox) Details() json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(json.RawMessage(nil), s.details.raw...)
}

// Owned returns whether Close stops it.
func (s *Sandbox) Owned() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owned
}

// Detach gives up the ownership: Close leaves the sandbox running.
func (s *Sandbox) Detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owned, s.ephemeral = false, false
}

// Own has Close stop the sandbox, and remove it if it is ephemeral.
func (s *Sandbox) Own(ephemeral bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owned, s.ephemeral = true, ephemeral
}

func (s *Sandbox) socket() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.details.AgentSocket
}

// Agent opens a raw connection of its own.
func (s *Sandbox) Agent(ctx context.Context) (*AgentClient, error) {
	return ConnectAgentPath(ctx, s.socket())
}

// Connect connects to the guest now rather than at the first command, and waits while it boots until the deadline of the
// context, or for 10 seconds if it has none.
func (s *Sandbox) Connect(ctx context.Context) error {
	_, hasDeadline := ctx.Deadline()
	for {
		_, err := s.connection(ctx)
		if CodeOf(err) != CodeTimedOut || !hasDeadline || ctx.Err() != nil {
			return err
		}
	}
}

// Disconnect closes the connection, which ends the commands that this object has started. The sandbox runs on, and the
// object can be used further.
func (s *Sandbox) Disconnect() {
	s.mu.Lock()
	link := s.link
	s.link = nil
	s.mu.Unlock()
	if link != nil {
		link.close()
	}
}

// Close is CloseContext with a limit of one minute.
func (s *Sandbox) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return s.CloseContext(ctx)
}

// CloseContext closes the connection, then stops the sandbox if this object owns it, or removes it if it is ephemeral.
// Another call does nothing. That another program has removed the sandbox is no error.
func (s *Sandbox) CloseContext(ctx context.Context) error {
	s.Disconnect()
	s.mu.Lock()
	owned, ephemeral := s.owned, s.ephemeral
	s.owned, s.ephemeral = false, false
	s.mu.Unlock()
	var err error
	switch {
	case ephemeral:
		err = s.Remove(ctx, RemoveOptions{Force: true})
	case owned:
		if err = s.Refresh(ctx); err == nil && !s.Status().ended() {
			err = s.Stop(ctx)
		}
	}
	if CodeOf(err) == CodeSandboxNotFound {
		return nil
	}
	return err
}

// connection returns the shared connection. A caller that gives up must not take it from the others.
func (s *Sandbox) connection(ctx context.Context) (*connection, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, "connecting to "+s.name)
	}
	s.mu.Lock()
	if s.link != nil && s.link.failure.get() == nil {
		defer s.mu.Unlock()
		return s.link, nil
	}
	attempt := s.opening
	if attempt == nil {
		attempt = &opening{done: make(chan struct{})}
		s.opening = attempt
		go s.open(attempt, s.details.AgentSocket)
	}
	s.mu.Unlock()
	select {
	case <-attempt.done:
		return attempt.link, attempt.err
	case <-ctx.Done():
		return nil, contextError(ctx, "connecting to "+s.name)
	}
}

func (s *Sandbox) open(attempt *opening, path string) {
	attempt.link, attempt.err = dial(context.Background(), path, connectTimeout)
	if attempt.err == nil {
		s.client.keep(attempt.link)
	}
	s.mu.Lock()
	s.link, s.opening = attempt.link, nil
	s.mu.Unlock()
	close(attempt.done)
}

// sandboxLinks opens the connections of a sandbox.
type sandboxLinks struct {
	sandbox *Sandbox
}

func (l sandboxLinks) connection(ctx context.Context) (*connection, error) {
	return l.sandbox.connection(ctx)
}

// transfer opens a connection, as closing it ends an abandoned transfer in the guest too.
func (l sandboxLinks) transfer(ctx context.Context) (*connection, func(), error) {
	s := l.sandbox
	select {
	case s.transfers <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, contextError(ctx, "waiting for other transfers")
	}
	link, err := dial(ctx, s.socket(), connectTimeout)
	if err != nil {
		s.transfers.release()
		return nil, nil, err
	}
	s.client.keep(link)
	giveBack := func() {
		link.close()
		s.transfers.release()
	}
	return link, giveBack, nil
}

// explain finds out whether a guest that does not answer is paused.
func (l sandboxLinks) explain(ctx context.Context, err error) error {
	s := l.sandbox
	if CodeOf(err) != CodeUnresponsive || s.Refresh(ctx) != nil || s.Status() != StatusPaused {
		return err
	}
	paused := errorf(CodeSandboxPaused, "%s is paused", s.name)
	paused.Name, paused.Hint = s.name, "resume it first"
	return paused
}

func (l sandboxLinks) shell() string {
	l.sandbox.mu.Lock()
	defer l.sandbox.mu.Unlock()
	if shell := l.sandbox.details.Spec.Definition.Shell; shell != "" {
		return shell
	}
	return "/bin/sh"
}

// CopyFromHost copies a file or directory of the host into the sandbox. With "/." at the end of host, it copies the
// contents of the directory.
func (s *Sandbox) CopyFromHost(ctx context.Context, host, guest string) error {
	return s.copy(ctx, host, guest, true)
}

// CopyToHost copies a file or directory of the sandbox to the host.
func (s *Sandbox) CopyToHost(ctx context.Context, guest, host string) error {
	return s.copy(ctx, host, guest, false)
}

func (s *Sandbox) copy(ctx context.Context, host, guest string, into bool) error {
	if err := checkPath(guest); err != nil {
		return err
	}
	path, err := filepath.Abs(host)
	if err != nil {
		return invalid("the path %s has no absolute path: %v", host, err)
	}
	if strings.HasSuffix(host, "/.") {
		path += "/."
	}
	inside := s.name + ":" + guest
	args := []string{"cp", "--", inside, path}
	if into {
		args = []string{"cp", "--", path, inside}
	}
	_, err = s.client.cli.change(ctx, invocation{args: args, name: s.name})
	return err
}
