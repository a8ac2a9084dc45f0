package msb

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// Port is a port of the host that leads into a sandbox.
type Port struct {
	// Host is the port of the host; 0 takes a free one, which Sandbox.Ports returns.
	Host int
	// Guest is the port in the sandbox.
	Guest int
	// Bind is the address of the host; 127.0.0.1 by default.
	Bind string
	// Protocol is tcp (the default) or udp.
	Protocol string
}

func (p Port) check() error {
	switch {
	case p.Host < 0 || p.Host > 65535:
		return invalid("the host port %d is not from 0 to 65535", p.Host)
	case p.Guest < 1 || p.Guest > 65535:
		return invalid("the guest port %d is not from 1 to 65535", p.Guest)
	case p.Protocol != "" && p.Protocol != "tcp" && p.Protocol != "udp":
		return invalid("the protocol of a port is tcp or udp, not %q", p.Protocol)
	case p.Bind != "" && net.ParseIP(p.Bind) == nil:
		return invalid("%q is not an address", p.Bind)
	default:
		return nil
	}
}

// String returns the port as BIND:HOST:GUEST[/udp].
func (p Port) String() string {
	bind := p.Bind
	if bind == "" {
		bind = "127.0.0.1"
	}
	text := fmt.Sprintf("%s:%d", net.JoinHostPort(bind, strconv.Itoa(p.Host)), p.Guest)
	if p.Protocol == "udp" {
		text += "/udp"
	}
	return text
}

// parsePort reads [BIND:]HOST:GUEST[/PROTOCOL].
func parsePort(text string) (Port, bool) {
	numbers, protocol, hasProtocol := strings.Cut(text, "/")
	if !hasProtocol {
		protocol = "tcp"
	}
	last := strings.LastIndex(numbers, ":")
	if last < 0 {
		return Port{}, false
	}
	guest, guestError := strconv.Atoi(numbers[last+1:])
	bind, host := "127.0.0.1", numbers[:last]
	if at := strings.LastIndex(host, ":"); at >= 0 {
		bind, host = strings.Trim(host[:at], "[]"), host[at+1:]
	}
	number, hostError := strconv.Atoi(host)
	return Port{Host: number, Guest: guest, Bind: bind, Protocol: protocol}, guestError == nil && hostError == nil
}

// A StatVirtualization says where owners, modes and devices of the host's files are kept.
type StatVirtualization string

// The policies of StatVirtualization: in extended attributes (the default), there where possible, or nowhere.
const (
	StatStrict  StatVirtualization = "strict"
	StatRelaxed StatVirtualization = "relaxed"
	StatOff     StatVirtualization = "off"
)

// HostPermissions says which modes files have on the host.
type HostPermissions string

// The policies of HostPermissions: only for their owner (the default), or as the sandbox sets them.
const (
	PermissionsPrivate HostPermissions = "private"
	PermissionsMirror  HostPermissions = "mirror"
)

// Mount is something mounted into a sandbox. It needs exactly one of Bind, Volume and Tmpfs.
type Mount struct {
	// Bind is a file or folder of the host; a relative path is one of the working directory.
	Bind string
	// Volume is the name of a volume of the sandbox, which msb creates if it does not exist.
	Volume string
	// Tmpfs mounts a directory in the sandbox's memory that is empty at each start.
	Tmpfs bool

	ReadOnly bool
	NoExec   bool
	NoSUID   bool
	NoDev    bool
	// StatVirtualization and HostPermissions are for Bind and Volume.
	StatVirtualization StatVirtualization
	HostPermissions    HostPermissions
	// UID and GID own the files of Bind in the sandbox.
	UID *int
	GID *int
	// SizeMiB is the size of Tmpfs, or the most that the sandbox can add to Bind; 0 is no limit.
	SizeMiB int
	// Mode has the permissions of Tmpfs; nil is the default of msb.
	Mode *uint32
	// Disk mounts Bind as the image of a disk.
	Disk bool
}

// argument returns the option of msb create, and its value.
func (m Mount) argument(path string) (flag, value string, err error) {
	source := m.Bind
	kinds := 0
	for _, has := range []bool{m.Bind != "", m.Volume != "", m.Tmpfs} {
		if has {
			kinds++
		}
	}
	policies := m.StatVirtualization != "" || m.HostPermissions != ""
	switch {
	case kinds != 1:
		return "", "", invalid("the mount at %s needs one of Bind, Volume and Tmpfs", path)
	case !strings.HasPrefix(path, "/"):
		return "", "", invalid("%q is not an absolute path in the sandbox", path)
	case m.Tmpfs && policies:
		return "", "", invalid("the policies of the mount at %s are not for a tmpfs", path)
	case m.Bind == "" && (m.UID != nil || m.GID != nil || m.Disk):
		return "", "", invalid("UID, GID and Disk of the mount at %s are for Bind only", path)
	case m.Volume != "" && m.SizeMiB != 0:
		return "", "", invalid("the size of the mount at %s is not for a volume", path)
	case !m.Tmpfs && m.Mode != nil:
		return "", "", invalid("the mode of the mount at %s is for a tmpfs only", path)
	case m.SizeMiB < 0:
		return "", "", invalid("the size of the mount at %s must not be negative", path)
	}
	if err := m.checkPolicies(); err != nil {
		return "", "", err
	}
	if m.Bind != "" {
		if source, err = filepath.Abs(m.Bind); err != nil {
			return "", "", invalid("the mount at %s has no absolute path: %v", path, err)
		}
	}
	if m.Volume != "" {
		if source = m.Volume; strings.Contains(source, "/") {
			return "", "", invalid("%q is not a name of a volume", source)
		}
	}
	if strings.Contains(path, ":") || strings.Contains(source, ":") {
		return "", "", invalid("a path of the mount at %s must not contain a colon", path)
	}
	flag, value = "volume", source+":"+path
	if m.Tmpfs {
		flag, value = "tmpfs", path
	}
	if words := m.words(); len(words) > 0 {
		value += ":" + strings.Join(words, ",")
	}
	return flag, value, nil
}

func (m Mount) checkPolicies() error {
	switch m.StatVirtualization {
	case "", StatStrict, StatRelaxed, StatOff:
	default:
		return invalid("%q is not a policy of stat virtualization", m.StatVirtualization)
	}
	switch m.HostPermissions {
	case "", PermissionsPrivate, PermissionsMirror:
		return nil
	default:
		return invalid("%q is not a policy of host permissions", m.HostPermissions)
	}
}

func (m Mount) words() []string {
	var words []string
	add := func(has bool, word string) {
		if has {
			words = append(words, word)
		}
	}
	add(m.ReadOnly, "ro")
	add(m.NoExec, "noexec")
	add(m.NoSUID, "nosuid")
	add(m.NoDev, "nodev")
	add(m.StatVirtualization != "", "stat-virt="+string(m.StatVirtualization))
	add(m.HostPermissions != "", "host-perms="+string(m.HostPermissions))
	if m.UID != nil {
		words = append(words, fmt.Sprintf("uid=%d", *m.UID))
	}
	if m.GID != nil {
		words = append(words, fmt.Sprintf("gid=%d", *m.GID))
	}
	add(m.SizeMiB > 0, fmt.Sprintf("size=%dM", m.SizeMiB))
	if m.Mode != nil {
		words = append(words, fmt.Sprintf("mode=%04o", *m.Mode))
	}
	add(m.Disk, "kind=disk")
	return words
}
