//! The vocabulary of volumes, mounts and copied folders.

use super::Instead::{Say, Use};
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
            "A directory, or a disk, for one sandbox at a time; without it, a disk if it has a `size`.",
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
    ],
    foreign: &[
        (&["src", "from", "host", "volume"], Use("source")),
        (&["target", "destination", "dest", "dst", "path", "mount_path"], Use("to")),
        (&["read_only", "ro"], Use("readonly")),
        (&["type"], Say("a path begins with `/`, `./` or `../`; all else is the name of a volume")),
        (&["kind"], Say("`kind` belongs to the volume's declaration, at the top of the file")),
        (&["user", "owner"], Use("uid")),
        (&["group"], Use("gid")),
        (&["quota", "limit"], Use("size")),
        (&["rw"], Say("a mount can be written to unless it is `readonly`")),
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
