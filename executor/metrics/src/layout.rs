//! The bytes of the registry, version 1.

use executor_host::process::ProcessIdentity;
use schemas::config::METRICS_CAPACITY_MAX;
use std::time::Duration;

/// The version, which is also part of the object's name.
pub const VERSION: u32 = 1;
/// The size of the header in bytes.
pub const HEADER_BYTES: u64 = 512;
/// The size of a slot in bytes.
pub const SLOT_BYTES: usize = 512;

const MAGIC: &[u8; 8] = b"MSBMET01";
/// The state of a registry that can be used.
const READY: u32 = 1;
/// The state of a slot in use.
const USED: u64 = 1;
/// A number that is not known.
const UNKNOWN: u64 = u64::MAX;

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The number of slots.
    pub capacity: u32,
    /// Another one whenever the slots are laid out anew.
    pub generation: u64,
}

impl Header {
    /// The size of what is used of it, in bytes.
    pub const BYTES: usize = 40;

    /// Returns its bytes; `ready`: whether the slots can be used.
    pub fn encode(self, ready: bool) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        let slot_bytes = u32::try_from(SLOT_BYTES).unwrap_or(u32::MAX);
        let header_bytes = u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX);
        let state = if ready { READY } else { 0 };
        let numbers = [VERSION, header_bytes, slot_bytes, self.capacity, state];
        for (place, number) in bytes[8..].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[32..].copy_from_slice(&self.generation.to_le_bytes());
        bytes
    }

    /// Reads it; `None` unless it is of this layout and ready.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let number = |at: usize| bytes[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let header = Self { capacity: number(20)?, generation: u64_at(bytes, 32)? };
        let is_sound = (1..=METRICS_CAPACITY_MAX).contains(&header.capacity) && header.encode(true) == *bytes;
        is_sound.then_some(header)
    }
}

/// Returns the offset of a slot in bytes.
pub fn slot_offset(index: u32) -> u64 {
    HEADER_BYTES + u64::from(index) * SLOT_BYTES as u64
}

/// What is known of a running sandbox at one moment. Counters begin at 0 with each start of its VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The supervisor.
    pub supervisor: ProcessIdentity,
    /// The sandbox's id.
    pub id: String,
    /// Its project.
    pub project: String,
    /// Its name in the project.
    pub name: String,
    /// The pid of the VM's process; `None` while none runs.
    pub vmm_pid: Option<i32>,
    /// The start of the VM, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// The start of the VM, as a time since the host's boot.
    pub started: Duration,
    /// The time of the sample since the host's boot.
    pub sampled: Duration,
    /// The processor time of its processes on the host.
    pub cpu: Duration,
    /// The time since the host's boot and the processor time of the sample before.
    pub before: (Duration, Duration),
    /// The number of its virtual processors.
    pub vcpus: u32,
    /// The memory that its processes use on the host, in bytes.
    pub memory_bytes: Option<u64>,
    /// The memory of the guest, in bytes.
    pub memory_limit_bytes: u64,
    /// The bytes that were read from the host's disks. What the host had cached does not count.
    pub disk_read_bytes: Option<u64>,
    /// The bytes that were written to the host's disks.
    pub disk_written_bytes: Option<u64>,
    /// The bytes of the frames that the guest received; `None` without a network.
    pub net_received_bytes: Option<u64>,
    /// The bytes of the frames that the guest sent.
    pub net_sent_bytes: Option<u64>,
    /// The number of refusals by the network's rules.
    pub refusals: Option<u64>,
    /// The restarts by its restart policy.
    pub restarts: u32,
}

impl Sample {
    /// Returns how many processors it used between the last two samples: 1.0 is one of them all of the time.
    pub fn cpu_use(&self) -> f64 {
        let (sampled, cpu) = self.before;
        let time = self.sampled.saturating_sub(sampled).as_secs_f64();
        if time > 0.0 { self.cpu.saturating_sub(cpu).as_secs_f64() / time } else { 0.0 }
    }

    /// Returns the bytes of a slot.
    pub(crate) fn encode(&self, sequence: u64) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        let known = |number: Option<u64>| number.unwrap_or(UNKNOWN);
        let (before, cpu_before) = self.before;
        let numbers = [
            sequence,
            USED,
            u64::try_from(self.supervisor.pid).unwrap_or(0),
            self.supervisor.start_ticks,
            self.supervisor.boot,
            self.vmm_pid.and_then(|pid| u64::try_from(pid).ok()).unwrap_or(0),
            self.started_unix_ms,
            nanoseconds(self.started),
            nanoseconds(self.sampled),
            nanoseconds(self.cpu),
            nanoseconds(before),
            nanoseconds(cpu_before),
            self.vcpus.into(),
            known(self.memory_bytes),
            self.memory_limit_bytes,
            known(self.disk_read_bytes),
            known(self.disk_written_bytes),
            known(self.net_received_bytes),
            known(self.net_sent_bytes),
            known(self.refusals),
            self.restarts.into(),
        ];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        for ((from, to), text) in TEXTS.into_iter().zip([&self.id, &self.project, &self.name]) {
            // Names are shorter.
            let length = text.len().min(to - from);
            bytes[from..from + length].copy_from_slice(&text.as_bytes()[..length]);
        }
        bytes
    }

    /// Reads a slot; `None` if it is free or damaged.
    pub(crate) fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<Self> {
        let number = |index: usize| u64_at(bytes, index * 8);
        let known = |index: usize| number(index).map(|number| (number != UNKNOWN).then_some(number));
        let time = |index: usize| number(index).map(Duration::from_nanos);
        let text = |(from, to): (usize, usize)| {
            let text = bytes[from..to].split(|byte| *byte == 0).next()?;
            let is_plain = text.iter().all(|byte| byte.is_ascii_graphic());
            str::from_utf8(text).ok().filter(|_| is_plain).map(str::to_owned)
        };
        if number(1)? != USED {
            return None;
        }
        let pid = |index| number(index).and_then(|pid| i32::try_from(pid).ok());
        Some(Self {
            supervisor: ProcessIdentity { pid: pid(2)?, start_ticks: number(3)?, boot: number(4)? },
            id: text(TEXTS[0])?,
            project: text(TEXTS[1])?,
            name: text(TEXTS[2])?,
            vmm_pid: pid(5).filter(|pid| *pid != 0),
            started_unix_ms: number(6)?,
            started: time(7)?,
            sampled: time(8)?,
            cpu: time(9)?,
            before: (time(10)?, time(11)?),
            vcpus: u32::try_from(number(12)?).ok()?,
            memory_bytes: known(13)?,
            memory_limit_bytes: number(14)?,
            disk_read_bytes: known(15)?,
            disk_written_bytes: known(16)?,
            net_received_bytes: known(17)?,
            net_sent_bytes: known(18)?,
            refusals: known(19)?,
            restarts: u32::try_from(number(20)?).ok()?,
        })
    }
}

/// The places of id, project and name.
const TEXTS: [(usize, usize); 3] = [(192, 224), (224, 288), (288, 352)];

/// Returns the sequence of a slot's bytes.
pub fn sequence_of(bytes: &[u8; SLOT_BYTES]) -> u64 {
    u64_at(bytes, 0).unwrap_or(0)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a sample of this process.
    pub(crate) fn sample(name: &str) -> Sample {
        Sample {
            supervisor: ProcessIdentity::current().unwrap(),
            id: "0123456789abcdef01234567".to_owned(),
            project: "p".repeat(63),
            name: name.to_owned(),
            vmm_pid: Some(7),
            started_unix_ms: 1_700_000_000_000,
            started: Duration::from_nanos(1),
            sampled: Duration::from_secs(4),
            cpu: Duration::from_secs(3),
            before: (Duration::from_secs(2), Duration::from_secs(2)),
            vcpus: 2,
            memory_bytes: Some(5),
            memory_limit_bytes: 6,
            disk_read_bytes: None,
            disk_written_bytes: Some(8),
            net_received_bytes: None,
            net_sent_bytes: Some(0),
            refusals: Some(9),
            restarts: 10,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let sample = sample("web");
        let bytes = sample.encode(4);
        assert_eq!(Sample::decode(&bytes).unwrap(), sample);
        assert_eq!(sequence_of(&bytes), 4);
        assert_eq!(sample.cpu_use(), 0.5);
        assert_eq!(Sample::decode(&[0; SLOT_BYTES]), None);
        // An escape sequence in a name.
        let mut damaged = bytes;
        damaged[288] = 0x1b;
        assert_eq!(Sample::decode(&damaged), None);
    }

    #[test]
    fn headers_of_other_layouts_are_not_read() {
        let header = Header { capacity: 3, generation: 7 };
        let bytes = header.encode(true);
        assert_eq!(Header::decode(&bytes), Some(header));
        assert_eq!(Header::decode(&header.encode(false)), None);
        for (at, byte) in [(0, b'X'), (8, 2), (13, 0), (16, 1), (20, 0), (23, 1)] {
            let mut other = bytes;
            other[at] = byte;
            assert_eq!(Header::decode(&other), None, "{at}");
        }
    }
}
