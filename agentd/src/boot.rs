//! From the kernel's `execve` of `/init` to the event loop, and from its end to power off.

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::agent::Agent;
use crate::signals::Signals;
use crate::{port, root, shutdown};

/// The limit of open files of a command, by default; the hard limit is the kernel's own.
const OPEN_FILES: Rlimit = Rlimit { current: Some(65_536), maximum: Some(1_048_576) };

/// Never returns, as PID 1 must not exit.
pub fn run() {
    if std::process::id() != 1 {
        crate::log(format_args!("this is a sandbox's PID 1 and does nothing elsewhere"));
        std::process::exit(2);
    }
    let started_ns = nanoseconds_since_boot();
    if let Err(message) = bring_up(started_ns) {
        crate::log(format_args!("{message}"));
    }
    shutdown::restart_machine()
}

fn bring_up(started_ns: u64) -> Result<(), String> {
    root::mount_for_devices().map_err(|error| error.to_string())?;
    let signals = Signals::open().map_err(|error| format!("no signalfd: {error}"))?;
    let _ = setrlimit(Resource::Nofile, OPEN_FILES);
    crate::processes::yield_for_exits();
    let port = port::open_agent_port()?;
    let mut agent =
        Agent::new(port, signals, started_ns).map_err(|error| format!("no event loop: {error}"))?;
    agent.run();
    Ok(())
}

/// The time since the kernel's start, the same for every driver.
pub fn nanoseconds_since_boot() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
