//! The short form of a mount, `SOURCE:DEST[:OPTIONS]`, as in flags and Sandboxfiles.

use crate::Word;
use crate::suggest::{list, nearest};
use crate::unit::{InvalidQuantity, parse_size_bytes};
use std::str::FromStr;

crate::words! {
    /// The place of the guest's owners, modes and devices of files.
    #[derive(Default)]
    StatVirt {
        /// Extended attributes, which the host's file system must support.
        #[default]
        Strict = "strict",
        /// Extended attributes, if the host's file system supports them.
        Relaxed = "relaxed",
        /// None: the guest has those of the host.
        Off = "off",
    }
}

crate::words! {
    /// The modes of the host's files.
    #[derive(Default)]
    HostPerms {
        /// Only the owner can read and write them.
        #[default]
        Private = "private",
        /// The guest's modes, and always read and write access for the owner.
        Mirror = "mirror",
    }
}

crate::words! {
    /// The kind of a volume.
    #[derive(Default)]
    VolumeKind {
        /// A directory of the host, shared with the sandboxes that mount it.
        Directory = "directory",
        /// A disk with a file system of its own, which has one writer or any number of readers. Volumes were disks before they had a kind.
        #[default]
        Disk = "disk",
    }
}

/// The options, for messages.
const OPTIONS: [&str; 11] =
    ["ro", "rw", "noexec", "nosuid", "nodev", "stat-virt=", "host-perms=", "size=", "uid=", "gid=", "kind="];

/// The largest id of a user or a group: the one above means that an id does not change.
pub const ID_MAX: u32 = u32::MAX - 1;

/// The short form of a mount, of which only the options are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountText {
    /// A path of the host or the name of a volume.
    pub source: String,
    /// The path in the sandbox.
    pub to: String,
    /// Whether it is read only.
    pub readonly: bool,
    /// Whether programs on it cannot be executed.
    pub noexec: bool,
    /// Whether set-user-id bits on it have no effect.
    pub nosuid: bool,
    /// Whether device nodes on it have no effect.
    pub nodev: bool,
    /// The place of owners, modes and devices.
    pub stat_virt: Option<StatVirt>,
    /// The modes of the host's files.
    pub host_perms: Option<HostPerms>,
    /// The space that the sandbox can add to it, as a size with a unit; or the size of the volume.
    pub size: Option<String>,
    /// The user who owns files without an owner of their own.
    pub uid: Option<u32>,
    /// The group of such files.
    pub gid: Option<u32>,
    /// The kind of the volume.
    pub kind: Option<VolumeKind>,
}

/// The reason why a text is not the short form of a mount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMountText {
    /// The path in the sandbox is missing.
    #[error("`{found}` has no path in the sandbox")]
    NoTarget {
        /// The whole text.
        found: String,
    },
    /// The source is empty.
    #[error("the source of the mount is empty")]
    NoSource,
    /// The option is unknown.
    #[error("unknown option `{found}`")]
    UnknownOption {
        /// The text.
        found: String,
        /// The option that was probably meant.
        suggestion: Option<&'static str>,
        /// All options.
        options: &'static [&'static str],
    },
    /// The value of an option is missing.
    #[error("`{option}` needs a value: {accepted}")]
    NoValue {
        /// The option.
        option: &'static str,
        /// Its values.
        accepted: String,
    },
    /// The value of an option is unknown.
    #[error("`{option}` cannot be `{found}`: expected {accepted}")]
    UnknownValue {
        /// The option.
        option: &'static str,
        /// The text.
        found: String,
        /// Its values.
        accepted: String,
    },
    /// An option is repeated.
    #[error("duplicate option `{option}`")]
    Repeated {
        /// The option.
        option: String,
    },
    /// Two options contradict each other.
    #[error("`ro` and `rw` contradict each other")]
    Contradiction,
}

impl InvalidMountText {
    /// Returns a hint, where the text alone suffices for one.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownOption { suggestion: Some(option), .. } => Some(format!("did you mean `{option}`?")),
            Self::UnknownOption { suggestion: None, options, .. } => {
                Some(format!("the options are {}", list(options.iter().copied(), "and")))
            }
            Self::NoTarget { .. } => Some("write it as ./src:/app or ./src:/app:ro".to_owned()),
            Self::NoSource => {
                Some("write a directory of the host or the name of a volume before it: ./src:/app".to_owned())
            }
            Self::Contradiction | Self::Repeated { .. } => Some("keep one of the two".to_owned()),
            _ => None,
        }
    }
}

impl FromStr for MountText {
    type Err = InvalidMountText;

    fn from_str(text: &str) -> Result<Self, InvalidMountText> {
        let no_target = || InvalidMountText::NoTarget { found: text.to_owned() };
        // The path in the sandbox is absolute, so a source may contain colons.
        let at = text.find(":/").or_else(|| text.find(':')).ok_or_else(no_target)?;
        let (source, rest) = (&text[..at], &text[at + 1..]);
        let (to, options) = rest.split_once(':').map_or((rest, None), |(to, options)| (to, Some(options)));
        if source.is_empty() {
            return Err(InvalidMountText::NoSource);
        }
        if to.is_empty() {
            return Err(no_target());
        }
        let mut mount = Self { source: source.to_owned(), to: to.to_owned(), ..Self::default() };
        each_option(options, |name, value, option| mount.set(name, value, option))?;
        Ok(mount)
    }
}

/// Calls `set` with the name, the value and the whole text of each option.
pub(crate) fn each_option<'a>(
    options: Option<&'a str>,
    mut set: impl FnMut(&'a str, Option<&'a str>, &'a str) -> Result<(), InvalidMountText>,
) -> Result<(), InvalidMountText> {
    let mut given: Vec<&str> = Vec::new();
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        let (name, value) =
            option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        if given.contains(&name) {
            return Err(InvalidMountText::Repeated { option: name.to_owned() });
        }
        if matches!(name, "ro" | "rw") && given.iter().any(|other| matches!(*other, "ro" | "rw")) {
            return Err(InvalidMountText::Contradiction);
        }
        set(name, value, option)?;
        given.push(name);
    }
    Ok(())
}

/// Returns the error about an option that is none of `options`.
pub(crate) fn unknown_option(name: &str, option: &str, options: &'static [&'static str]) -> InvalidMountText {
    let suggestion = match option {
        "readonly" | "read-only" | "r" => Some("ro"),
        "readwrite" | "read-write" | "w" | "z" | "Z" => Some("rw"),
        _ => nearest(name, options.iter().copied()),
    };
    InvalidMountText::UnknownOption { found: option.to_owned(), suggestion, options }
}

impl MountText {
    fn set(&mut self, name: &str, value: Option<&str>, option: &str) -> Result<(), InvalidMountText> {
        match (name, value) {
            ("ro", None) => self.readonly = true,
            ("rw", None) => self.readonly = false,
            ("noexec", None) => self.noexec = true,
            ("nosuid", None) => self.nosuid = true,
            ("nodev", None) => self.nodev = true,
            ("stat-virt", value) => self.stat_virt = Some(word_of("stat-virt", value)?),
            ("host-perms", value) => self.host_perms = Some(word_of("host-perms", value)?),
            ("size", value) => self.size = Some(size_of("size", value)?),
            ("uid", value) => self.uid = Some(id_of("uid", value)?),
            ("gid", value) => self.gid = Some(id_of("gid", value)?),
            ("kind", value) => {
                let kind = |value: &str| match value {
                    "dir" => Some(VolumeKind::Directory),
                    value => VolumeKind::from_word(value),
                };
                self.kind = Some(value_of("kind", value, "`dir` or `disk`", kind)?);
            }
            _ => return Err(unknown_option(name, option, &OPTIONS)),
        }
        Ok(())
    }
}

/// Returns the value of an option that is a word.
fn word_of<T: Word>(option: &'static str, value: Option<&str>) -> Result<T, InvalidMountText> {
    let accepted = list(T::ALL.iter().map(|word| word.as_str()), "or");
    value_of(option, value, &accepted, T::from_word)
}

/// Returns the value of an option that is a size with a unit. Limits are checked with those of other properties.
pub(crate) fn size_of(option: &'static str, value: Option<&str>) -> Result<String, InvalidMountText> {
    let size = |value: &str| match parse_size_bytes(value) {
        Ok(_) | Err(InvalidQuantity::TooLarge { .. }) => Some(value.to_owned()),
        Err(_) => None,
    };
    value_of(option, value, "a size such as `512M`", size)
}

/// Returns the value of an option that is the id of a user or a group.
pub(crate) fn id_of(option: &'static str, value: Option<&str>) -> Result<u32, InvalidMountText> {
    // `parse` would accept a plus sign.
    let id = |value: &str| value.parse::<u32>().ok().filter(|id| *id <= ID_MAX && !value.starts_with('+'));
    value_of(option, value, &format!("a number up to {ID_MAX}"), id)
}

/// Returns the value of an option that `read` accepts.
pub(crate) fn value_of<T>(
    option: &'static str,
    value: Option<&str>,
    accepted: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, InvalidMountText> {
    let accepted = || accepted.to_owned();
    let value = value.ok_or_else(|| InvalidMountText::NoValue { option, accepted: accepted() })?;
    let unknown = || InvalidMountText::UnknownValue { option, found: value.to_owned(), accepted: accepted() };
    read(value).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let plain = |source: &str, to: &str| MountText {
            source: source.to_owned(),
            to: to.to_owned(),
            ..MountText::default()
        };
        for (text, expected) in [
            ("./src:/app", plain("./src", "/app")),
            ("data:/var/lib:rw", plain("data", "/var/lib")),
            ("./a:b:/x", plain("./a:b", "/x")),
            (
                "/tmp:/host-tmp:ro,stat-virt=off",
                MountText { readonly: true, stat_virt: Some(StatVirt::Off), ..plain("/tmp", "/host-tmp") },
            ),
            (
                ".:/x:noexec,nosuid,nodev,host-perms=mirror",
                MountText {
                    noexec: true,
                    nosuid: true,
                    nodev: true,
                    host_perms: Some(HostPerms::Mirror),
                    ..plain(".", "/x")
                },
            ),
            (
                ".:/x:size=512M,uid=1000,gid=0",
                MountText {
                    size: Some("512M".to_owned()),
                    uid: Some(1000),
                    gid: Some(0),
                    ..plain(".", "/x")
                },
            ),
            (
                // Too large for any use, which is reported with the place of the number.
                ".:/x:size=99999999999999999999G",
                MountText { size: Some("99999999999999999999G".to_owned()), ..plain(".", "/x") },
            ),
            ("data:/x:kind=dir", MountText { kind: Some(VolumeKind::Directory), ..plain("data", "/x") }),
            ("./src:app", plain("./src", "app")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_mounts() {
        for (text, message) in [
            ("./src", "`./src` has no path in the sandbox"),
            ("./src:", "`./src:` has no path in the sandbox"),
            (":/app", "the source of the mount is empty"),
            (".:/x:", "unknown option ``"),
            (".:/x:readonly", "unknown option `readonly`"),
            (".:/x:ro=1", "unknown option `ro=1`"),
            (".:/x:ro,ro", "duplicate option `ro`"),
            (".:/x:ro,rw", "`ro` and `rw` contradict each other"),
            (".:/x:stat-virt=off,stat-virt=off", "duplicate option `stat-virt`"),
            (".:/x:stat-virt", "`stat-virt` needs a value: `strict`, `relaxed` or `off`"),
            (".:/x:stat-virt=on", "`stat-virt` cannot be `on`: expected `strict`, `relaxed` or `off`"),
            (".:/x:host-perms=public", "`host-perms` cannot be `public`: expected `private` or `mirror`"),
            (".:/x:size", "`size` needs a value: a size such as `512M`"),
            (".:/x:size=2", "`size` cannot be `2`: expected a size such as `512M`"),
            (".:/x:size=1G,size=2G", "duplicate option `size`"),
            (".:/x:uid=root", "`uid` cannot be `root`: expected a number up to 4294967294"),
            (".:/x:uid=-1", "`uid` cannot be `-1`: expected a number up to 4294967294"),
            (".:/x:gid=+1", "`gid` cannot be `+1`: expected a number up to 4294967294"),
            (".:/x:gid=4294967295", "`gid` cannot be `4294967295`: expected a number up to 4294967294"),
            ("data:/x:kind=file", "`kind` cannot be `file`: expected `dir` or `disk`"),
        ] {
            assert_eq!(text.parse::<MountText>().expect_err(text).to_string(), message, "{text}");
        }
        let help = |text: &str| text.parse::<MountText>().unwrap_err().help();
        assert_eq!(help(".:/x:readonly").as_deref(), Some("did you mean `ro`?"));
        assert!(help(":/app").is_some_and(|help| help.ends_with("./src:/app")));
        assert_eq!(help(".:/x:nosiud").as_deref(), Some("did you mean `nosuid`?"));
        assert!(help(".:/x:quux").is_some_and(|help| help.contains("`host-perms=`")
            && help.contains("`size=`")
            && !help.contains("`exec`")));
    }
}
