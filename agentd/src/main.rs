//! PID 1 of the guest: sets up the root, runs commands for the host, and shuts down in order. It is one epoll loop
//! without a runtime: under emulation every millisecond counts. Only file operations, which may block, have threads of
//! their own.
//!
//! Architecture invariant: nothing here knows a path of the host. The host's frames and the guest's files are hostile
//! alike; neither may panic or block PID 1.

#![warn(missing_docs)]

mod agent;
mod boot;
mod candidate;
mod changes;
mod connection;
mod connections;
mod copy_up;
mod declared_files;
mod environment;
mod failure;
mod files;
mod guest_file;
mod hosts;
mod link;
mod loop_device;
mod mount_points;
mod mounts;
mod network;
mod pending;
mod port;
mod processes;
mod program;
mod root;
mod session;
mod sessions;
mod shares;
mod shutdown;
mod signals;
mod spawn;
mod tmpfs;
mod trust;
mod users;
mod volumes;
mod watch;

fn main() {
    boot::run()
}

/// Writes a line to the guest's console, which is the host's kernel log.
pub(crate) fn log(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    // Without a console there is nowhere to report.
    let _ = std::io::stderr().write_fmt(format_args!("msb-agentd: {text}\n"));
}
