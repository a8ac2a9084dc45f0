package main

import (
	"context"
	"io"

	msb "github.com/msb-dev/msb/sdk/go"
)

func (d *driver) fileSteps() map[string]handler {
	return map[string]handler{
		"fs_write": d.files(func(ctx context.Context, files *msb.Files, s *step) (answer, error) {
			return nil, files.Write(ctx, s.Path, s.Data, msb.WriteOptions{Mode: s.Mode})
		}),
		"fs_read": d.files(func(ctx context.Context, files *msb.Files, s *step) (answer, error) {
			data, err := files.Read(ctx, s.Path)
			return answer{"data": ofBytes(data)}, err
		}),
		"fs_read_text": d.files(func(ctx context.Context, files *msb.Files, s *step) (answer, error) {
			text, err := files.ReadText(ctx, s.Path)
			return answer{"text": text}, err
		}),
		"fs_write_stream": d.files(writeStream),
		"fs_read_stream":  d.files(readStream),
		"fs_list":         d.files(listFiles),
		"fs_mkdir": d.files(func(ctx context.Context, files *msb.Files, s *step) (answer, error) {
			return nil, files.Mkdir(ctx, s.Path, msb.WriteOptions{})
		}),
		"fs_remove": d.files(func(ctx context.Context, files *msb.Files, s *step) (answer, error) {
			return nil, files.Remove(ctx, s.Path)
		}),
		"fs_remove_dir": d.files(func(ctx context.Context, files *msb.Files, s *step) (answer, error) {
			return nil, files.RemoveDir(ctx, s.Path)
		}),
		"fs_stat": d.files(statFile),
		"fs_copy": d.files(func(ctx context.Context, files *msb.Files, s *step) (answer, error) {
			return nil, files.Copy(ctx, s.Path, s.To, msb.CopyOptions{})
		}),
		"fs_rename": d.files(func(ctx context.Context, files *msb.Files, s *step) (answer, error) {
			return nil, files.Rename(ctx, s.Path, s.To)
		}),
		"fs_exists": d.files(func(ctx context.Context, files *msb.Files, s *step) (answer, error) {
			exists, err := files.Exists(ctx, s.Path)
			return answer{"exists": exists}, err
		}),
		"copy_from_host": d.copyFromHost,
		"copy_to_host":   d.copyToHost,
	}
}

func (d *driver) files(act func(context.Context, *msb.Files, *step) (answer, error)) handler {
	return func(ctx context.Context, s *step) (answer, error) {
		guest, err := d.guest(ctx, s)
		if err != nil {
			return nil, err
		}
		return act(ctx, guest.Files(), s)
	}
}

func writeStream(ctx context.Context, files *msb.Files, s *step) (answer, error) {
	writer, err := files.Create(ctx, s.Path, msb.WriteOptions{})
	if err != nil {
		return nil, err
	}
	for _, chunk := range s.Chunks {
		if _, err := writer.Write(chunk); err != nil {
			return nil, err
		}
	}
	return nil, writer.Close()
}

func readStream(ctx context.Context, files *msb.Files, s *step) (answer, error) {
	reader, err := files.Open(ctx, s.Path)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	var data []byte
	for chunks := 0; ; chunks++ {
		piece, err := reader.Next(ctx)
		if err == io.EOF {
			return answer{"data": ofBytes(data), "chunks": chunks}, nil
		}
		if err != nil {
			return nil, err
		}
		data = append(data, piece...)
	}
}

func listFiles(ctx context.Context, files *msb.Files, s *step) (answer, error) {
	entries, err := files.List(ctx, s.Path)
	if err != nil {
		return nil, err
	}
	listed := []answer{}
	for _, entry := range entries {
		listed = append(listed, answer{"name": entry.Name, "kind": entry.Kind, "size": entry.Size})
	}
	return answer{"entries": listed}, nil
}

func statFile(ctx context.Context, files *msb.Files, s *step) (answer, error) {
	read := files.Lstat
	if s.Follow {
		read = files.Stat
	}
	stat, err := read(ctx, s.Path)
	if err != nil {
		return nil, err
	}
	return answer{"kind": stat.Kind, "size": stat.Size, "mode": stat.Mode, "modified_ms": stat.Modified.UnixMilli()}, nil
}

func (d *driver) copyFromHost(ctx context.Context, s *step) (answer, error) {
	sandbox, err := d.sandbox(ctx, s.Sandbox)
	if err != nil {
		return nil, err
	}
	return nil, sandbox.CopyFromHost(ctx, s.Host, s.Guest)
}

func (d *driver) copyToHost(ctx context.Context, s *step) (answer, error) {
	sandbox, err := d.sandbox(ctx, s.Sandbox)
	if err != nil {
		return nil, err
	}
	return nil, sandbox.CopyToHost(ctx, s.Guest, s.Host)
}
