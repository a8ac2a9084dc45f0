//! Finds the console port to the host.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use protocol::latest::AGENT_PORT_NAME;
use rustix::fs::{Mode, OFlags, open};

const PORTS: &str = "/sys/class/virtio-ports";
/// How long to wait for the ports' names, which the device announces after init has started.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Opens the port in non-blocking mode. Only then does the device pass on the host's bytes. It must never be closed:
/// libkrun opens a port only once.
pub fn open_agent_port() -> Result<OwnedFd, String> {
    let deadline = Instant::now() + OPEN_TIMEOUT;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    loop {
        if let Some(path) = find_port() {
            match open(&path, flags, Mode::empty()) {
                Ok(descriptor) => return Ok(descriptor),
                // sysfs is sometimes ahead of devtmpfs.
                Err(error) if Instant::now() >= deadline => {
                    return Err(format!("cannot open {}: {error}", path.display()));
                }
                Err(_) => {}
            }
        } else if Instant::now() >= deadline {
            return Err(format!("no console port is named '{AGENT_PORT_NAME}'"));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn find_port() -> Option<PathBuf> {
    std::fs::read_dir(PORTS).ok()?.flatten().find_map(|entry| {
        let name = std::fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim_end() == AGENT_PORT_NAME).then(|| PathBuf::from("/dev").join(entry.file_name()))
    })
}
