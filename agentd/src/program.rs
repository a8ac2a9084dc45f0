//! The program to execute: its candidate paths, arguments and environment, in the kernel's form.
//!
//! It is prepared before the fork, as nothing may be allocated between fork and exec.
#![allow(unsafe_code)] // rustix has no stable execve.

use std::collections::BTreeMap;
use std::ffi::{CString, NulError, c_char};

use protocol::latest::ExecRequest;
use rustix::io::Errno;

use crate::environment::DEFAULT_PATH;

/// The limit of PATH entries: each costs a system call of the event loop.
const MAX_DIRECTORIES: usize = 1024;

pub struct Program {
    /// In the order of PATH; a single one if the command is a path.
    candidates: Vec<CString>,
    arguments: Strings,
    environment: Strings,
}

/// An array of C strings for execve, and its memory.
struct Strings {
    /// Ends with a null pointer. The others point into `_owned`, whose heap memory does not move.
    pointers: Vec<*const c_char>,
    _owned: Vec<CString>,
}

// SAFETY: the pointers lead only into `_owned`, which moves along with them and is never changed.
unsafe impl Send for Strings {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Strings {}

impl Strings {
    fn new(owned: Vec<CString>) -> Self {
        let pointers = owned.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        Self { pointers, _owned: owned }
    }
}

impl Program {
    pub fn prepare(request: &ExecRequest, environment: &BTreeMap<String, String>) -> Result<Self, NulError> {
        let path = environment.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        let candidates =
            candidates(&request.cmd, path).into_iter().map(CString::new).collect::<Result<_, _>>()?;
        let arguments = [&request.cmd].into_iter().chain(&request.args);
        let arguments = arguments.map(|text| CString::new(text.as_str())).collect::<Result<_, _>>()?;
        let environment = environment.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
        let environment = environment.collect::<Result<_, _>>()?;
        let (arguments, environment) = (Strings::new(arguments), Strings::new(environment));
        Ok(Self { candidates, arguments, environment })
    }

    /// Returns only on failure. A file that may not be executed is reported before a missing one, as shells do.
    pub fn execute(&self) -> Errno {
        let mut reported = Errno::NOENT;
        for candidate in &self.candidates {
            let (arguments, environment) = (&self.arguments.pointers, &self.environment.pointers);
            // SAFETY: all three are NUL-terminated strings and null-terminated arrays of such that
            // live as long as `self` does.
            unsafe { libc::execve(candidate.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
            match std::io::Error::last_os_error().raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOENT | Errno::NOTDIR) => {}
                Some(Errno::ACCESS) => reported = Errno::ACCESS,
                Some(other) => return other,
                None => return Errno::IO,
            }
        }
        reported
    }
}

/// The paths where a program is searched, in order.
pub fn candidates(command: &str, path: &str) -> Vec<String> {
    if command.contains('/') {
        return vec![command.to_owned()];
    }
    let directories = path.split(':').map(|directory| if directory.is_empty() { "." } else { directory });
    directories.take(MAX_DIRECTORIES).map(|directory| format!("{directory}/{command}")).collect()
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn a_name_is_searched_and_a_path_is_not() {
        assert_eq!(candidates("ls", "/a:/b"), ["/a/ls", "/b/ls"]);
        assert_eq!(candidates("./ls", "/a:/b"), ["./ls"]);
        assert_eq!(candidates("/bin/ls", "/a"), ["/bin/ls"]);
    }

    #[test]
    fn an_empty_entry_is_the_current_directory() {
        assert_eq!(candidates("ls", "/a::/b"), ["/a/ls", "./ls", "/b/ls"]);
    }
}
