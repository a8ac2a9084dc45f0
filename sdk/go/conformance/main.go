// Command conformance is the driver of the conformance kit for this SDK: JSON lines on standard input and output.
// ../../conformance/README.md describes the protocol.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"syscall"

	msb "github.com/msb-dev/msb/sdk/go"
)

// maxLineBytes is the longest request, in bytes.
const maxLineBytes = 64 * 1024 * 1024

func main() {
	syscall.Umask(0o077)
	driver := newDriver()
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Buffer(nil, maxLineBytes)
	for scanner.Scan() {
		answer, err := json.Marshal(driver.handle(scanner.Bytes()))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(string(answer))
	}
	driver.reset()
}

// answer is a result as JSON.
type answer map[string]any

// handler carries out a step.
type handler func(context.Context, *step) (answer, error)

// driver has the objects of the present part.
type driver struct {
	client    *msb.Client
	sandboxes map[string]*msb.Sandbox
	agents    map[string]*msb.AgentClient
	streams   map[string]*msb.AgentStream
	processes map[string]*msb.Process
	handlers  map[string]handler
}

func newDriver() *driver {
	d := &driver{client: msb.NewClient()}
	d.forget()
	d.handlers = map[string]handler{"reset": func(context.Context, *step) (answer, error) {
		d.reset()
		return nil, nil
	}}
	for _, group := range []map[string]handler{
		d.sandboxSteps(), d.commandSteps(), d.fileSteps(), d.logSteps(), d.storageSteps(), d.agentSteps(), codecSteps(),
	} {
		for name, each := range group {
			d.handlers[name] = each
		}
	}
	return d
}

func (d *driver) handle(line []byte) answer {
	var request step
	if err := json.Unmarshal(line, &request); err != nil {
		return answer{"id": request.ID, "error": answer{"code": "unexpected", "message": err.Error()}}
	}
	carryOut := d.handlers[request.Do]
	if carryOut == nil {
		return answer{"id": request.ID, "skip": "there is no " + request.Do}
	}
	result, err := carryOut(context.Background(), &request)
	if err != nil {
		return answer{"id": request.ID, "error": ofError(err)}
	}
	if result == nil {
		result = answer{}
	}
	return answer{"id": request.ID, "ok": result}
}

func (d *driver) forget() {
	d.sandboxes = map[string]*msb.Sandbox{}
	d.agents = map[string]*msb.AgentClient{}
	d.streams = map[string]*msb.AgentStream{}
	d.processes = map[string]*msb.Process{}
}

// reset closes all connections, and leaves the sandboxes alone.
func (d *driver) reset() {
	for _, agent := range d.agents {
		agent.Close()
	}
	for _, sandbox := range d.sandboxes {
		sandbox.Disconnect()
	}
	d.forget()
}

func (d *driver) sandbox(ctx context.Context, name string) (*msb.Sandbox, error) {
	if known := d.sandboxes[name]; known != nil {
		return known, nil
	}
	found, err := d.client.Get(ctx, name)
	if err == nil {
		d.sandboxes[name] = found
	}
	return found, err
}

// guest returns what runs the commands of a step.
func (d *driver) guest(ctx context.Context, s *step) (*msb.Guest, error) {
	if s.Agent != "" {
		agent := d.agents[s.Agent]
		if agent == nil {
			return nil, fmt.Errorf("there is no agent %q", s.Agent)
		}
		return agent.Guest, nil
	}
	sandbox, err := d.sandbox(ctx, s.Sandbox)
	if err != nil {
		return nil, err
	}
	return sandbox.Guest, nil
}
