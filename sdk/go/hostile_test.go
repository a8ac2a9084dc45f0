package msb_test

import (
	"math/rand"
	"strings"
	"sync"
	"testing"
	"time"

	msb "github.com/msb-dev/msb/sdk/go"
)

var hostileTypes = []string{
	"core.exec.started", "core.exec.stdout", "core.exec.stderr", "core.exec.stdin.ack", "core.exec.stdin.error",
	"core.exec.exited", "core.exec.failed", "core.error", "core.fs.response", "core.fs.data", "core.fs.data.ack",
	"core.ready", "core.later.event", "",
}

var hostileKeys = []string{
	"pid", "data", "bytes", "frames", "code", "signal", "kind", "message", "errno", "errno_name", "stage", "failure",
	"stat", "entries", "name", "mode", "uid", "gid", "size", "modified_ns", "target", "path",
}

// hostileValue returns a random value that the type of a message seldom expects.
func hostileValue(random *rand.Rand, depth int) any {
	switch random.Intn(10) {
	case 0:
		return nil
	case 1:
		return random.Int63() - random.Int63()
	case 2:
		return ^uint64(0)
	case 3:
		return random.NormFloat64()
	case 4:
		return strings.Repeat("\x1b[31m\u202e", random.Intn(1000))
	case 5:
		return []byte(strings.Repeat("../\x00", random.Intn(1000)))
	case 6:
		return random.Intn(2) == 0
	case 7:
		if depth > 3 {
			return "directory"
		}
		return []any{hostileValue(random, depth+1), hostileValue(random, depth+1)}
	case 8:
		return int64(random.Intn(3))
	default:
		return hostilePayload(random, depth+1)
	}
}

func hostilePayload(random *rand.Rand, depth int) map[string]any {
	payload := map[string]any{}
	if depth > 3 {
		return payload
	}
	for count := random.Intn(6); count > 0; count-- {
		payload[hostileKeys[random.Intn(len(hostileKeys))]] = hostileValue(random, depth)
	}
	return payload
}

// A hostile guest has calls fail, but neither hang nor panic.
func TestAHostileGuest(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("the seed is %d", seed)
	ctx := within(t, 60*time.Second)
	for round := int64(0); round < 60; round++ {
		// One source for the one goroutine of the peer.
		random := rand.New(rand.NewSource(seed + round))
		client, peer := play(t, func(p *peer, message received) {
			for count := 0; count < 20; count++ {
				kind := hostileTypes[random.Intn(len(hostileTypes))]
				p.send(message.id, byte(random.Intn(8)), kind, hostilePayload(random, 0))
			}
		})
		time.AfterFunc(50*time.Millisecond, func() {
			peer.mu.Lock()
			defer peer.mu.Unlock()
			peer.socket.Close()
		})
		var calls sync.WaitGroup
		for _, call := range []func(){
			func() { _, _ = client.Exec(ctx, "x", nil, msb.WithStdin(strings.NewReader("input"))) },
			func() {
				if process, err := client.ExecStream(ctx, "x", nil); err == nil {
					for err == nil {
						_, err = process.Next(ctx)
					}
				}
			},
			func() { _, _ = client.Files().Read(ctx, "/x") },
			func() { _, _ = client.Files().List(ctx, "/x") },
			func() { _, _ = client.Files().Stat(ctx, "/x") },
			func() { _ = client.Files().Write(ctx, "/x", make([]byte, 1<<20), msb.WriteOptions{}) },
		} {
			calls.Add(1)
			go func(call func()) {
				defer calls.Done()
				call()
			}(call)
		}
		calls.Wait()
		client.Close()
	}
	if ctx.Err() != nil {
		t.Error("a call hangs")
	}
}
