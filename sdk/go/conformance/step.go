package main

import (
	"context"
	"encoding/json"
	"time"
)

// step is a request. A pointer is nil if the argument is missing.
type step struct {
	ID json.Number `json:"id"`
	Do string      `json:"do"`

	Name    string `json:"name"`
	Sandbox string `json:"sandbox"`
	Agent   string `json:"agent"`
	Process string `json:"process"`
	Stream  string `json:"stream"`
	As      string `json:"as"`

	Image          string            `json:"image"`
	CPUs           int               `json:"cpus"`
	MemoryMiB      int               `json:"memory_mib"`
	Env            map[string]string `json:"env"`
	Labels         map[string]string `json:"labels"`
	Workdir        string            `json:"workdir"`
	User           string            `json:"user"`
	Hostname       string            `json:"hostname"`
	Ports          []port            `json:"ports"`
	Volumes        map[string]mount  `json:"volumes"`
	Scripts        map[string]string `json:"scripts"`
	Network        *network          `json:"network"`
	Replace        bool              `json:"replace"`
	ReplaceTimeout int               `json:"replace_with_timeout_ms"`
	Command        []string          `json:"command"`
	Restart        string            `json:"restart"`
	MaxDuration    int               `json:"max_duration_ms"`
	IdleTimeout    int               `json:"idle_timeout_ms"`
	Force          bool              `json:"force"`
	Status         string            `json:"status"`
	TimeoutMs      *int              `json:"timeout_ms"`
	Kind           string            `json:"kind"`
	SizeMiB        int               `json:"size_mib"`
	Trust          bool              `json:"trust"`
	Cmd            string            `json:"cmd"`
	Args           []string          `json:"args"`
	Script         string            `json:"script"`
	Cwd            string            `json:"cwd"`
	Stdin          *content          `json:"stdin"`
	StdinPipe      bool              `json:"stdin_pipe"`
	TTY            bool              `json:"tty"`
	Rows           int               `json:"rows"`
	Cols           int               `json:"cols"`
	Rlimits        []rlimit          `json:"rlimits"`
	Data           content           `json:"data"`
	UntilLen       int               `json:"until_len"`
	UntilText      *string           `json:"until_text"`
	Signal         int               `json:"signal"`
	AfterMs        int               `json:"after_ms"`
	Count          int               `json:"count"`
	Concurrency    int               `json:"concurrency"`
	Path           string            `json:"path"`
	To             string            `json:"to"`
	Mode           *uint32           `json:"mode"`
	Follow         bool              `json:"follow"`
	Chunks         []content         `json:"chunks"`
	Host           string            `json:"host"`
	Guest          string            `json:"guest"`
	Tail           int               `json:"tail"`
	Sources        []string          `json:"sources"`
	Cursor         string            `json:"cursor"`
	IntervalMs     int               `json:"interval_ms"`
	Type           string            `json:"type"`
	Payload        json.RawMessage   `json:"payload"`
	Flags          byte              `json:"flags"`
	Value          json.RawMessage   `json:"value"`
	Hex            string            `json:"hex"`
	Chunk          int               `json:"chunk"`
}

type port struct {
	Host     int    `json:"host"`
	Guest    int    `json:"guest"`
	Bind     string `json:"bind"`
	Protocol string `json:"protocol"`
}

type mount struct {
	Bind               string `json:"bind"`
	Named              string `json:"named"`
	Tmpfs              bool   `json:"tmpfs"`
	ReadOnly           bool   `json:"readonly"`
	StatVirtualization string `json:"stat_virtualization"`
	HostPermissions    string `json:"host_permissions"`
	SizeMiB            int    `json:"size_mib"`
}

type network struct {
	Default string   `json:"default"`
	Rules   []string `json:"rules"`
}

type rlimit struct {
	Resource string `json:"resource"`
	Soft     uint64 `json:"soft"`
	Hard     uint64 `json:"hard"`
}

func milliseconds(count int) time.Duration { return time.Duration(count) * time.Millisecond }

// limited returns a context with the timeout of a step.
func (s *step) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.TimeoutMs == nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, milliseconds(*s.TimeoutMs))
}
