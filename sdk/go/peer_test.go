package msb_test

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	msb "github.com/msb-dev/msb/sdk/go"
	"github.com/msb-dev/msb/sdk/go/internal/wire"
)

// peer is a guest behind a relay that a function plays.
type peer struct {
	t      testing.TB
	mu     sync.Mutex
	socket net.Conn
	// messages has the types of all received messages.
	messages []string
}

// received is a message of the client.
type received struct {
	wire.Message
	id uint32
}

// play listens with a handler for every message, and returns a client that is connected.
func play(t testing.TB, handler func(*peer, received)) (*msb.AgentClient, *peer) {
	path := filepath.Join(folder(t), "peer.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	played := &peer{t: t}
	go func() {
		socket, err := listener.Accept()
		if err != nil {
			return
		}
		played.serve(socket, handler)
	}()
	client, err := msb.ConnectAgentPath(within(t, 5*time.Second), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, played
}

func (p *peer) serve(socket net.Conn, handler func(*peer, received)) {
	defer socket.Close()
	p.mu.Lock()
	p.socket = socket
	p.mu.Unlock()
	_, _ = socket.Write([]byte{0, 0, 0x10, 0, 0, 0, 0xff, 0xff})
	p.send(0, 0, "core.ready", map[string]any{
		"boot_time_ns": 1, "init_time_ns": 2, "ready_time_ns": 3, "agent_version": "9.9.9", "features": []any{"fs", "later"},
	})
	for {
		header := make([]byte, 9)
		if _, err := io.ReadFull(socket, header); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header)-wire.MinLen)
		if _, err := io.ReadFull(socket, body); err != nil {
			return
		}
		message, err := wire.DecodeBody(body)
		if err != nil {
			p.t.Error(err)
			return
		}
		p.mu.Lock()
		p.messages = append(p.messages, message.Type)
		p.mu.Unlock()
		handler(p, received{message, binary.BigEndian.Uint32(header[4:])})
	}
}

// send sends a message; the client may have left.
func (p *peer) send(id uint32, flags byte, kind string, payload map[string]any) {
	body, err := wire.EncodeBody(kind, payload)
	if err != nil {
		p.t.Error(err)
		return
	}
	encoded, err := wire.Frame{ID: id, Flags: flags, Body: body}.Encode()
	if err != nil {
		p.t.Error(err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.socket.Write(encoded)
}

// count returns how many messages of a type were received.
func (p *peer) count(kind string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	count := 0
	for _, each := range p.messages {
		if each == kind {
			count++
		}
	}
	return count
}

// command plays a command that runs until it gets SIGTERM, unless the script ends it.
func command(script func(*peer, received)) func(*peer, received) {
	return func(p *peer, message received) {
		switch message.Type {
		case "core.exec.request":
			p.send(message.id, 0, "core.exec.started", map[string]any{"pid": 42})
			if script != nil {
				script(p, message)
			}
		case "core.exec.signal":
			if message.Payload["signal"] == int64(15) {
				p.send(message.id, 1, "core.exec.exited", map[string]any{"code": 143, "signal": 15})
			}
		}
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}
