//! The program to execute: where it may lie, its arguments and its environment, in the kernel's shape.
//!
//! Prepared before the fork, because between fork and exec nothing may be allocated.
#![allow(unsafe_code)] // rustix has no stable execve.

use std::collections::BTreeMap;
use std::ffi::{CString, NulError, c_char};

use protocol::latest::ExecRequest;
use rustix::io::Errno;

use crate::environment::DEFAULT_PATH;

/// Each entry of PATH costs a system call while everybody else waits.
const MAX_DIRECTORIES: usize = 1024;

pub struct Program {
    /// In the order of PATH; a single one when the command is a path itself.
    candidates: Vec<CString>,
    arguments: Strings,
    environment: Strings,
}

/// An array of C strings as execve takes it, and what it points to.
struct Strings {
    /// Ends with a null pointer. The others point into `_owned`, whose heap memory stays where it is.
    pointers: Vec<*const c_char>,
    _owned: Vec<CString>,
}

// SAFETY: the pointers lead only to `_owned`, which moves along with them and is never changed.
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

    /// Returns only on failure. A program that is there but may not be run is reported before one that is
    /// not there at all, as shells do.
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

/// Where a program is looked for, in this order.
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
