//! System calls that rustix does not offer here.
#![allow(unsafe_code, reason = "other users, mappings and new processes have no safe interface here")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

/// An ordinary user, who owns nothing unless it is given to them, and their group.
pub const STRANGER: (u32, u32) = (4321, 4322);

/// Calls a function with the rights that an ordinary user has on files.
pub fn as_stranger<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: These calls take and return numbers.
    unsafe {
        libc::setfsgid(STRANGER.1);
        libc::setfsuid(STRANGER.0);
    }
    let result = call();
    // SAFETY: As above.
    unsafe {
        libc::setfsuid(0);
        libc::setfsgid(0);
    }
    result
}

/// Leaves all groups but the own one.
pub fn leave_groups() {
    // SAFETY: The list is empty. It fails where the process is not root, which has the groups of its user then.
    unsafe { libc::setgroups(0, std::ptr::null()) };
}

/// Becomes an ordinary user for good.
pub fn become_stranger() -> io::Result<()> {
    // SAFETY: These calls take and return numbers.
    let failed = unsafe { libc::setgid(STRANGER.1) != 0 || libc::setuid(STRANGER.0) != 0 };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Calls a function in a new process, and returns how that ended: the exit code is the function's result.
pub fn in_child(call: impl FnOnce() -> u8) -> io::Result<String> {
    wait(start_child(call)?)
}

/// Calls a function in a new process, and returns its pid.
pub fn start_child(call: impl FnOnce() -> u8) -> io::Result<i32> {
    // SAFETY: The process has one thread wherever this is called, so the child may do what it could do.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = call();
            // SAFETY: It does not return, and runs no destructors of the parent's.
            unsafe { libc::_exit(code.into()) }
        }
        pid => Ok(pid),
    }
}

/// Waits for a process, and returns how it ended.
pub fn wait(pid: i32) -> io::Result<String> {
    let mut status = 0;
    // SAFETY: The pointer is valid for the call.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(if libc::WIFEXITED(status) {
        format!("exit {}", libc::WEXITSTATUS(status))
    } else {
        format!("signal {}", libc::WTERMSIG(status))
    })
}

/// A mapping of a file.
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// Maps the start of a file, shared with everything else that uses it, or privately.
    pub fn new(file: impl AsFd, length: usize, writable: bool, shared: bool) -> io::Result<Self> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        let flags = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        let descriptor = file.as_fd().as_raw_fd();
        // SAFETY: The kernel chooses an address that is free.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, descriptor, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { start, length })
    }

    /// Reads bytes. Bytes after the end of the file raise SIGBUS.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        assert!(offset + bytes.len() <= self.length, "within the mapping");
        for (index, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: It is within the mapping, and others may change it at any time.
            *byte = unsafe { self.start.as_ptr().add(offset + index).read_volatile() };
        }
    }

    /// Writes bytes, see [`Mapping::read`].
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.length, "within the mapping");
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: It is within the mapping, and others may change it at any time.
            unsafe { self.start.as_ptr().add(offset + index).write_volatile(*byte) };
        }
    }

    /// Writes changed pages to the file.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: The range is the mapping.
        let result = unsafe { libc::msync(self.start.as_ptr().cast(), self.length, libc::MS_SYNC) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: Nothing refers to the mapping any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Sets an open-file-description lock for writing on a whole file, without waiting.
pub fn lock_description(file: impl AsFd) -> io::Result<()> {
    lock(file, libc::F_OFD_SETLK)
}

/// Sets a lock of this process for writing on a whole file, without waiting.
pub fn lock_of_process(file: impl AsFd) -> io::Result<()> {
    lock(file, libc::F_SETLK)
}

fn lock(file: impl AsFd, command: i32) -> io::Result<()> {
    // SAFETY: The structure consists of integers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as i16;
    // SAFETY: The pointer is valid for the call.
    let result = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), command, &raw const lock) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
