//! Measures the sandbox once a second, for the registry of metrics.

use crate::launch::LaunchSpec;
use crate::supervisor::network::Network;
use crate::supervisor::state_store::StateStore;
use executor_host::home::Home;
use executor_host::process::ProcessIdentity;
use executor_metrics::{Registry, Sample, Slot, Usage, since_boot, usage};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::pending;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::MissedTickBehavior;

/// The time between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// The sandbox's slot in the registry of metrics.
pub struct Metrics(RefCell<Option<Entry>>);

struct Entry {
    slot: Slot,
    /// What was written last.
    sample: Sample,
}

/// The processes of one run of a machine, besides the supervisor.
#[derive(Clone, Copy)]
pub struct Processes {
    /// The monitor.
    pub vmm: i32,
    /// The file server of the mounts.
    pub server: Option<i32>,
}

impl Metrics {
    /// Takes a slot. Without one the sandbox has no metrics, which is a warning in its log.
    pub fn register(home: &Home, launch: &LaunchSpec, supervisor: ProcessIdentity, capacity: u32) -> Self {
        let LaunchSpec { id, project, name, spec, .. } = launch;
        let first = Sample {
            supervisor,
            id: id.to_string(),
            project: project.to_string(),
            name: name.to_string(),
            vmm_pid: None,
            started_unix_ms: 0,
            started: Duration::ZERO,
            sampled: since_boot(),
            cpu: Duration::ZERO,
            before: (Duration::ZERO, Duration::ZERO),
            vcpus: spec.definition.cpus,
            memory_bytes: None,
            memory_limit_bytes: u64::from(spec.definition.memory_mib) << 20,
            disk_read_bytes: None,
            disk_written_bytes: None,
            net_received_bytes: None,
            net_sent_bytes: None,
            refusals: None,
            restarts: 0,
        };
        let slot = match Registry::take(home, capacity, &first) {
            Ok(slot) => Some(slot),
            Err(error) => {
                tracing::warn!("no metrics: {}", super::machine::with_causes(&error));
                None
            }
        };
        Self(RefCell::new(slot.map(|slot| Entry { slot, sample: first })))
    }

    /// No metrics, for tests.
    #[cfg(test)]
    pub fn none() -> Self {
        Self(RefCell::new(None))
    }

    /// Measures one run of a machine until this is dropped.
    pub async fn measure(&self, store: &StateStore, run: Processes, network: Option<&Network>) -> Infallible {
        let Some(own) = usage(own_pid()) else { return pending().await };
        let started_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_unix_ms = u64::try_from(started_unix.as_millis()).unwrap_or(u64::MAX);
        let started = since_boot();
        self.change(|sample| {
            (sample.vmm_pid, sample.started_unix_ms, sample.started) =
                (Some(run.vmm), started_unix_ms, started);
            (sample.sampled, sample.cpu) = (started, Duration::ZERO);
        });
        // What ended with the run before is not running any more.
        let _ended = Ended(self);
        let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let used = used(run, &own);
            self.change(|sample| {
                sample.before = (sample.sampled, sample.cpu);
                (sample.sampled, sample.cpu) = (since_boot(), used.cpu.max(sample.cpu));
                sample.memory_bytes = used.memory_bytes;
                (sample.disk_read_bytes, sample.disk_written_bytes) =
                    (used.disk_read_bytes, used.disk_written_bytes);
                let counters = network.map(Network::counters);
                sample.net_received_bytes = counters.map(|counters| counters.received_bytes());
                sample.net_sent_bytes = counters.map(|counters| counters.sent_bytes());
                sample.refusals = counters.map(|counters| counters.refusals());
                sample.restarts = store.state().restarts;
            });
        }
    }

    fn change(&self, change: impl FnOnce(&mut Sample)) {
        let Some(entry) = &mut *self.0.borrow_mut() else { return };
        change(&mut entry.sample);
        if let Err(error) = entry.slot.write(&entry.sample) {
            tracing::debug!("cannot write metrics: {error}");
        }
    }
}

/// Notes the end of a run when it is dropped.
struct Ended<'a>(&'a Metrics);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.change(|sample| {
            (sample.vmm_pid, sample.memory_bytes, sample.sampled) = (None, None, since_boot());
            sample.before = (sample.sampled, sample.cpu);
        });
    }
}

/// Returns what the processes of a run have used. `own` is what the supervisor had used before.
fn used(Processes { vmm, server }: Processes, own: &Usage) -> Usage {
    let vmm = usage(vmm).unwrap_or_default();
    let server = server.and_then(usage).unwrap_or_default();
    let supervisor = usage(own_pid()).unwrap_or_default();
    let since = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?));
    let read = since(supervisor.disk_read_bytes, own.disk_read_bytes);
    let written = since(supervisor.disk_written_bytes, own.disk_written_bytes);
    Usage {
        cpu: vmm.cpu + server.cpu + supervisor.cpu.saturating_sub(own.cpu),
        // The file server has the guest's memory as well, which counts once.
        memory_bytes: sum([vmm.memory_bytes, server.private_bytes, supervisor.private_bytes]),
        private_bytes: None,
        disk_read_bytes: sum([vmm.disk_read_bytes, server.disk_read_bytes, read]),
        disk_written_bytes: sum([vmm.disk_written_bytes, server.disk_written_bytes, written]),
    }
}

/// Returns the sum of what is known; `None` if nothing is.
fn sum(numbers: [Option<u64>; 3]) -> Option<u64> {
    numbers.into_iter().flatten().reduce(u64::saturating_add)
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}
