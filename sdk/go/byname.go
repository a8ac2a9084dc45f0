package msb

import (
	"context"
	"time"
)

// byName gets a sandbox and changes it.
func (c *Client) byName(ctx context.Context, name string, change func(*Sandbox) error) (*Sandbox, error) {
	sandbox, err := c.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := change(sandbox); err != nil {
		return nil, err
	}
	return sandbox, nil
}

// Start starts a sandbox, as Sandbox.Start does, and returns it.
func (c *Client) Start(ctx context.Context, name string) (*Sandbox, error) {
	return c.byName(ctx, name, func(s *Sandbox) error { return s.Start(ctx) })
}

// Stop stops a sandbox, as Sandbox.Stop does.
func (c *Client) Stop(ctx context.Context, name string) error {
	_, err := c.byName(ctx, name, func(s *Sandbox) error { return s.Stop(ctx) })
	return err
}

// StopWithTimeout stops a sandbox, as Sandbox.StopWithTimeout does.
func (c *Client) StopWithTimeout(ctx context.Context, name string, timeout time.Duration) error {
	_, err := c.byName(ctx, name, func(s *Sandbox) error { return s.StopWithTimeout(ctx, timeout) })
	return err
}

// Restart restarts a sandbox, as Sandbox.Restart does, and returns it.
func (c *Client) Restart(ctx context.Context, name string) (*Sandbox, error) {
	return c.byName(ctx, name, func(s *Sandbox) error { return s.Restart(ctx) })
}

// Kill ends a sandbox at once, as Sandbox.Kill does.
func (c *Client) Kill(ctx context.Context, name string) error {
	_, err := c.byName(ctx, name, func(s *Sandbox) error { return s.Kill(ctx) })
	return err
}
