package main

import (
	"context"

	msb "github.com/msb-dev/msb/sdk/go"
)

func (d *driver) sandboxSteps() map[string]handler {
	return map[string]handler{
		"create": func(ctx context.Context, s *step) (answer, error) {
			return d.made(d.client.Create(ctx, s.Name, s.creation()))
		},
		"connect_or_create": func(ctx context.Context, s *step) (answer, error) {
			return d.made(d.client.ConnectOrCreate(ctx, s.Name, s.creation()))
		},
		"get":             d.get,
		"list":            d.list,
		"start":           d.lifecycle((*msb.Sandbox).Start),
		"kill":            d.lifecycle((*msb.Sandbox).Kill),
		"restart":         d.lifecycle((*msb.Sandbox).Restart),
		"pause":           d.lifecycle((*msb.Sandbox).Pause),
		"resume":          d.lifecycle((*msb.Sandbox).Resume),
		"stop":            d.stop,
		"remove":          d.remove,
		"wait":            d.wait,
		"wait_for_status": d.waitForStatus,
		"scope":           d.scope,
	}
}

func (s *step) creation() msb.CreateOptions {
	options := msb.CreateOptions{
		Image:          s.Image,
		CPUs:           s.CPUs,
		MemoryMiB:      s.MemoryMiB,
		Env:            s.Env,
		Labels:         s.Labels,
		Workdir:        s.Workdir,
		User:           s.User,
		Hostname:       s.Hostname,
		Scripts:        s.Scripts,
		Command:        s.Command,
		Restart:        s.Restart,
		Replace:        s.Replace,
		ReplaceTimeout: milliseconds(s.ReplaceTimeout),
		MaxDuration:    milliseconds(s.MaxDuration),
		IdleTimeout:    milliseconds(s.IdleTimeout),
		Volumes:        map[string]msb.Mount{},
	}
	for _, each := range s.Ports {
		options.Ports = append(options.Ports, msb.Port(each))
	}
	for path, each := range s.Volumes {
		options.Volumes[path] = msb.Mount{
			Bind:               each.Bind,
			Volume:             each.Named,
			Tmpfs:              each.Tmpfs,
			ReadOnly:           each.ReadOnly,
			StatVirtualization: msb.StatVirtualization(each.StatVirtualization),
			HostPermissions:    msb.HostPermissions(each.HostPermissions),
			SizeMiB:            each.SizeMiB,
		}
	}
	if s.Network != nil {
		options.Network = &msb.Network{Default: s.Network.Default, Rules: s.Network.Rules}
	}
	return options
}

func (d *driver) made(sandbox *msb.Sandbox, err error) (answer, error) {
	if err != nil {
		return nil, err
	}
	if old := d.sandboxes[sandbox.Name()]; old != nil {
		old.Disconnect()
	}
	d.sandboxes[sandbox.Name()] = sandbox
	return answer{"name": sandbox.Name(), "status": sandbox.Status()}, nil
}

func (d *driver) get(ctx context.Context, s *step) (answer, error) {
	found, err := d.client.Get(ctx, s.Name)
	if err != nil {
		return nil, err
	}
	ports := []answer{}
	for _, each := range found.Ports() {
		ports = append(ports, answer{"host": each.Host, "guest": each.Guest, "bind": each.Bind, "protocol": each.Protocol})
	}
	return answer{"name": found.Name(), "status": found.Status(), "labels": found.Labels(), "ports": ports}, nil
}

func (d *driver) list(ctx context.Context, s *step) (answer, error) {
	page, err := d.client.List(ctx, msb.ListOptions{Labels: s.Labels})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, sandbox := range page.Sandboxes {
		names = append(names, sandbox.Name())
	}
	return answer{"names": names}, nil
}

func (d *driver) lifecycle(change func(*msb.Sandbox, context.Context) error) handler {
	return func(ctx context.Context, s *step) (answer, error) {
		sandbox, err := d.sandbox(ctx, s.Sandbox)
		if err != nil {
			return nil, err
		}
		err = change(sandbox, ctx)
		return answer{"status": sandbox.Status()}, err
	}
}

func (d *driver) stop(ctx context.Context, s *step) (answer, error) {
	if s.TimeoutMs == nil {
		return d.lifecycle((*msb.Sandbox).Stop)(ctx, s)
	}
	return d.lifecycle(func(sandbox *msb.Sandbox, ctx context.Context) error {
		return sandbox.StopWithTimeout(ctx, milliseconds(*s.TimeoutMs))
	})(ctx, s)
}

func (d *driver) remove(ctx context.Context, s *step) (answer, error) {
	sandbox, err := d.sandbox(ctx, s.Sandbox)
	if err != nil {
		return nil, err
	}
	if err := sandbox.Remove(ctx, msb.RemoveOptions{Force: s.Force}); err != nil {
		return nil, err
	}
	delete(d.sandboxes, s.Sandbox)
	return nil, nil
}

func (d *driver) wait(ctx context.Context, s *step) (answer, error) {
	sandbox, err := d.sandbox(ctx, s.Sandbox)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.limited(ctx)
	defer cancel()
	status, err := sandbox.Wait(ctx)
	return answer{"exit_code": status.ExitCode}, err
}

func (d *driver) waitForStatus(ctx context.Context, s *step) (answer, error) {
	sandbox, err := d.sandbox(ctx, s.Sandbox)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.limited(ctx)
	defer cancel()
	status, err := sandbox.WaitForStatus(ctx, msb.Status(s.Status))
	return answer{"status": status}, err
}

// scope uses a sandbox with ownership, and returns its status after the end of the scope.
func (d *driver) scope(ctx context.Context, s *step) (answer, error) {
	sandbox, err := d.client.Get(ctx, s.Sandbox)
	if err != nil {
		return nil, err
	}
	output, err := func() (output *msb.Output, err error) {
		sandbox.Own(false)
		defer func() {
			if closeError := sandbox.Close(); err == nil {
				err = closeError
			}
		}()
		return sandbox.Shell(ctx, s.Cmd)
	}()
	if err != nil {
		return nil, err
	}
	if err := sandbox.Refresh(ctx); err != nil {
		return nil, err
	}
	return answer{"stdout": ofBytes(output.Stdout), "status": sandbox.Status()}, nil
}
