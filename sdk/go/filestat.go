package msb

import (
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// A FileKind is the kind of a file.
type FileKind string

// The kinds of files. KindOther is a device, a socket or a pipe.
const (
	KindFile      FileKind = "file"
	KindDirectory FileKind = "directory"
	KindSymlink   FileKind = "symlink"
	KindOther     FileKind = "other"
)

// FileStat is the metadata of a file.
type FileStat struct {
	Kind FileKind
	// Mode has the 12 permission bits, as chmod takes them.
	Mode uint32
	UID  int
	GID  int
	// Size is the size in bytes.
	Size int64
	// Modified is the time of the last modification.
	Modified time.Time
	// Target is the target of a link.
	Target string
}

// IsDir reports whether it is a directory.
func (s FileStat) IsDir() bool { return s.Kind == KindDirectory }

// FileMode returns kind and permissions as the standard library has them.
func (s FileStat) FileMode() fs.FileMode {
	mode := fs.FileMode(s.Mode & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if s.Mode&bit != 0 {
			mode |= flag
		}
	}
	switch s.Kind {
	case KindDirectory:
		return mode | fs.ModeDir
	case KindSymlink:
		return mode | fs.ModeSymlink
	case KindOther:
		return mode | fs.ModeIrregular
	default:
		return mode
	}
}

// FileEntry is one entry of a directory.
type FileEntry struct {
	FileStat
	// Name is the last element of the path. Its bytes are those of the guest, and need not be UTF-8.
	Name string
	// Path is the path with the directory.
	Path string
}

func statOf(value any) (FileStat, error) {
	raw, isMap := value.(map[string]any)
	if !isMap {
		return FileStat{}, errorf(CodeProtocolError, "the guest sent no metadata")
	}
	stat := FileStat{Kind: KindOther}
	switch raw["kind"] {
	case "file":
		stat.Kind = KindFile
	case "directory":
		stat.Kind = KindDirectory
	case "link":
		stat.Kind = KindSymlink
	}
	var numbers [5]int64
	for at, name := range []string{"mode", "uid", "gid", "size", "modified_ns"} {
		number, err := integerIn(raw, name)
		if err != nil {
			return FileStat{}, err
		}
		numbers[at] = number
	}
	stat.Mode, stat.UID, stat.GID, stat.Size = uint32(numbers[0]&0o7777), int(numbers[1]), int(numbers[2]), numbers[3]
	stat.Modified = time.Unix(0, numbers[4]).UTC()
	if target, isBytes := raw["target"].([]byte); isBytes {
		stat.Target = string(target)
	}
	return stat, nil
}

// entryOf checks a name, as the caller may use it as one on the host.
func entryOf(value any, folder string) (FileEntry, error) {
	raw, _ := value.(map[string]any)
	name, isBytes := raw["name"].([]byte)
	text := string(name)
	if !isBytes || text == "" || text == "." || text == ".." || len(text) > maxNameBytes || strings.ContainsAny(text, "/\x00") {
		return FileEntry{}, errorf(CodeProtocolError, "the guest sent an invalid name of a file: %s", printable(fmt.Sprintf("%.300q", text)))
	}
	stat, err := statOf(raw["stat"])
	return FileEntry{stat, text, strings.TrimRight(folder, "/") + "/" + text}, err
}
