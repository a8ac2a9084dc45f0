//! The vocabulary of volumes, mounts, files and copied folders.

use super::Instead::{self, Say, Use, Write};
use super::schema;
use super::{PropertyTable, one, plain};
use schemas::spec::{HostPerms, StatVirt};

/// Beside a volume's name.
pub static VOLUME: PropertyTable = PropertyTable {
    what: "a volume",
    definition: "Volume",
    doc: "A directory or a disk that outlives the sandboxes that mount it.",
    required: &[],
    properties: &[
        plain(
            "kind",
            schema::volume_kind,
            "A directory, or a disk, which has one writer or any number of readers; without it, a disk if it has a `size`.",
        ),
        plain(
            "size",
            schema::volume_size,
            "The size of the disk, whose space is taken as it is filled, or the most that the directory can contain.",
        ),
        plain(
            "shared",
            schema::flag,
            "Whether several sandboxes may write to the directory at the same time. Any number may read it.",
        ),
        plain(
            "external",
            schema::external,
            "Whether the volume exists already, of another project or of none; or its full name, if it has another one. \
             The project neither creates nor removes it.",
        ),
    ],
    foreign: &[
        (&["driver", "driver_opts"], Say("a volume is a directory or a disk of msb: remove it")),
        (&["type"], Use("kind")),
        (
            &["name"],
            Say("the name in the heading is the volume's name; `external` takes that of another one"),
        ),
        (&["capacity", "quota", "limit"], Use("size")),
        (&["labels"], Say("a volume has no labels: remove it")),
    ],
};

const OF_SOURCE: Instead = Write {
    kdl: "a path begins with `/`, `./` or `../`, all else is the name of a volume; \
          a directory in memory is `tmpfs \"/path\"` instead of a mount",
    yaml: "a path begins with `/`, `./` or `../`, all else is the name of a volume; \
           a directory in memory is `tmpfs: [/path]` beside the mounts",
};

/// Beside a mount's source.
pub static MOUNT: PropertyTable = PropertyTable {
    what: "a mount",
    definition: "Mount",
    doc: "Something mounted into a sandbox.",
    required: &["source", "to"],
    properties: &[
        plain(
            "source",
            schema::text,
            "A path of the host, which begins with `/`, `./` or `../`; or the name of a volume.",
        ),
        plain("to", schema::guest_path, "The path in the sandbox."),
        plain("readonly", schema::flag, "Whether the sandbox cannot write to it."),
        plain("noexec", schema::flag, "Whether programs on it cannot be executed."),
        plain("nosuid", schema::flag, "Whether set-user-id bits on it have no effect."),
        plain("nodev", schema::flag, "Whether device nodes on it have no effect."),
        one(
            "stat-virt",
            "stat_virt",
            schema::word::<StatVirt>,
            "Where owners, modes and devices of the host's files are kept: in extended attributes, there where possible, or nowhere.",
        ),
        one(
            "host-perms",
            "host_perms",
            schema::word::<HostPerms>,
            "Which modes the host's files have: only for their owner, or as the sandbox sets them.",
        ),
        plain("size", schema::limit, "The most space that the sandbox can add to a directory of the host."),
        plain(
            "uid",
            schema::id,
            "The user who owns the host's files in the sandbox, until the sandbox gives them another owner.",
        ),
        plain("gid", schema::id, "The group of these files."),
        plain(
            "kind",
            schema::volume_kind,
            "What a path of the host is: a directory, or a disk with a file system, qcow2 if its name ends in `.qcow2` and raw else; without it, a directory or a single file.",
        ),
    ],
    foreign: &[
        (&["src", "from", "host", "volume"], Use("source")),
        (&["target", "destination", "dest", "dst", "path", "mount_path"], Use("to")),
        (&["read_only", "ro"], Use("readonly")),
        (&["type", "tmpfs"], OF_SOURCE),
        (&["user", "owner"], Use("uid")),
        (&["group"], Use("gid")),
        (&["quota", "limit"], Use("size")),
        (&["rw"], Say("a mount can be written to unless it is `readonly`")),
    ],
};

/// Inside `env-file`.
pub static ENV_FILE: PropertyTable = PropertyTable {
    what: "a file of variables",
    definition: "EnvFile",
    doc: "A file of the host with variables for the environment, one `NAME=value` per line.",
    required: &["path"],
    properties: &[
        plain("path", schema::text, "The file. Values of `env` and of later files take precedence."),
        plain("required", schema::flag, "Whether the file must exist; without it, it must."),
    ],
    foreign: &[(&["file", "from", "source"], Use("path")), (&["optional"], Say("write `required=#false`"))],
};

/// Beside the path of a directory in memory.
pub static TMPFS: PropertyTable = PropertyTable {
    what: "a directory in memory",
    definition: "Tmpfs",
    doc: "A directory in the sandbox's memory that is empty at each start.",
    required: &["to"],
    properties: &[
        plain("to", schema::guest_path, "The path in the sandbox."),
        plain(
            "size",
            schema::tmpfs_size,
            "The most that it can contain; without it, half of the sandbox's memory.",
        ),
        plain("mode", schema::tmpfs_mode, "Its mode, an octal number."),
        plain("uid", schema::id, "The user who owns it; without it, root."),
        plain("gid", schema::id, "Its group; without it, root's."),
        plain("readonly", schema::flag, "Whether nothing can be written to it."),
        plain("noexec", schema::flag, "Whether programs on it cannot be executed."),
        plain("nosuid", schema::flag, "Whether set-user-id bits on it have no effect."),
        plain("nodev", schema::flag, "Whether device nodes on it have no effect."),
    ],
    foreign: &[
        (&["target", "destination", "dest", "dst", "path", "mount_path"], Use("to")),
        (
            &["source", "src", "from", "type"],
            Say("it comes from nowhere and is empty at each start: remove it"),
        ),
        (&["read_only", "ro"], Use("readonly")),
        (&["limit", "tmpfs_size"], Use("size")),
        (&["permissions", "tmpfs_mode"], Use("mode")),
        (&["user", "owner"], Use("uid")),
        (&["group"], Use("gid")),
        (&["rw"], Say("it can be written to unless it is `readonly`")),
    ],
};

/// Beside a file's path.
pub static FILE: PropertyTable = PropertyTable {
    what: "a file",
    definition: "File",
    doc: "A file that is written into a sandbox at each start, from a file of the host or from a text.",
    required: &[],
    properties: &[
        plain(
            "from",
            schema::host_file,
            "The file of the host whose contents it has, at most 256 KiB, and 1 MiB for all files of a sandbox.",
        ),
        plain("content", schema::text, "The contents, instead of `from`; variables are replaced."),
        plain("mode", schema::file_mode, "Its permissions in octal."),
        plain("uid", schema::owner, "The user who owns it."),
        plain("gid", schema::owner, "Its group."),
    ],
    foreign: &[
        (&["source", "src", "file", "host"], Use("from")),
        (&["contents", "text", "body", "data"], Use("content")),
        (&["permissions", "perms", "chmod"], Use("mode")),
        (&["user", "owner"], Use("uid")),
        (&["group"], Use("gid")),
        (
            &["target", "destination", "dest", "dst", "path", "to"],
            Say("the path in the sandbox is the name of the file: remove it"),
        ),
        (&["environment", "env"], Say("write the variable into `content`, as \"${NAME}\"")),
        (
            &["readonly", "read_only", "ro"],
            Say("a `mode` such as \"0444\" keeps all but root from writing to it"),
        ),
        (&["external", "name"], Say("a file belongs to its sandbox: remove it")),
    ],
};

/// Beside a copied folder.
pub static SYNC: PropertyTable = PropertyTable {
    what: "a folder to copy",
    definition: "SyncFolder",
    doc: "A folder of the host whose changes are copied into the sandbox.",
    required: &["source", "to"],
    properties: &[
        plain("source", schema::text, "The folder of the host."),
        plain("to", schema::guest_path, "The path in the sandbox."),
        plain("ignore", schema::words, "Patterns, as in a .gitignore, of what is not copied."),
    ],
    foreign: &[
        (&["path", "src", "from"], Use("source")),
        (&["target", "dest", "destination"], Use("to")),
        (&["exclude", "except"], Use("ignore")),
        (&["action"], Say("changed files are copied: remove it")),
    ],
};
