package msb

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/msb-dev/msb/sdk/go/internal/cbor"
	"github.com/msb-dev/msb/sdk/go/internal/wire"
)

const (
	// maxReadBytes is the most that Read and ReadText return, in bytes.
	maxReadBytes = 1024 * 1024 * 1024
	// maxListedEntries and maxListedBytes are the most names of one directory.
	maxListedEntries = 1_000_000
	maxListedBytes   = 64 * 1024 * 1024
	maxNameBytes     = 255

	// busyTimeout is the longest wait for a place among the operations of the guest.
	busyTimeout  = 30 * time.Second
	maxBusyDelay = 200 * time.Millisecond

	featureFiles = "fs"
	featureTree  = "fs_tree"
)

// WriteOptions are options of creating a file or a directory.
type WriteOptions struct {
	// Mode has the permissions; nil is 0644, and 0755 for directories.
	Mode *uint32
	// User is the owner as name|uid[:group|gid]; the user of commands by default.
	User string
	// Parents creates missing parent directories of a file. Directories always get theirs.
	Parents bool
}

// Files are the files of a guest. Paths are absolute, and resolved in the guest only, with the rights of root. If the
// guest refuses an operation, the error is a *FileError.
type Files struct {
	links links
}

// Read reads a regular file of at most 1 GiB.
func (f *Files) Read(ctx context.Context, path string) ([]byte, error) {
	reader, err := f.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	var contents bytes.Buffer
	for {
		piece, err := reader.Next(ctx)
		if err == io.EOF {
			return contents.Bytes(), nil
		}
		if err != nil {
			return nil, err
		}
		if contents.Len()+len(piece) > maxReadBytes {
			return nil, errorf(CodeTooLarge, "%s is larger than %d bytes", path, maxReadBytes)
		}
		contents.Write(piece)
	}
}

// ReadText reads a text file. If it is not UTF-8, the error has CodeInvalidArgument.
func (f *Files) ReadText(ctx context.Context, path string) (string, error) {
	contents, err := f.Read(ctx, path)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(contents) {
		return "", invalid("%s is not UTF-8 text", path)
	}
	return string(contents), nil
}

// Write creates or replaces a file at once: no reader sees a part of it.
func (f *Files) Write(ctx context.Context, path string, contents []byte, options WriteOptions) error {
	if len(contents) < pieceBytes {
		request, err := options.request("write", path, options.Parents)
		if err != nil {
			return err
		}
		request = append(request, cbor.Entry{Key: "data", Value: contents})
		_, err = f.operate(ctx, "write files", path, request, featureFiles)
		return err
	}
	writer, err := f.Create(ctx, path, options)
	if err != nil {
		return err
	}
	if _, err := writer.Write(contents); err != nil {
		writer.Abort()
		return err
	}
	return writer.Close()
}

// List returns the entries of a directory, sorted by name.
func (f *Files) List(ctx context.Context, path string) (entries []FileEntry, err error) {
	err = whileBusy(ctx, func() error {
		entries, err = f.list(ctx, path)
		return err
	})
	return entries, err
}

func (f *Files) list(ctx context.Context, path string) ([]FileEntry, error) {
	request, err := request("list", path)
	if err != nil {
		return nil, err
	}
	link, err := f.links.connection(ctx)
	if err != nil {
		return nil, err
	}
	box, err := begin(link, "list files", request, featureFiles)
	if err != nil {
		return nil, err
	}
	defer box.close()
	var entries []FileEntry
	size := 0
	for frames := 1; ; frames++ {
		payload, terminal, err := answer(ctx, box, path)
		if err != nil {
			return nil, err
		}
		part, isList := payload["entries"].([]any)
		if !isList && payload["entries"] != nil {
			return nil, errorf(CodeProtocolError, "the guest sent an invalid listing")
		}
		for _, raw := range part {
			entry, err := entryOf(raw, path)
			if err != nil {
				return nil, err
			}
			size += len(entry.Name) + len(entry.Path) + len(entry.Target) + frameOverhead
			entries = append(entries, entry)
		}
		if len(entries) > maxListedEntries || size > maxListedBytes {
			return nil, errorf(CodeProtocolError, "the guest sent more names than a directory may have")
		}
		if terminal {
			sort.Slice(entries, func(a, b int) bool { return entries[a].Name < entries[b].Name })
			return entries, nil
		}
		if err := link.postMessage(box.id, 0, "core.fs.data.ack", map[string]any{"frames": frames}); err != nil {
			return nil, err
		}
	}
}

// Mkdir creates a directory and its missing parents. An existing one is no error.
func (f *Files) Mkdir(ctx context.Context, path string, options WriteOptions) error {
	request, err := options.request("make_directory", path, true)
	if err != nil {
		return err
	}
	_, err = f.operate(ctx, "create directories", path, request, featureFiles)
	return err
}

// Symlink creates a symbolic link at path, or replaces a file or link with one.
func (f *Files) Symlink(ctx context.Context, target, path string) error {
	request, err := request("make_link", path)
	if err != nil {
		return err
	}
	request = append(request, cbor.Entry{Key: "data", Value: []byte(target)})
	_, err = f.operate(ctx, "create links", path, request, featureFiles)
	return err
}

// Remove removes a file or a link, but no directory.
func (f *Files) Remove(ctx context.Context, path string) error {
	// The agent takes a missing path for a success.
	stat, err := f.Lstat(ctx, path)
	if err != nil {
		return err
	}
	if stat.IsDir() {
		return fileError(path, "is_directory", 21, "EISDIR", path+" is a directory")
	}
	return f.remove(ctx, path, false)
}

// RemoveDir removes a directory with its contents.
func (f *Files) RemoveDir(ctx context.Context, path string) error {
	stat, err := f.Lstat(ctx, path)
	if err != nil {
		return err
	}
	if !stat.IsDir() {
		return fileError(path, "not_directory", 20, "ENOTDIR", path+" is not a directory")
	}
	return f.remove(ctx, path, true)
}

func (f *Files) remove(ctx context.Context, path string, recursive bool) error {
	request, err := request("remove", path)
	if err != nil {
		return err
	}
	request = append(request, cbor.Entry{Key: "recursive", Value: recursive})
	_, err = f.operate(ctx, "remove files", path, request, featureFiles)
	return err
}

// Lstat returns the metadata of a file, or of a link itself.
func (f *Files) Lstat(ctx context.Context, path string) (FileStat, error) {
	return f.stat(ctx, path, nil, featureFiles)
}

// Stat returns the metadata of a file, and follows links. If the agent is too old for that, the error has
// CodeUnsupported.
func (f *Files) Stat(ctx context.Context, path string) (FileStat, error) {
	return f.stat(ctx, path, cbor.Map{{Key: "follow", Value: true}}, featureTree)
}

func (f *Files) stat(ctx context.Context, path string, options cbor.Map, feature string) (FileStat, error) {
	request, err := request("stat", path)
	if err != nil {
		return FileStat{}, err
	}
	payload, err := f.operate(ctx, "read metadata", path, append(request, options...), feature)
	if err != nil {
		return FileStat{}, err
	}
	return statOf(payload["stat"])
}

// CopyOptions are options of Copy.
type CopyOptions struct {
	// Recursive copies a directory with its contents.
	Recursive bool
}

// Copy copies a file or link inside the guest. If the agent is too old, the error has CodeUnsupported.
func (f *Files) Copy(ctx context.Context, path, to string, options CopyOptions) error {
	return f.toPath(ctx, "copy", path, to, cbor.Map{{Key: "recursive", Value: options.Recursive}})
}

// Rename gives a file or directory another path in the same file system. If the agent is too old, the error has
// CodeUnsupported.
func (f *Files) Rename(ctx context.Context, path, to string) error {
	return f.toPath(ctx, "rename", path, to, nil)
}

func (f *Files) toPath(ctx context.Context, op, path, to string, options cbor.Map) error {
	request, err := request(op, path)
	if err != nil {
		return err
	}
	if err := checkPath(to); err != nil {
		return err
	}
	request = append(request, cbor.Entry{Key: "to", Value: []byte(to)})
	_, err = f.operate(ctx, op+" files", path, append(request, options...), featureTree)
	return err
}

// RealPath returns the path without links, "." and "..". If the agent is too old, the error has CodeUnsupported.
func (f *Files) RealPath(ctx context.Context, path string) (string, error) {
	request, err := request("real_path", path)
	if err != nil {
		return "", err
	}
	payload, err := f.operate(ctx, "resolve paths", path, request, featureTree)
	if err != nil {
		return "", err
	}
	found, isBytes := payload["path"].([]byte)
	if !isBytes {
		return "", errorf(CodeProtocolError, "the guest sent no path")
	}
	return string(found), nil
}

// ReadLink returns the target of a link.
func (f *Files) ReadLink(ctx context.Context, path string) (string, error) {
	stat, err := f.Lstat(ctx, path)
	if err == nil && stat.Kind != KindSymlink {
		err = fileError(path, "wrong_kind", 22, "EINVAL", path+" is not a link")
	}
	return stat.Target, err
}

// Exists returns whether there is a file, directory or link.
func (f *Files) Exists(ctx context.Context, path string) (bool, error) {
	_, err := f.Lstat(ctx, path)
	var refused *FileError
	if errors.As(err, &refused) && (refused.Kind == "not_found" || refused.Kind == "not_directory") {
		return false, nil
	}
	return err == nil, err
}

// whileBusy tries an operation again while the guest has no place for it. It has 16, for all clients, and that of an
// abandoned transfer is free only a moment after its connection was closed.
func whileBusy(ctx context.Context, try func() error) error {
	deadline := time.Now().Add(busyTimeout)
	for delay := 10 * time.Millisecond; ; delay *= 2 {
		err := try()
		var refused *FileError
		// With an errno it is a file that is busy.
		if !errors.As(err, &refused) || refused.Kind != "busy" || refused.Errno != 0 || time.Now().After(deadline) {
			return err
		}
		if delay > maxBusyDelay {
			delay = maxBusyDelay
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return contextError(ctx, "waiting for other operations on files")
		}
	}
}

// operate runs an operation with one answer.
func (f *Files) operate(ctx context.Context, what, path string, request cbor.Map, feature string) (payload map[string]any, err error) {
	err = whileBusy(ctx, func() error {
		payload, err = f.operateOnce(ctx, what, path, request, feature)
		return err
	})
	return payload, err
}

func (f *Files) operateOnce(ctx context.Context, what, path string, request cbor.Map, feature string) (map[string]any, error) {
	link, err := f.links.connection(ctx)
	if err != nil {
		return nil, err
	}
	box, err := begin(link, what, request, feature)
	if err != nil {
		return nil, err
	}
	defer box.close()
	payload, _, err := answer(ctx, box, path)
	if err != nil {
		return nil, f.links.explain(ctx, err)
	}
	return payload, nil
}

func begin(link *connection, what string, request cbor.Map, feature string) (*mailbox, error) {
	if err := link.require(feature, what); err != nil {
		return nil, err
	}
	body, err := wire.EncodeBody("core.fs.request", request)
	if err != nil {
		return nil, invalid("the operation cannot be encoded: %v", err)
	}
	return openMailbox(link, wire.FlagSessionStart, body, false)
}

// answer returns the payload of the next response.
func answer(ctx context.Context, box *mailbox, path string) (map[string]any, bool, error) {
	message, terminal, err := box.nextMessage(ctx)
	if err != nil {
		return nil, false, err
	}
	return message.Payload, terminal, checkResponse(message, path)
}

// checkResponse returns the failure of a response, and an error for any other message.
func checkResponse(message wire.Message, path string) error {
	if message.Type == "core.error" {
		return refusal(message.Payload)
	}
	if message.Type != "core.fs.response" {
		return errorf(CodeProtocolError, "the guest answered a file operation with %.64q", message.Type)
	}
	if message.Payload["failure"] == nil {
		return nil
	}
	failure, isMap := message.Payload["failure"].(map[string]any)
	if !isMap {
		return errorf(CodeProtocolError, "the guest sent an invalid failure")
	}
	text := textIn(failure, "message")
	if text == "" {
		text = "the guest refused the operation on " + path
	}
	kind := textIn(failure, "kind")
	if kind == "" {
		kind = "other"
	}
	return fileError(path, kind, smallIn(failure, "errno"), textIn(failure, "errno_name"), text)
}

func fileError(path, kind string, errno int, errnoName, message string) error {
	code := CodeFileFailed
	if kind == "not_found" {
		code = CodePathNotFound
	}
	return &FileError{Err: errorf(code, "%s", message), Kind: kind, Path: path, Errno: errno, ErrnoName: errnoName}
}

func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) {
		return invalid("%q is not an absolute path in the guest", path)
	}
	return nil
}

// request returns the payload of an operation.
func request(op, path string) (cbor.Map, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	return cbor.Map{{Key: "op", Value: op}, {Key: "path", Value: []byte(path)}}, nil
}

func (o WriteOptions) request(op, path string, parents bool) (cbor.Map, error) {
	request, err := request(op, path)
	if err != nil {
		return nil, err
	}
	if o.Mode != nil {
		if *o.Mode > 0o7777 {
			return nil, invalid("the mode %#o has more than the 12 permission bits", *o.Mode)
		}
		request = append(request, cbor.Entry{Key: "mode", Value: *o.Mode})
	}
	if o.User != "" {
		request = append(request, cbor.Entry{Key: "user", Value: o.User})
	}
	return append(request, cbor.Entry{Key: "parents", Value: parents}), nil
}

// Mode returns a pointer to permissions, for WriteOptions.
func Mode(permissions uint32) *uint32 { return &permissions }
