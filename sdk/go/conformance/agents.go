package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	msb "github.com/msb-dev/msb/sdk/go"
	"github.com/msb-dev/msb/sdk/go/internal/cbor"
	"github.com/msb-dev/msb/sdk/go/internal/wire"
)

func (d *driver) agentSteps() map[string]handler {
	return map[string]handler{
		"agent_connect": d.agentConnect,
		"agent_request": d.agentRequest,
		"agent_stream":  d.agentStream,
		"agent_next":    d.agentNext,
		"agent_forget":  d.agentForget,
		"agent_send":    d.agentSend,
		"agent_close": func(ctx context.Context, s *step) (answer, error) {
			return nil, d.agents[s.Agent].Close()
		},
	}
}

func (d *driver) agentConnect(ctx context.Context, s *step) (answer, error) {
	ctx, cancel := s.limited(ctx)
	defer cancel()
	connect, target := msb.ConnectAgentPath, s.Path
	if s.Sandbox != "" {
		connect, target = d.client.ConnectAgent, s.Sandbox
	}
	agent, err := connect(ctx, target)
	if err != nil {
		return nil, err
	}
	d.agents[s.As] = agent
	start, end := agent.IDs()
	ready := answer{"agent_version": agent.Ready().AgentVersion, "features": agent.Ready().Features}
	return answer{"ready": ready, "ready_hex": hex.EncodeToString(agent.ReadyBytes()), "ids": []uint32{start, end}}, nil
}

func (s *step) frame() (msb.Frame, error) {
	value, err := decodeValue(s.Payload)
	if err != nil {
		return msb.Frame{}, err
	}
	payload, isMap := value.(map[string]any)
	if !isMap {
		return msb.Frame{}, fmt.Errorf("the payload is not an object")
	}
	return msb.NewFrame(s.Flags, s.Type, payload)
}

func ofFrame(frame msb.Frame) (answer, error) {
	message, err := frame.Message()
	if err != nil {
		return nil, err
	}
	return answer{"id": frame.ID, "flags": frame.Flags, "type": message.Type, "payload": toJSON(message.Payload)}, nil
}

func (d *driver) agentRequest(ctx context.Context, s *step) (answer, error) {
	frame, err := s.frame()
	if err != nil {
		return nil, err
	}
	response, err := d.agents[s.Agent].Request(ctx, frame)
	if err != nil {
		return nil, err
	}
	return ofFrame(response)
}

func (d *driver) agentStream(ctx context.Context, s *step) (answer, error) {
	frame, err := s.frame()
	if err != nil {
		return nil, err
	}
	stream, err := d.agents[s.Agent].Stream(ctx, frame)
	if err != nil {
		return nil, err
	}
	d.streams[s.As] = stream
	return answer{"id": stream.ID()}, nil
}

func (d *driver) agentNext(ctx context.Context, s *step) (answer, error) {
	frame, err := d.streams[s.Stream].Next(ctx)
	if err == io.EOF {
		return answer{"end": true}, nil
	}
	if err != nil {
		return nil, err
	}
	return ofFrame(frame)
}

func (d *driver) agentForget(ctx context.Context, s *step) (answer, error) {
	stream := d.streams[s.Stream]
	delete(d.streams, s.Stream)
	return nil, stream.Close()
}

func (d *driver) agentSend(ctx context.Context, s *step) (answer, error) {
	frame, err := s.frame()
	if err != nil {
		return nil, err
	}
	frame.ID = d.streams[s.Stream].ID()
	return nil, d.agents[s.Agent].Send(ctx, frame)
}

func codecSteps() map[string]handler {
	return map[string]handler{
		"cbor_encode":   cborEncode,
		"cbor_decode":   cborDecode,
		"frames_decode": framesDecode,
	}
}

func cborEncode(_ context.Context, s *step) (answer, error) {
	value, err := decodeValue(s.Value)
	if err != nil {
		return nil, err
	}
	encoded, err := cbor.Encode(value)
	return answer{"hex": hex.EncodeToString(encoded)}, err
}

func cborDecode(_ context.Context, s *step) (answer, error) {
	data, err := hex.DecodeString(s.Hex)
	if err != nil {
		return nil, err
	}
	value, err := cbor.Decode(data)
	if err != nil {
		return nil, &msb.Error{Code: msb.CodeProtocolError, Message: err.Error()}
	}
	return answer{"value": toJSON(value)}, nil
}

func framesDecode(_ context.Context, s *step) (answer, error) {
	data, err := hex.DecodeString(s.Hex)
	if err != nil {
		return nil, err
	}
	frames := []answer{}
	decoder := &wire.Decoder{}
	for at := 0; at < len(data); at += s.Chunk {
		end := at + s.Chunk
		if end > len(data) {
			end = len(data)
		}
		decoder.Feed(data[at:end])
		for {
			frame, complete, err := decoder.Next()
			if err != nil {
				return nil, &msb.Error{Code: msb.CodeInvalidFrame, Message: err.Error()}
			}
			if !complete {
				break
			}
			frames = append(frames, answer{"id": frame.ID, "flags": frame.Flags, "body_len": len(frame.Body)})
		}
	}
	return answer{"frames": frames}, nil
}
