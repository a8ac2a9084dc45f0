//! Resolves `name|uid[:group|gid]` with the guest's own /etc/passwd and /etc/group.
//!
//! The rules are Docker's: digits are a number, whatever names the image has; a number need not be listed; a name must
//! be; with an explicit group the user's other groups are left out.

use std::collections::BTreeSet;
use std::io::Read;

use thiserror::Error;

use crate::guest_file;

/// The largest passwd or group file, in bytes: a larger one is hostile, or a mistake.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// The supplementary groups, including `gid`.
    pub groups: Vec<u32>,
    pub home: String,
}

#[derive(Debug, PartialEq, Eq, Error)]
pub enum UserError {
    #[error("there is no user '{name}' in the sandbox's /etc/passwd")]
    NoUser { name: String },
    #[error("there is no group '{name}' in the sandbox's /etc/group")]
    NoGroup { name: String },
}

/// Resolves a user. The files are read each time, as commands change them.
///
/// # Errors
///
/// If a name is not listed.
pub fn look_up(specification: &str) -> Result<Identity, UserError> {
    resolve(specification, &read("/etc/passwd"), &read("/etc/group"))
}

/// Missing and unreadable files are empty.
fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = guest_file::options().read(true).open(path)
        && file.metadata().is_ok_and(|metadata| metadata.is_file())
    {
        let _ = file.take(MAX_FILE_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_lines(text: &str) -> impl Iterator<Item = PasswdLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or_default();
        Some(PasswdLine { name, uid, gid, home })
    })
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn group_lines(text: &str) -> impl Iterator<Item = GroupLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(GroupLine { name, gid, members: fields.next().unwrap_or_default() })
    })
}

/// A user or a group in a request. An image defines its names, but not the meaning of numbers: otherwise a user called
/// `1000` with the id 0 would be root for a request of 1000.
#[derive(Clone, Copy)]
enum Principal<'a> {
    Number(u32),
    Name(&'a str),
}

impl<'a> Principal<'a> {
    /// Distinguishes numbers from names; `None` for a number that is not an id. The largest one means "unchanged" to
    /// the kernel.
    fn parse(text: &'a str) -> Option<Self> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Self::Name(text));
        }
        text.parse().ok().filter(|&number| number != u32::MAX).map(Self::Number)
    }

    fn matches(self, name: &str, number: u32) -> bool {
        match self {
            Self::Number(principal) => principal == number,
            Self::Name(principal) => principal == name,
        }
    }
}

fn resolve(specification: &str, passwd: &str, group: &str) -> Result<Identity, UserError> {
    let (user, explicit_group) = match specification.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (specification, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let no_user = || UserError::NoUser { name: user.to_owned() };
    let principal = Principal::parse(user).ok_or_else(no_user)?;
    let line = passwd_lines(passwd).find(|line| principal.matches(line.name, line.uid));
    let (uid, own_gid, home, name) = match (line, principal) {
        (Some(line), _) => (line.uid, line.gid, line.home, Some(line.name)),
        (None, Principal::Number(uid)) => (uid, 0, "", None),
        (None, Principal::Name(_)) => return Err(no_user()),
    };
    let home = match (home, uid) {
        ("", 0) => "/root",
        ("", _) => "/",
        (home, _) => home,
    };
    let (gid, groups) = match explicit_group {
        Some(text) => {
            let no_group = || UserError::NoGroup { name: text.to_owned() };
            let gid = match Principal::parse(text).ok_or_else(no_group)? {
                Principal::Number(gid) => gid,
                Principal::Name(name) => group_lines(group)
                    .find(|line| line.name == name)
                    .map(|line| line.gid)
                    .ok_or_else(no_group)?,
            };
            (gid, vec![gid])
        }
        None => {
            let (mut groups, mut seen) = (vec![own_gid], BTreeSet::from([own_gid]));
            if let Some(name) = name {
                for line in group_lines(group) {
                    if line.members.split(',').any(|member| member == name) && seen.insert(line.gid) {
                        groups.push(line.gid);
                    }
                }
            }
            (own_gid, groups)
        }
    };
    Ok(Identity { uid, gid, groups, home: home.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# a remark\nbroken:x:notanumber:1::/:\n\
        dev:x:1000:1000:Dev:/home/dev:/bin/bash\n1001:x:2002:2002::/home/number:\nshort:x:7:8\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:dev,other\ndev:x:1000:\ndocker:x:999:dev\nbad:x\n";

    fn identity(uid: u32, gid: u32, groups: &[u32], home: &str) -> Result<Identity, UserError> {
        Ok(Identity { uid, gid, groups: groups.to_vec(), home: home.to_owned() })
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(resolve("root", PASSWD, GROUP), identity(0, 0, &[0], "/root"));
        assert_eq!(resolve("dev", PASSWD, GROUP), identity(1000, 1000, &[1000, 10, 999], "/home/dev"));
        assert_eq!(resolve("1000", PASSWD, GROUP), identity(1000, 1000, &[1000, 10, 999], "/home/dev"));
        assert_eq!(resolve("4711", PASSWD, GROUP), identity(4711, 0, &[0], "/"));
        assert_eq!(resolve("short", PASSWD, GROUP), identity(7, 8, &[8], "/"));
    }

    #[test]
    fn digits_are_a_number_whatever_names_the_image_has() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n1234:x:0:0::/root:/bin/sh\n00:x:5:5::/five:\n";
        let group = "1234:x:0:\n";
        assert_eq!(resolve("1234", passwd, group), identity(1234, 0, &[0], "/"));
        assert_eq!(resolve("1234:1234", passwd, group), identity(1234, 1234, &[1234], "/"));
        assert_eq!(resolve("00", passwd, group), identity(0, 0, &[0], "/root"));
        assert_eq!(resolve("1001", PASSWD, GROUP), identity(1001, 0, &[0], "/"));
        for text in ["4294967295", "4294967296", "99999999999999999999"] {
            assert_eq!(resolve(text, passwd, group), Err(UserError::NoUser { name: text.into() }));
            let both = format!("0:{text}");
            assert_eq!(resolve(&both, passwd, group), Err(UserError::NoGroup { name: text.into() }));
        }
        assert_eq!(resolve("+0", passwd, group), Err(UserError::NoUser { name: "+0".into() }));
    }

    #[test]
    fn an_explicit_group_excludes_others() {
        assert_eq!(resolve("dev:wheel", PASSWD, GROUP), identity(1000, 10, &[10], "/home/dev"));
        assert_eq!(resolve("dev:77", PASSWD, GROUP), identity(1000, 77, &[77], "/home/dev"));
        assert_eq!(resolve("dev:", PASSWD, GROUP), identity(1000, 1000, &[1000, 10, 999], "/home/dev"));
    }

    #[test]
    fn without_files_there_is_root() {
        assert_eq!(resolve("", "", ""), identity(0, 0, &[0], "/root"));
        assert_eq!(resolve("0:0", "", ""), identity(0, 0, &[0], "/root"));
    }

    #[test]
    fn unknown_names_are_errors() {
        assert_eq!(resolve("nobody", PASSWD, GROUP), Err(UserError::NoUser { name: "nobody".into() }));
        assert_eq!(resolve("broken", PASSWD, GROUP), Err(UserError::NoUser { name: "broken".into() }));
        assert_eq!(resolve("dev:none", PASSWD, GROUP), Err(UserError::NoGroup { name: "none".into() }));
        assert_eq!(resolve("-1", PASSWD, GROUP), Err(UserError::NoUser { name: "-1".into() }));
    }

    #[test]
    fn many_groups_are_read_in_linear_time() {
        let group: String = (0..400_000).map(|gid| format!("g:x:{gid}:dev\n")).collect();
        assert_eq!(resolve("dev", PASSWD, &group).unwrap().groups.len(), 400_000);
    }
}
