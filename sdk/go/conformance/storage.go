package main

import (
	"context"
	"io"

	msb "github.com/msb-dev/msb/sdk/go"
)

func (d *driver) storageSteps() map[string]handler {
	return map[string]handler{
		"volume_create": func(ctx context.Context, s *step) (answer, error) {
			return ofVolume(d.client.Volumes().Create(ctx, s.Name, msb.VolumeOptions{SizeMiB: s.SizeMiB, Kind: s.Kind}))
		},
		"volume_get": func(ctx context.Context, s *step) (answer, error) {
			return ofVolume(d.client.Volumes().Get(ctx, s.Name))
		},
		"volume_list": d.volumeList,
		"volume_remove": func(ctx context.Context, s *step) (answer, error) {
			return nil, d.client.Volumes().Remove(ctx, s.Name)
		},
		"snapshot_create": func(ctx context.Context, s *step) (answer, error) {
			made, err := d.client.Snapshots().Create(ctx, s.Sandbox, msb.SnapshotOptions{Name: s.Name})
			if err != nil {
				return nil, err
			}
			return answer{"name": made.Name}, nil
		},
		"snapshot_list": d.snapshotList,
		"snapshot_remove": func(ctx context.Context, s *step) (answer, error) {
			return nil, d.client.Snapshots().Remove(ctx, s.Name, false)
		},
		"image_list": func(ctx context.Context, s *step) (answer, error) {
			images, err := d.client.Images().List(ctx)
			return answer{"count": len(images)}, err
		},
		"project_plan": d.projectPlan,
		"project_up":   d.projectUp,
		"project_down": d.projectDown,
	}
}

func ofVolume(volume *msb.Volume, err error) (answer, error) {
	if err != nil {
		return nil, err
	}
	return answer{"name": volume.Name, "kind": volume.Kind}, nil
}

func (d *driver) volumeList(ctx context.Context, s *step) (answer, error) {
	volumes, err := d.client.Volumes().List(ctx)
	names := []string{}
	for _, volume := range volumes {
		names = append(names, volume.Name)
	}
	return answer{"names": names}, err
}

func (d *driver) snapshotList(ctx context.Context, s *step) (answer, error) {
	snapshots, err := d.client.Snapshots().List(ctx)
	names := []string{}
	for _, snapshot := range snapshots {
		names = append(names, snapshot.Name)
	}
	return answer{"names": names}, err
}

func (d *driver) projectPlan(ctx context.Context, s *step) (answer, error) {
	plan, err := d.client.Project(s.Path).Plan(ctx, msb.PlanOptions{Trust: s.Trust})
	if err != nil {
		return nil, err
	}
	changes := []answer{}
	for _, change := range plan.Changes {
		changes = append(changes, answer{"name": change.Name, "action": change.Action})
	}
	return answer{"changes": changes}, nil
}

func (d *driver) projectUp(ctx context.Context, s *step) (answer, error) {
	run, err := d.client.Project(s.Path).Up(ctx, msb.UpOptions{Trust: s.Trust})
	if err != nil {
		return nil, err
	}
	defer run.Close()
	kinds := []string{}
	succeeded := false
	for {
		event, err := run.Next(ctx)
		if err == io.EOF {
			return answer{"events": kinds, "ok": succeeded}, nil
		}
		if err != nil {
			return nil, err
		}
		succeeded = event.OK
		if len(kinds) == 0 || kinds[len(kinds)-1] != event.Event {
			kinds = append(kinds, event.Event)
		}
	}
}

func (d *driver) projectDown(ctx context.Context, s *step) (answer, error) {
	run, err := d.client.Project(s.Path).Down(ctx, msb.DownOptions{})
	if err != nil {
		return nil, err
	}
	defer run.Close()
	last, err := run.Wait(ctx)
	return answer{"ok": last.OK}, err
}
