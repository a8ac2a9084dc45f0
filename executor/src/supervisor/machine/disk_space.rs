//! Reacts to a full disk of the host: reports it, and resumes the guest when there is space.
//!
//! A guest may wait for space and be paused on request at the same time. Each reason is kept by itself, and it runs again
//! when neither is left.

use super::Machine;
use executor_fs::space::space;
use executor_host::state::DiskFull;
use executor_vm::{Monitor, MonitorProtocol, VmEvent, VmProcess};
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

/// The free space at which a paused guest is resumed, in bytes. More than the reserve, which may just have been released.
const SPACE_TO_GO_ON: u64 = 4 * executor_host::reserve::RESERVE_BYTES;
/// The free space below which writes of a running guest may fail, in bytes.
const SPACE_OF_NO_USE: u64 = 64 * 1024;
/// The interval of measurements while the guest is paused.
const MEASURED_EVERY: Duration = Duration::from_millis(250);
/// The interval of measurements for drivers without events.
const POLLED_EVERY: Duration = Duration::from_secs(2);
/// The time after which a resumed guest counts as running.
const STEADY: Duration = Duration::from_secs(1);
/// The time after which a paused guest is resumed regardless of free space, which is unknown on some disks, such as thin
/// volumes.
const RESUMED_AFTER: Duration = Duration::from_secs(30);
/// The size of a read from the monitor in bytes.
const READ_BYTES: usize = 4096;

impl Machine<'_> {
    /// Reports when the host's disk is full or has space again, and resumes the guest. Pauses and resumes it on request.
    pub(super) async fn watch_machine(&self, vmm: &VmProcess, monitor: Option<Monitor>) -> Infallible {
        match monitor {
            Some(monitor) => {
                if let Err(error) = self.follow_monitor(monitor).await {
                    tracing::warn!("the machine's monitor: {error}");
                }
                pending().await
            }
            None => tokio::select! {
                never = self.poll_space() => never,
                never = self.freeze_on_request(vmm) => never,
            },
        }
    }

    /// Follows the monitor's events until its connection closes.
    async fn follow_monitor(&self, monitor: Monitor) -> io::Result<()> {
        let Monitor { stream, mut protocol } = monitor;
        let mut stream = UnixStream::from_std(stream)?;
        let mut buffer = [0; READ_BYTES];
        let mut guest = Guest::Running { since: Instant::now() };
        let mut pauses = self.pauses();
        // Whether a request to pause or to resume has yet to be confirmed.
        let mut is_pending = false;
        loop {
            tokio::select! {
                count = stream.read(&mut buffer) => {
                    let count = count?;
                    if count == 0 {
                        return Ok(());
                    }
                    let received = protocol.receive(&buffer[..count])?;
                    stream.write_all(&received.replies).await?;
                    for event in received.events {
                        match event {
                            VmEvent::OutOfSpace => guest = Guest::Waiting { since: Instant::now() },
                            VmEvent::Paused if is_pending => {
                                is_pending = false;
                                pauses.paused();
                            }
                            VmEvent::Paused => {}
                            VmEvent::Resumed => {
                                guest = Guest::Running { since: Instant::now() };
                                if self.store.state().paused {
                                    is_pending = false;
                                    pauses.resumed().await;
                                }
                            }
                        }
                    }
                    if guest.waits() && is_pending && !self.store.state().paused {
                        // It had stopped for lack of space before the request arrived.
                        is_pending = false;
                        pauses.paused();
                    }
                }
                is_wanted = pauses.next(), if !is_pending => match (is_wanted, guest.waits()) {
                    (true, false) => {
                        is_pending = true;
                        stream.write_all(protocol.pause()).await?;
                    }
                    (false, false) => {
                        is_pending = true;
                        stream.write_all(protocol.resume()).await?;
                    }
                    // It does not run anyway, and goes on when there is space.
                    (true, true) => pauses.paused(),
                    (false, true) => pauses.resumed().await,
                },
                () = tokio::time::sleep(MEASURED_EVERY), if self.is_reported_full() || guest.waits() => {
                    let is_paused = self.store.state().paused || pauses.is_wanted();
                    if !(guest.waits() && is_paused) {
                        self.look_after(&mut guest, &mut stream, &protocol).await?;
                    }
                }
            }
            if guest.waits() && !self.is_reported_full() {
                self.report(Some(DiskFull::GuestWaits));
            }
        }
    }

    async fn look_after(
        &self,
        guest: &mut Guest,
        stream: &mut UnixStream,
        protocol: &MonitorProtocol,
    ) -> io::Result<()> {
        match *guest {
            Guest::Waiting { since } if self.has_space() || since.elapsed() >= RESUMED_AFTER => {
                *guest = Guest::Waiting { since: Instant::now() };
                stream.write_all(protocol.resume()).await
            }
            Guest::Running { since } if since.elapsed() >= STEADY => {
                self.report(None);
                Ok(())
            }
            Guest::Waiting { .. } | Guest::Running { .. } => Ok(()),
        }
    }

    async fn poll_space(&self) -> Infallible {
        loop {
            tokio::time::sleep(POLLED_EVERY).await;
            let is_full = self.is_reported_full();
            if !is_full && self.least_space().is_some_and(|bytes| bytes < SPACE_OF_NO_USE) {
                self.report(Some(DiskFull::WritesFail));
            } else if is_full && self.has_space() {
                self.report(None);
            }
        }
    }

    fn is_reported_full(&self) -> bool {
        self.store.state().host_disk_full.is_some()
    }

    fn report(&self, full: Option<DiskFull>) {
        self.store.change(|state| state.host_disk_full = full);
    }

    fn has_space(&self) -> bool {
        self.least_space().is_none_or(|bytes| bytes >= SPACE_TO_GO_ON)
    }

    /// Returns the free space of the fullest file system with a disk of the guest, in bytes. `None` if it cannot be
    /// measured.
    fn least_space(&self) -> Option<u64> {
        let volumes = self.home.root().join("volumes");
        let paths = [self.folder.path(), &volumes].into_iter().chain(self.volumes.paths_of_host());
        paths.filter_map(|path| Some(space(path).ok()?.bytes)).min()
    }
}

/// The state of a guest whose monitor reports events.
#[derive(Clone, Copy, Debug)]
enum Guest {
    Running {
        since: Instant,
    },
    /// Paused for lack of space, since its pause or the last attempt to resume it.
    Waiting {
        since: Instant,
    },
}

impl Guest {
    fn waits(self) -> bool {
        matches!(self, Self::Waiting { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::fake_vm::FakeDriver;
    use crate::supervisor::testing::{Sandbox, on_event_loop};

    /// The monitor's end of the connection.
    struct Peer(UnixStream);

    impl Peer {
        /// Reads the next command, which must be this one.
        async fn expects(&mut self, command: &str) {
            let mut line = Vec::new();
            while line.last() != Some(&b'\n') {
                line.push(self.0.read_u8().await.unwrap());
            }
            let line = String::from_utf8(line).unwrap();
            assert!(line.contains(&format!("{command:?}")), "{line} instead of {command}");
        }

        async fn says(&mut self, line: &str) {
            self.0.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        }

        /// Stops the VM with this status.
        async fn stops(&mut self, status: &str) {
            self.says("{\"event\": \"STOP\"}").await;
            self.expects("query-status").await;
            self.says(&format!("{{\"return\": {{\"status\": {status:?}}}}}")).await;
        }

        fn is_silent(&self) -> bool {
            matches!(self.0.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        }
    }

    /// Runs a test as the monitor of a machine.
    fn with_monitor(test: impl AsyncFnOnce(&Sandbox, Peer)) {
        on_event_loop(async || {
            let (sandbox, driver) = (Sandbox::new(|_| {}), FakeDriver::default());
            let machine = sandbox.machine(&driver);
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            for end in [&ours, &theirs] {
                end.set_nonblocking(true).unwrap();
            }
            let monitor = Monitor { stream: ours, protocol: MonitorProtocol::default() };
            let peer = Peer(UnixStream::from_std(theirs).unwrap());
            tokio::select! {
                followed = machine.follow_monitor(monitor) => panic!("{followed:?}"),
                () = test(&sandbox, peer) => {}
            }
        });
    }

    #[test]
    fn a_machine_is_paused_when_its_monitor_says_so() {
        with_monitor(async |sandbox, mut peer| {
            let store = &sandbox.store;
            store.request_pause(true);
            peer.expects("stop").await;
            assert!(!store.state().paused);
            peer.stops("paused").await;
            store.until_paused(true).await;
            store.request_pause(false);
            peer.expects("cont").await;
            assert!(store.state().paused);
            peer.says("{\"event\": \"RESUME\"}").await;
            store.until_paused(false).await;
            // A request that is withdrawn before it is confirmed.
            store.request_pause(true);
            peer.expects("stop").await;
            store.request_pause(false);
            peer.stops("paused").await;
            peer.expects("cont").await;
            peer.says("{\"event\": \"RESUME\"}").await;
            store.until_paused(false).await;
            assert_eq!(store.state().host_disk_full, None);
        });
    }

    #[test]
    fn a_pause_and_a_full_disk_are_kept_apart() {
        with_monitor(async |sandbox, mut peer| {
            let store = &sandbox.store;
            tokio::time::pause();
            peer.stops("io-error").await;
            store.guest_waits_for_space().await;
            assert!(!store.state().paused);
            store.request_pause(true);
            store.until_paused(true).await;
            tokio::time::sleep(2 * RESUMED_AFTER).await;
            assert!(peer.is_silent(), "it is not resumed while it is paused");
            assert_eq!(store.state().host_disk_full, Some(DiskFull::GuestWaits));
            store.request_pause(false);
            store.until_paused(false).await;
            assert_eq!(store.state().host_disk_full, Some(DiskFull::GuestWaits));
            peer.expects("cont").await;
            peer.says("{\"event\": \"RESUME\"}").await;
            store.states().wait_for(|state| state.host_disk_full.is_none()).await.unwrap();
            // The disk becomes full at the moment of the next pause.
            store.request_pause(true);
            peer.expects("stop").await;
            peer.stops("io-error").await;
            store.until_paused(true).await;
            assert_eq!(store.state().host_disk_full, Some(DiskFull::GuestWaits));
        });
    }
}
