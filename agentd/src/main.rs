//! PID 1 of the guest: brings the root up as the host says, runs commands for it, and ends everything
//! in order. One epoll loop and no runtime: under emulation every millisecond shows. Only what may block, a
//! file operation, has a thread of its own.
//!
//! Architecture invariant: nothing here knows a path of the host. What comes over the port and what
//! lies in the guest's file system is hostile alike; neither may panic or block PID 1.

mod agent;
mod boot;
mod candidate;
mod environment;
mod failure;
mod files;
mod hosts;
mod link;
mod network;
mod port;
mod processes;
mod program;
mod root;
mod session;
mod sessions;
mod shutdown;
mod signals;
mod spawn;
mod users;
mod volumes;
mod watch;

fn main() {
    boot::run()
}

/// One line on the guest's console, which is the host's kernel log.
pub(crate) fn log(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    // There is nobody to tell when even the console is gone.
    let _ = std::io::stderr().write_fmt(format_args!("msb-agentd: {text}\n"));
}
