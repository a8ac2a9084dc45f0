package msb_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	msb "github.com/msb-dev/msb/sdk/go"
)

func TestCreateOptions(t *testing.T) {
	zero := 0
	secure := true
	network := msb.OnlyHosts("x.org", "*.y.org")
	network.DNS, network.DNSSearch = []string{"10.0.0.53:5353"}, []string{"corp.example"}
	args, variables, err := msb.CreateArguments("web", msb.CreateOptions{
		Image:     "alpine",
		CPUs:      2,
		MemoryMiB: 512,
		DiskMiB:   8192,
		Env:       map[string]string{"A": "1", "B": ""},
		Labels:    map[string]string{"l": "v"},
		Scripts:   map[string]string{"s": "#!/bin/sh\n"},
		Ports:     []msb.Port{{Guest: 80}, {Host: 53, Guest: 53, Bind: "::1", Protocol: "udp"}},
		Files:     map[string]string{"/etc/motd": "/motd"},
		Volumes: map[string]msb.Mount{
			"/a": {Bind: "/tmp", ReadOnly: true, StatVirtualization: msb.StatOff, UID: &zero},
			"/m": {Tmpfs: true, SizeMiB: 8, Mode: msb.Mode(0o1777)},
			"/v": {Volume: "v", HostPermissions: msb.PermissionsMirror},
		},
		Secrets:        []msb.Secret{{Name: "KEY", Hosts: []string{"api.example.org"}, Value: "hush", RequireTLS: &secure}},
		Network:        network,
		ReplaceTimeout: 1500 * time.Millisecond,
		MaxDuration:    time.Minute,
		EnvFiles:       []string{"/etc/b.env", "/etc/a.env"},
		Ulimits:        []msb.Rlimit{{Resource: "nofile", Soft: 1024, Hard: msb.Unlimited}, {Resource: "core"}},
		ShmSizeMiB:     64,
		Hosts:          map[string]string{"db": "10.0.0.5", "six": "fd00::1"},
		StopTimeout:    2500 * time.Millisecond,
		StopSignal:     "SIGINT",
		Command:        []string{"sh", "-c", "true"},
	})
	wanted := []string{
		"create", "--name=web", "--cpus=2", "--memory=512M", "--disk=8192M", "--shm-size=64M",
		"--stop-signal=SIGINT", "--env=A=1", "--env=B=", "--label=l=v",
		"--script-raw=s=#!/bin/sh\n", "--add-host=db=10.0.0.5", "--add-host=six=fd00::1",
		"--env-file=/etc/b.env", "--env-file=/etc/a.env", "--ulimit=nofile=1024:unlimited", "--ulimit=core=0:0",
		"--port=127.0.0.1:0:80", "--port=[::1]:53:53/udp", "--add-file=/motd:/etc/motd",
		"--volume=/tmp:/a:ro,stat-virt=off,uid=0", "--tmpfs=/m:size=8M,mode=1777", "--volume=v:/v:host-perms=mirror",
		"--secret=KEY@api.example.org:env=MSB_SDK_SECRET_KEY,require-tls=true",
		"--net-default=deny", "--net-rule=allow@x.org", "--net-rule=allow@*.y.org",
		"--dns=10.0.0.53:5353", "--dns-search=corp.example",
		"--max-duration=60000ms", "--stop-timeout=2500ms", "--replace-with-timeout=1500ms", "alpine", "--", "sh", "-c", "true",
	}
	if err != nil || !reflect.DeepEqual(args, wanted) {
		t.Errorf("%q, %v", args, err)
	}
	if !reflect.DeepEqual(variables, map[string]string{"MSB_SDK_SECRET_KEY": "hush"}) || strings.Contains(strings.Join(args, " "), "hush") {
		t.Error(variables)
	}
	args, _, err = msb.CreateArguments("web", msb.CreateOptions{Image: "./x", Replace: true, EnvFiles: []string{"x.env"}})
	if err != nil || args[3] != "--replace" || !strings.HasPrefix(args[4], "/") || !strings.HasPrefix(args[2], "--env-file=/") {
		t.Error(args, err)
	}
}

func TestWrongCreateOptions(t *testing.T) {
	mounts := func(path string, mount msb.Mount) msb.CreateOptions {
		return msb.CreateOptions{Image: "a", Volumes: map[string]msb.Mount{path: mount}}
	}
	for name, options := range map[string]msb.CreateOptions{
		"no image":              {},
		"an option as image":    {Image: "--help"},
		"negative memory":       {Image: "a", MemoryMiB: -1},
		"a negative time":       {Image: "a", MaxDuration: -1},
		"a variable without =":  {Image: "a", Env: map[string]string{"A=B": "1"}},
		"a negative port":       {Image: "a", Ports: []msb.Port{{Host: -1, Guest: 80}}},
		"no guest port":         {Image: "a", Ports: []msb.Port{{Host: 80}}},
		"a large port":          {Image: "a", Ports: []msb.Port{{Host: 70000, Guest: 80}}},
		"another protocol":      {Image: "a", Ports: []msb.Port{{Guest: 80, Protocol: "sctp"}}},
		"another address":       {Image: "a", Ports: []msb.Port{{Guest: 80, Bind: "localhost"}}},
		"a negative shm":        {Image: "a", ShmSizeMiB: -1},
		"a negative stop time":  {Image: "a", StopTimeout: -1},
		"a host with =":         {Image: "a", Hosts: map[string]string{"a=b": "10.0.0.5"}},
		"a limit of nothing":    {Image: "a", Ulimits: []msb.Rlimit{{Soft: 1, Hard: 1}}},
		"a limit with =":        {Image: "a", Ulimits: []msb.Rlimit{{Resource: "a=b"}}},
		"an empty env file":     {Image: "a", EnvFiles: []string{""}},
		"an empty command":      {Image: "a", Command: []string{}},
		"another default":       {Image: "a", Network: &msb.Network{Default: "perhaps"}},
		"an empty rule":         {Image: "a", Network: &msb.Network{Rules: []string{""}}},
		"a secret for no host":  {Image: "a", Secrets: []msb.Secret{{Name: "A"}}},
		"another violation":     {Image: "a", Secrets: []msb.Secret{{Name: "A", Hosts: []string{"b"}, OnViolation: "x"}}},
		"an empty mount":        mounts("/a", msb.Mount{}),
		"two mounts":            mounts("/a", msb.Mount{Bind: "/x", Tmpfs: true}),
		"a relative mount":      mounts("a", msb.Mount{Tmpfs: true}),
		"a colon":               mounts("/a", msb.Mount{Bind: "/x:y"}),
		"a volume with a slash": mounts("/a", msb.Mount{Volume: "x/y"}),
		"a policy of a tmpfs":   mounts("/a", msb.Mount{Tmpfs: true, StatVirtualization: msb.StatStrict}),
		"another policy":        mounts("/a", msb.Mount{Bind: "/x", StatVirtualization: "x"}),
		"other permissions":     mounts("/a", msb.Mount{Bind: "/x", HostPermissions: "x"}),
		"a negative size":       mounts("/a", msb.Mount{Tmpfs: true, SizeMiB: -1}),
		"a mode of a bind":      mounts("/a", msb.Mount{Bind: "/x", Mode: msb.Mode(0)}),
	} {
		if _, _, err := msb.CreateArguments("web", options); msb.CodeOf(err) != msb.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, _, err := msb.CreateArguments("", msb.CreateOptions{Image: "a"})
	wantCode(t, err, msb.CodeInvalidArgument)
}
