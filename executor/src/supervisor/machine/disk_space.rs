//! What a full disk of the host does to the guest, and the end of that.

use super::Machine;
use executor_fs::space::space;
use executor_host::state::DiskFull;
use executor_vm::{Monitor, MonitorProtocol, VmEvent};
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

/// A guest that stands still goes on once there is this much space, in bytes. More than the reserve is left to msb
/// itself, which may just have given it up.
const SPACE_TO_GO_ON: u64 = 4 * executor_host::reserve::RESERVE_BYTES;
/// With less than this, writes of a guest that does not stand still may fail, in bytes.
const SPACE_OF_NO_USE: u64 = 64 * 1024;
/// How often free space is measured while the guest stands still.
const MEASURED_EVERY: Duration = Duration::from_millis(250);
/// How often it is measured where no event tells of it.
const POLLED_EVERY: Duration = Duration::from_secs(2);
/// A guest that has run this long since it went on is well.
const STEADY: Duration = Duration::from_secs(1);
/// A guest that stands still is let go on after this time whatever was measured: its disk may lie where free space
/// cannot be told, such as on a thin volume.
const RESUMED_AFTER: Duration = Duration::from_secs(30);
/// How much of the monitor's output is read at once, in bytes.
const READ_BYTES: usize = 4096;

impl Machine<'_> {
    /// Tells when the host's disk is full and when it is not any more, and lets the guest go on then.
    pub(super) async fn watch_host_disk(&self, monitor: Option<Monitor>) -> Infallible {
        match monitor {
            Some(monitor) => {
                if let Err(error) = self.follow_monitor(monitor).await {
                    tracing::warn!("the machine's monitor: {error}");
                }
                pending().await
            }
            None => self.poll_space().await,
        }
    }

    /// Returns when the connection is of no more use, as at the machine's end.
    async fn follow_monitor(&self, monitor: Monitor) -> io::Result<()> {
        let (stream, mut protocol) = monitor.into_parts();
        let mut stream = UnixStream::from_std(stream)?;
        let mut buffer = [0; READ_BYTES];
        let mut guest = Guest::Running { since: Instant::now() };
        loop {
            tokio::select! {
                count = stream.read(&mut buffer) => {
                    let count = count?;
                    if count == 0 {
                        return Ok(());
                    }
                    let received = protocol.receive(&buffer[..count])?;
                    for event in received.events {
                        guest = match event {
                            VmEvent::OutOfSpace => Guest::Waiting { since: Instant::now() },
                            VmEvent::Resumed => Guest::Running { since: Instant::now() },
                        };
                    }
                    stream.write_all(&received.replies).await?;
                }
                () = tokio::time::sleep(MEASURED_EVERY), if self.is_told_full() || guest.waits() => {
                    self.look_after(&mut guest, &mut stream, &protocol).await?;
                }
            }
            if guest.waits() && !self.is_told_full() {
                self.tell(Some(DiskFull::GuestWaits));
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
                self.tell(None);
                Ok(())
            }
            Guest::Waiting { .. } | Guest::Running { .. } => Ok(()),
        }
    }

    async fn poll_space(&self) -> Infallible {
        loop {
            tokio::time::sleep(POLLED_EVERY).await;
            let is_full = self.is_told_full();
            if !is_full && self.least_space().is_some_and(|bytes| bytes < SPACE_OF_NO_USE) {
                self.tell(Some(DiskFull::WritesFail));
            } else if is_full && self.has_space() {
                self.tell(None);
            }
        }
    }

    fn is_told_full(&self) -> bool {
        self.store.state().host_disk_full.is_some()
    }

    fn tell(&self, full: Option<DiskFull>) {
        self.store.change(|state| state.host_disk_full = full);
    }

    fn has_space(&self) -> bool {
        self.least_space().is_none_or(|bytes| bytes >= SPACE_TO_GO_ON)
    }

    /// The free space of the fullest file system that one of the guest's disks is on, in bytes. `None` where it cannot
    /// be measured.
    fn least_space(&self) -> Option<u64> {
        let volumes = self.home.root().join("volumes");
        [self.folder.path(), &volumes].into_iter().filter_map(|path| Some(space(path).ok()?.bytes)).min()
    }
}

/// What a guest does whose monitor tells of it.
#[derive(Clone, Copy, Debug)]
enum Guest {
    Running {
        since: Instant,
    },
    /// For space on the host, since it stopped or was last let go on.
    Waiting {
        since: Instant,
    },
}

impl Guest {
    fn waits(self) -> bool {
        matches!(self, Self::Waiting { .. })
    }
}
