package msb

import (
	"context"
	"time"

	"github.com/msb-dev/msb/sdk/go/internal/wire"
)

// Flags of frames.
const (
	// FlagTerminal marks the last frame of its session.
	FlagTerminal byte = 1
	// FlagSessionStart marks the first frame of a session.
	FlagSessionStart byte = 2
	// FlagShutdown marks a request to end the whole sandbox.
	FlagShutdown byte = 4
)

// Frame is one frame of the relay's protocol.
type Frame struct {
	// ID is the number of the session, or 0 for the connection. A client allots it, so it is ignored in a request.
	ID    uint32
	Flags byte
	// Body is the CBOR of the envelope {v, t, p}.
	Body []byte
}

// Message is a decoded body: the sender's generation, the type, and the payload. A payload has nil, bool, int64, uint64,
// float64, string, []byte, []any, map[string]any, and map[any]any for maps with other keys.
type Message struct {
	Version int64
	Type    string
	Payload map[string]any
}

// NewFrame returns a frame with the envelope of a message.
func NewFrame(flags byte, kind string, payload map[string]any) (Frame, error) {
	if payload == nil {
		payload = map[string]any{}
	}
	body, err := wire.EncodeBody(kind, payload)
	if err != nil {
		return Frame{}, invalid("%s cannot be encoded: %v", kind, err)
	}
	return Frame{Flags: flags, Body: body}, nil
}

// Message decodes the body. If it is not an envelope, the error has CodeProtocolError.
func (f Frame) Message() (Message, error) {
	message, err := decodeMessage(wire.Frame(f))
	return Message(message), err
}

// AgentClient is a connection to one sandbox's relay that carries the caller's frames. A relay accepts 128 clients.
//
// A stream whose frames are not taken stops the other streams of its client once 16 MiB are queued. A transfer of a file
// that is abandoned takes its place in the guest until the client is closed; those of a Sandbox have connections of
// their own.
type AgentClient struct {
	*Guest
	link *connection
}

// ConnectAgentPath connects to the socket of a relay, and waits for a booting guest until the deadline of the context, or
// for 10 seconds if it has none. The errors have CodeSandboxNotRunning, CodeHandshakeFailed or CodeTimedOut.
func ConnectAgentPath(ctx context.Context, path string) (*AgentClient, error) {
	limit := connectTimeout
	if deadline, has := ctx.Deadline(); has {
		limit = time.Until(deadline)
	}
	link, err := dial(ctx, path, limit)
	if err != nil {
		return nil, err
	}
	return &AgentClient{&Guest{agentLinks{link}}, link}, nil
}

// ConnectAgent connects to the relay of a sandbox, as ConnectAgentPath does.
func (c *Client) ConnectAgent(ctx context.Context, sandbox string) (*AgentClient, error) {
	path, err := c.AgentSocketPath(ctx, sandbox)
	if err != nil {
		return nil, err
	}
	return ConnectAgentPath(ctx, path)
}

// AgentSocketPath returns the path of a sandbox's socket, which exists while it runs.
func (c *Client) AgentSocketPath(ctx context.Context, sandbox string) (string, error) {
	found, err := c.Get(ctx, sandbox)
	if err != nil {
		return "", err
	}
	return found.socket(), nil
}

// Ready returns the guest's first message.
func (a *AgentClient) Ready() Ready { return a.link.ready }

// ReadyBytes returns the frame of core.ready, as it was received.
func (a *AgentClient) ReadyBytes() []byte { return append([]byte(nil), a.link.readyBytes...) }

// IDs returns the first session id of this client, and the one after its last.
func (a *AgentClient) IDs() (start, end uint32) { return a.link.idStart, a.link.idEnd }

// Request sends a frame under a new id, and returns the first frame of the answer.
func (a *AgentClient) Request(ctx context.Context, frame Frame) (Frame, error) {
	stream, err := a.Stream(ctx, frame)
	if err != nil {
		return Frame{}, err
	}
	defer stream.Close()
	return stream.Next(ctx)
}

// Stream sends a frame under a new id, and returns the stream of answers.
func (a *AgentClient) Stream(ctx context.Context, frame Frame) (*AgentStream, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, "sending to the guest")
	}
	box, err := openMailbox(a.link, frame.Flags, frame.Body, true)
	if err != nil {
		return nil, err
	}
	if err := a.link.drain(ctx); err != nil {
		box.close()
		return nil, err
	}
	return &AgentStream{box}, nil
}

// Send sends one more frame of a session, whose id it has.
func (a *AgentClient) Send(ctx context.Context, frame Frame) error {
	if frame.ID < a.link.idStart || frame.ID >= a.link.idEnd {
		return invalid("the id %d is not one of this client", frame.ID)
	}
	if ctx.Err() != nil {
		return contextError(ctx, "sending to the guest")
	}
	if err := a.link.post(frame.ID, frame.Flags, frame.Body); err != nil {
		return err
	}
	return a.link.drain(ctx)
}

// Close closes the connection; the relay ends the commands of its sessions.
func (a *AgentClient) Close() error {
	a.link.close()
	return nil
}

// AgentStream has the frames of one session, in order, up to the TERMINAL one.
type AgentStream struct {
	box *mailbox
}

// ID returns the id of the session, for AgentClient.Send.
func (s *AgentStream) ID() uint32 { return s.box.id }

// Next returns the next frame, and io.EOF after the TERMINAL one.
func (s *AgentStream) Next(ctx context.Context) (Frame, error) {
	frame, err := s.box.nextFrame(ctx)
	return Frame(frame), err
}

// Close forgets the session, whose later frames are dropped. The guest is not told.
func (s *AgentStream) Close() error {
	s.box.close()
	return nil
}

// agentLinks has the one connection of an AgentClient.
type agentLinks struct {
	link *connection
}

func (a agentLinks) connection(ctx context.Context) (*connection, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, "using the connection")
	}
	return a.link, a.link.failure.get()
}

func (a agentLinks) transfer(ctx context.Context) (*connection, func(), error) {
	link, err := a.connection(ctx)
	return link, func() {}, err
}

func (a agentLinks) explain(_ context.Context, err error) error { return err }

func (a agentLinks) shell() string { return "/bin/sh" }
