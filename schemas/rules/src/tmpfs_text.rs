//! The short form of a directory in memory, `PATH[:OPTIONS]`, as in flags and Sandboxfiles.

use crate::mount_text::{InvalidMountText, each_option, id_of, size_of, unknown_option, value_of};
use std::str::FromStr;

/// The options, for messages.
const OPTIONS: [&str; 9] = ["ro", "rw", "noexec", "nosuid", "nodev", "size=", "mode=", "uid=", "gid="];

/// The largest mode: all permissions, and the set-user-id, set-group-id and sticky bits.
pub const MODE_MAX: u32 = 0o7777;

/// The short form of a directory in memory, of which only the options are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TmpfsText {
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
    /// The most that it can contain, as a size with a unit.
    pub size: Option<String>,
    /// Its mode.
    pub mode: Option<u32>,
    /// Its owner.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
}

impl FromStr for TmpfsText {
    type Err = InvalidMountText;

    fn from_str(text: &str) -> Result<Self, InvalidMountText> {
        let (to, options) = text.split_once(':').map_or((text, None), |(to, options)| (to, Some(options)));
        let mut tmpfs = Self { to: to.to_owned(), ..Self::default() };
        each_option(options, |name, value, option| tmpfs.set(name, value, option))?;
        Ok(tmpfs)
    }
}

impl TmpfsText {
    fn set(&mut self, name: &str, value: Option<&str>, option: &str) -> Result<(), InvalidMountText> {
        match (name, value) {
            ("ro", None) => self.readonly = true,
            ("rw", None) => self.readonly = false,
            ("noexec", None) => self.noexec = true,
            ("nosuid", None) => self.nosuid = true,
            ("nodev", None) => self.nodev = true,
            ("size", value) => self.size = Some(size_of("size", value)?),
            ("mode", value) => {
                self.mode = Some(value_of("mode", value, "an octal number such as `1777`", parse_mode)?);
            }
            ("uid", value) => self.uid = Some(id_of("uid", value)?),
            ("gid", value) => self.gid = Some(id_of("gid", value)?),
            _ => return Err(unknown_option(name, option, &OPTIONS)),
        }
        Ok(())
    }
}

/// Parses a mode in octal digits, with or without `0o` before it; `None` if it is none or exceeds [`MODE_MAX`].
pub fn parse_mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    // `from_str_radix` would accept a plus sign.
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with('+'))?;
    (mode <= MODE_MAX).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let at = |to: &str| TmpfsText { to: to.to_owned(), ..TmpfsText::default() };
        for (text, expected) in [
            ("/run", at("/run")),
            ("/run:rw", at("/run")),
            (
                "/run/cache:size=64m,mode=1777",
                TmpfsText { size: Some("64m".to_owned()), mode: Some(0o1777), ..at("/run/cache") },
            ),
            (
                "/x:ro,noexec,nosuid,nodev,mode=0o755,uid=1000,gid=0",
                TmpfsText {
                    readonly: true,
                    noexec: true,
                    nosuid: true,
                    nodev: true,
                    mode: Some(0o755),
                    uid: Some(1000),
                    gid: Some(0),
                    ..at("/x")
                },
            ),
            ("run", at("run")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, message) in [
            ("/x:", "unknown option ``"),
            ("/x:exec", "unknown option `exec`"),
            ("/x:stat-virt=off", "unknown option `stat-virt=off`"),
            ("/x:ro,rw", "`ro` and `rw` contradict each other"),
            ("/x:size=1M,size=2M", "duplicate option `size`"),
            ("/x:size=64", "`size` cannot be `64`: expected a size such as `512M`"),
            ("/x:mode", "`mode` needs a value: an octal number such as `1777`"),
            ("/x:mode=+7", "`mode` cannot be `+7`: expected an octal number such as `1777`"),
            ("/x:mode=999", "`mode` cannot be `999`: expected an octal number such as `1777`"),
            ("/x:mode=10000", "`mode` cannot be `10000`: expected an octal number such as `1777`"),
            ("/x:mode=u+x", "`mode` cannot be `u+x`: expected an octal number such as `1777`"),
            ("/x:uid=root", "`uid` cannot be `root`: expected a number up to 4294967294"),
        ] {
            assert_eq!(text.parse::<TmpfsText>().expect_err(text).to_string(), message, "{text}");
        }
        let help = |text: &str| text.parse::<TmpfsText>().unwrap_err().help().unwrap();
        assert_eq!(help("/x:readonly"), "did you mean `ro`?");
        assert_eq!(help("/x:nosiud"), "did you mean `nosuid`?");
        assert!(help("/x:quux").contains("`mode=`") && !help("/x:quux").contains("`kind=`"));
    }
}
