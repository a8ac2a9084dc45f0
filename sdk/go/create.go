package msb

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CreateOptions are options of Create and ConnectOrCreate. Only Image is required.
type CreateOptions struct {
	// Image is a reference such as alpine, a path such as ./image, or snapshot:NAME.
	Image string
	// Ephemeral has Close remove the sandbox instead of only stopping it.
	Ephemeral bool
	// CPUs is the number of virtual processors.
	CPUs int
	// MemoryMiB and DiskMiB are the sizes of memory and of the writable disk.
	MemoryMiB int
	DiskMiB   int
	// Env are variables of every process.
	Env map[string]string
	// EnvFiles are files of the host with lines NAME=value; later ones, and Env, take precedence.
	EnvFiles []string
	// Labels are free-form labels.
	Labels map[string]string
	// Workdir, User (as user[:group]), Hostname and Shell are those of the image or of msb by default.
	Workdir  string
	User     string
	Hostname string
	Shell    string
	// Ulimits are limits of every process.
	Ulimits []Rlimit
	// ShmSizeMiB is the size of /dev/shm; half of the memory by default.
	ShmSizeMiB int
	// Hosts are addresses by name, for its /etc/hosts.
	Hosts map[string]string
	// Ports are ports of the host that lead into the sandbox.
	Ports []Port
	// Volumes are mounted by their paths in the sandbox.
	Volumes map[string]Mount
	// Files are files of the host that are written into the sandbox at each start, by their paths there.
	Files map[string]string
	// Scripts are texts by their names. They are on the PATH of the sandbox, with their interpreter line as written.
	Scripts map[string]string
	// Secrets are values that the sandbox can use but not see.
	Secrets []Secret
	// Network is the network; nil allows the public internet.
	Network *Network
	// Command is the main process; that of the image by default, or none.
	Command []string
	// Restart is no (the default), on-failure, on-failure:N or always.
	Restart string
	// MaxDuration is the time after its start at which it is stopped; 0 is no limit.
	MaxDuration time.Duration
	// IdleTimeout is the time without activity after which it is stopped; 0 is no limit.
	IdleTimeout time.Duration
	// StopTimeout is the time that it has to shut down before it is killed, where a call has none of its own; 10 seconds
	// by default.
	StopTimeout time.Duration
	// StopSignal is the signal that asks its main process to end, by name or number; that of the image by default, or
	// SIGTERM.
	StopSignal string
	// Replace removes an existing sandbox of this name, with its disk.
	Replace bool
	// ReplaceTimeout is the time for an existing sandbox to shut down before it is killed; it implies Replace.
	ReplaceTimeout time.Duration
	// Pull says when registries are queried: missing (the default), always or never.
	Pull string
	// LockTimeout is how long to wait while another msb works on the sandbox.
	LockTimeout time.Duration
}

// arguments returns the arguments of msb create, and variables for its environment.
func (o CreateOptions) arguments(name string) ([]string, map[string]string, error) {
	if name == "" {
		return nil, nil, invalid("the name of the sandbox is empty")
	}
	image, err := imageArgument(o.Image)
	if err != nil {
		return nil, nil, err
	}
	args := arguments{"create"}
	args.text("name", name)
	args.count("cpus", o.CPUs, "")
	args.count("memory", o.MemoryMiB, "M")
	args.count("disk", o.DiskMiB, "M")
	args.count("shm-size", o.ShmSizeMiB, "M")
	args.text("workdir", o.Workdir)
	args.text("user", o.User)
	args.text("hostname", o.Hostname)
	args.text("shell", o.Shell)
	args.text("restart", o.Restart)
	args.text("stop-signal", o.StopSignal)
	args.text("pull", o.Pull)
	for _, number := range []int{o.CPUs, o.MemoryMiB, o.DiskMiB, o.ShmSizeMiB} {
		if number < 0 {
			return nil, nil, invalid("CPUs and sizes must not be negative")
		}
	}
	for _, named := range []struct {
		flag  string
		pairs map[string]string
	}{{"env", o.Env}, {"label", o.Labels}, {"script-raw", o.Scripts}, {"add-host", o.Hosts}} {
		for _, key := range sortedKeys(named.pairs) {
			if key == "" || strings.Contains(key, "=") {
				return nil, nil, invalid("%q is not a name", key)
			}
			args.text(named.flag, key+"="+named.pairs[key])
		}
	}
	for _, file := range o.EnvFiles {
		// The empty path would be the working directory.
		absolute, err := filepath.Abs(file)
		if err != nil || file == "" {
			return nil, nil, invalid("the file %q has no absolute path", file)
		}
		args.text("env-file", absolute)
	}
	for _, limit := range o.Ulimits {
		text, err := limit.argument()
		if err != nil {
			return nil, nil, err
		}
		args.text("ulimit", text)
	}
	for _, port := range o.Ports {
		if err := port.check(); err != nil {
			return nil, nil, err
		}
		args.text("port", port.String())
	}
	for _, path := range sortedKeys(o.Files) {
		source, err := filepath.Abs(o.Files[path])
		if err != nil {
			return nil, nil, invalid("the file %s has no absolute path: %v", o.Files[path], err)
		}
		args.text("add-file", source+":"+path)
	}
	for _, path := range sortedKeys(o.Volumes) {
		flag, value, err := o.Volumes[path].argument(path)
		if err != nil {
			return nil, nil, err
		}
		args.text(flag, value)
	}
	variables := map[string]string{}
	for _, secret := range o.Secrets {
		value, err := secret.argument(variables)
		if err != nil {
			return nil, nil, err
		}
		args.text("secret", value)
	}
	if o.Network != nil {
		if err := o.Network.add(&args); err != nil {
			return nil, nil, err
		}
	}
	if err := o.times(&args); err != nil {
		return nil, nil, err
	}
	args = append(args, image)
	if o.Command != nil {
		if len(o.Command) == 0 || o.Command[0] == "" {
			return nil, nil, invalid("the command of the sandbox is empty")
		}
		args = append(append(args, "--"), o.Command...)
	}
	return args, variables, nil
}

func (o CreateOptions) times(args *arguments) error {
	for _, limit := range []struct {
		flag  string
		value time.Duration
	}{
		{"max-duration", o.MaxDuration},
		{"idle-timeout", o.IdleTimeout},
		{"stop-timeout", o.StopTimeout},
		{"replace-with-timeout", o.ReplaceTimeout},
		{"lock-timeout", o.LockTimeout},
	} {
		flags, err := durationFlags(limit.flag, limit.value)
		if err != nil {
			return err
		}
		*args = append(*args, flags...)
	}
	if o.Replace && o.ReplaceTimeout == 0 {
		*args = append(*args, "--replace")
	}
	return nil
}

// arguments are options as --name=value, so that no value is read as an option.
type arguments []string

func (a *arguments) text(flag, value string) {
	if value != "" {
		*a = append(*a, "--"+flag+"="+value)
	}
}

func (a *arguments) count(flag string, value int, unit string) {
	if value != 0 {
		*a = append(*a, "--"+flag+"="+strconv.Itoa(value)+unit)
	}
}

// durationFlags returns an option with a time as msb reads it; none for 0.
func durationFlags(flag string, value time.Duration) ([]string, error) {
	switch {
	case value < 0:
		return nil, invalid("%s must not be negative", flag)
	case value == 0:
		return nil, nil
	case value < time.Millisecond:
		value = time.Millisecond
	}
	return []string{fmt.Sprintf("--%s=%dms", flag, value.Milliseconds())}, nil
}

func imageArgument(image string) (string, error) {
	if strings.HasPrefix(image, "./") || strings.HasPrefix(image, "../") {
		absolute, err := filepath.Abs(image)
		if err != nil {
			return "", invalid("the image %s has no absolute path: %v", image, err)
		}
		return absolute, nil
	}
	if image == "" || strings.HasPrefix(image, "-") {
		return "", invalid("%q is not an image", image)
	}
	return image, nil
}
