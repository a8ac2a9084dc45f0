//! Signals through a signalfd: ended children, and shutdown requests from inside the guest.
#![allow(unsafe_code)] // rustix has neither sigprocmask nor signalfd.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// The signals that `reboot`, `poweroff`, `halt` and `kill 1` send to PID 1.
const SHUTDOWN_SIGNALS: [libc::c_int; 5] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGPWR];

pub struct Signals(File);

#[derive(Default)]
pub struct Received {
    pub child: bool,
    pub shutdown: bool,
}

impl Signals {
    /// Blocks the signals for this process. `std::process::Command` unblocks all of them in children.
    pub fn open() -> std::io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initializes the set that the other calls read; every pointer lives for its call, and null
        // is allowed where the old mask is not needed.
        let raw = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
            for signal in SHUTDOWN_SIGNALS {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC)
        };
        if raw < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: signalfd just returned this descriptor and nothing else owns it.
        Ok(Self(File::from(unsafe { OwnedFd::from_raw_fd(raw) })))
    }

    pub fn take(&mut self) -> Received {
        const RECORD: usize = size_of::<libc::signalfd_siginfo>();
        let mut received = Received::default();
        let mut records = [0u8; RECORD * 8];
        loop {
            match self.0.read(&mut records) {
                Ok(0) => return received,
                Ok(count) => {
                    for record in records[..count].chunks_exact(RECORD) {
                        // The signal's number is the record's first field, `ssi_signo: u32`.
                        let number = u32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
                        let child = number == libc::SIGCHLD as u32;
                        received.child |= child;
                        received.shutdown |= !child;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return received,
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
