package msb

import (
	"context"
	"encoding/json"
	"path/filepath"
	"time"
)

// Volume is a volume.
type Volume struct {
	// Name is the full name.
	Name string `json:"full_name"`
	// Project is the project that it belongs to, or empty.
	Project string `json:"project"`
	// Kind is directory or disk.
	Kind string `json:"kind"`
	// SizeMiB is its size, or the most that it can contain; 0 is no limit.
	SizeMiB int `json:"size_mib"`
	// UsedBytes is the space that it takes, if it is known.
	UsedBytes int64 `json:"used_bytes"`
	// Path is where its contents are on the host.
	Path string `json:"path"`
	// MountedBy are the sandboxes that mount it.
	MountedBy []string `json:"mounted_by"`
	// Raw is the whole document.
	Raw json.RawMessage `json:"-"`
}

// UnmarshalJSON also keeps the whole document.
func (v *Volume) UnmarshalJSON(data []byte) error {
	type plain Volume
	if err := json.Unmarshal(data, (*plain)(v)); err != nil {
		return err
	}
	v.Raw = append(json.RawMessage(nil), data...)
	return nil
}

// Volumes are the volumes of all projects and those of none.
type Volumes struct {
	cli *cli
}

// List returns all volumes.
func (v *Volumes) List(ctx context.Context) ([]Volume, error) {
	var document struct {
		Volumes []Volume `json:"volumes"`
	}
	err := v.cli.json(ctx, invocation{args: []string{"volume", "ls", "--all"}}, &document)
	return document.Volumes, err
}

// Get returns a volume. If there is none, the error has CodeVolumeNotFound.
func (v *Volumes) Get(ctx context.Context, name string) (*Volume, error) {
	volume := &Volume{}
	err := v.cli.json(ctx, invocation{args: []string{"volume", "inspect", "--", name}, name: name}, volume)
	if err != nil {
		return nil, err
	}
	return volume, nil
}

// VolumeOptions are options of creating a volume.
type VolumeOptions struct {
	// SizeMiB is the size of the disk, or the most that the directory can contain; 0 is no limit.
	SizeMiB int
	// Kind is directory, or disk, which is the default with a size.
	Kind string
	// Shared has several sandboxes write to the directory at the same time.
	Shared bool
}

// Create creates a volume that belongs to no project. If the name is taken, the error has CodeVolumeExists.
func (v *Volumes) Create(ctx context.Context, name string, options VolumeOptions) (*Volume, error) {
	if options.SizeMiB < 0 {
		return nil, invalid("the size of a volume must not be negative")
	}
	args := arguments{"volume", "create"}
	args.count("size", options.SizeMiB, "M")
	args.text("kind", options.Kind)
	if options.Shared {
		args = append(args, "--shared")
	}
	document, err := v.cli.change(ctx, invocation{args: append(args, "--", name), name: name})
	if err != nil {
		return nil, err
	}
	var result struct {
		Created *bool `json:"created"`
	}
	if json.Unmarshal(document, &result) == nil && result.Created != nil && !*result.Created {
		exists := errorf(CodeVolumeExists, "there is a volume %q already", name)
		exists.Name = name
		return nil, exists
	}
	return v.Get(ctx, name)
}

// Remove removes a volume with its contents. If a sandbox mounts it, the error has CodeInUse.
func (v *Volumes) Remove(ctx context.Context, name string) error {
	_, err := v.cli.change(ctx, invocation{args: []string{"volume", "rm", "--yes", "--", name}, name: name})
	return err
}

// Snapshot is a snapshot of the disk of a sandbox. The image snapshot:NAME boots from it.
type Snapshot struct {
	Name   string
	Digest string
	// Sandbox is the name of the sandbox that it was made of.
	Sandbox string
	Created time.Time
	// DataBytes is the size of its data.
	DataBytes int64
	// UsedBy are the sandboxes that boot from it.
	UsedBy []string
	// Raw is the whole document.
	Raw json.RawMessage
}

// UnmarshalJSON reads a snapshot of msb snapshot ls --json.
func (s *Snapshot) UnmarshalJSON(data []byte) error {
	var raw struct {
		Name        string   `json:"name"`
		Digest      string   `json:"digest"`
		Sandbox     string   `json:"sandbox"`
		CreatedUnix int64    `json:"created_unix"`
		DataBytes   int64    `json:"data_bytes"`
		UsedBy      []string `json:"used_by"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*s = Snapshot{
		raw.Name, raw.Digest, raw.Sandbox, time.Unix(raw.CreatedUnix, 0).UTC(), raw.DataBytes, raw.UsedBy,
		append(json.RawMessage(nil), data...),
	}
	return nil
}

// Snapshots are the snapshots of this machine.
type Snapshots struct {
	cli *cli
}

// List returns all snapshots.
func (s *Snapshots) List(ctx context.Context) ([]Snapshot, error) {
	var document struct {
		Snapshots []Snapshot `json:"snapshots"`
	}
	err := s.cli.json(ctx, invocation{args: []string{"snapshot", "ls"}}, &document)
	return document.Snapshots, err
}

// Get returns a snapshot. If there is none, the error has CodeSnapshotNotFound.
func (s *Snapshots) Get(ctx context.Context, name string) (*Snapshot, error) {
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	for at := range all {
		if all[at].Name == name {
			return &all[at], nil
		}
	}
	missing := errorf(CodeSnapshotNotFound, "there is no snapshot %q", name)
	missing.Name = name
	return nil, missing
}

// SnapshotOptions are options of creating and importing a snapshot.
type SnapshotOptions struct {
	// Name is the name; that of the sandbox, or the one in the file, by default.
	Name string
	// Replace replaces an existing snapshot of this name.
	Replace bool
}

// Create creates a snapshot of a sandbox's disk. If the name is taken, the error has CodeSnapshotExists.
func (s *Snapshots) Create(ctx context.Context, sandbox string, options SnapshotOptions) (*Snapshot, error) {
	name := options.Name
	if name == "" {
		name = sandbox
	}
	args := []string{"snapshot", "create"}
	if options.Replace {
		args = append(args, "--replace")
	}
	if _, err := s.cli.change(ctx, invocation{args: append(args, "--", sandbox, name), name: name}); err != nil {
		return nil, err
	}
	return s.Get(ctx, name)
}

// Remove removes a snapshot. If a sandbox boots from it, the error has CodeInUse, unless force is set.
func (s *Snapshots) Remove(ctx context.Context, name string, force bool) error {
	args := []string{"snapshot", "rm"}
	if force {
		args = append(args, "--force")
	}
	_, err := s.cli.change(ctx, invocation{args: append(args, "--", name), name: name})
	return err
}

// Export writes a snapshot with its image to one file.
func (s *Snapshots) Export(ctx context.Context, name, file string) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return invalid("the file %s has no absolute path: %v", file, err)
	}
	args := []string{"snapshot", "export", "--output=" + path, "--", name}
	_, err = s.cli.run(ctx, invocation{args: args, name: name})
	return err
}

// Import adds the snapshot in a file.
func (s *Snapshots) Import(ctx context.Context, file string, options SnapshotOptions) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return invalid("the file %s has no absolute path: %v", file, err)
	}
	args := []string{"snapshot", "import"}
	if options.Replace {
		args = append(args, "--replace")
	}
	args = append(args, "--", path)
	if options.Name != "" {
		args = append(args, options.Name)
	}
	_, err = s.cli.change(ctx, invocation{args: args, name: options.Name})
	return err
}

// Snapshot creates a snapshot of the sandbox's disk.
func (s *Sandbox) Snapshot(ctx context.Context, options SnapshotOptions) (*Snapshot, error) {
	return s.client.Snapshots().Create(ctx, s.name, options)
}

// Image is an image.
type Image struct {
	// Reference is its name.
	Reference string
	Digest    string
	// Raw is the whole document.
	Raw json.RawMessage
}

// UnmarshalJSON reads an image of msb image ls --json or inspect --json.
func (i *Image) UnmarshalJSON(data []byte) error {
	var raw struct {
		Reference any    `json:"reference"`
		Name      string `json:"name"`
		Digest    string `json:"digest"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*i = Image{raw.Name, raw.Digest, append(json.RawMessage(nil), data...)}
	if reference, isText := raw.Reference.(string); isText {
		i.Reference = reference
	}
	return nil
}

// Images are the images of this machine.
type Images struct {
	cli *cli
}

// List returns the images that have a name.
func (i *Images) List(ctx context.Context) ([]Image, error) {
	var document struct {
		Images []Image `json:"images"`
	}
	err := i.cli.json(ctx, invocation{args: []string{"image", "ls"}}, &document)
	return document.Images, err
}

// Get returns an image with its configuration and layers. If there is none, the error has CodeImageNotFound.
func (i *Images) Get(ctx context.Context, image string) (*Image, error) {
	found := &Image{}
	err := i.cli.json(ctx, invocation{args: []string{"image", "inspect", "--", image}, name: image}, found)
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Pull pulls images, and prepares them for booting.
func (i *Images) Pull(ctx context.Context, images ...string) error {
	if len(images) == 0 {
		return invalid("Pull needs an image")
	}
	args := append([]string{"image", "pull", "--"}, images...)
	_, err := i.cli.change(ctx, invocation{args: args, name: images[0]})
	return err
}

// Load loads images from an OCI layout or an archive; name is their name if it is not empty.
func (i *Images) Load(ctx context.Context, path, name string) error {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return invalid("the path %s has no absolute path: %v", path, err)
	}
	args := arguments{"image", "load"}
	args.text("name", name)
	_, err = i.cli.run(ctx, invocation{args: append(args, "--", absolute), name: name})
	return err
}

// Save writes images to an archive.
func (i *Images) Save(ctx context.Context, file string, images ...string) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return invalid("the file %s has no absolute path: %v", file, err)
	}
	if len(images) == 0 {
		return invalid("Save needs an image")
	}
	args := append([]string{"image", "save", "--output=" + path, "--"}, images...)
	_, err = i.cli.run(ctx, invocation{args: args, name: images[0]})
	return err
}

// Remove removes an image. If a sandbox uses it, the error has CodeInUse.
func (i *Images) Remove(ctx context.Context, image string) error {
	_, err := i.cli.change(ctx, invocation{args: []string{"image", "rm", "--", image}, name: image})
	return err
}

// Prune removes images that nothing uses, and with all those that only have a name too. It returns what msb prints.
func (i *Images) Prune(ctx context.Context, all bool) (json.RawMessage, error) {
	args := []string{"image", "prune"}
	if all {
		args = append(args, "--all")
	}
	var document json.RawMessage
	err := i.cli.json(ctx, invocation{args: args}, &document)
	return document, err
}

// Usage returns the disk usage of images, as msb prints it.
func (i *Images) Usage(ctx context.Context) (json.RawMessage, error) {
	var document json.RawMessage
	err := i.cli.json(ctx, invocation{args: []string{"image", "df"}}, &document)
	return document, err
}
