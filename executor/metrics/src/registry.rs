//! The registry: its object in shared memory, and its slots.

use crate::layout::{HEADER_BYTES, Header, SLOT_BYTES, Sample, VERSION, sequence_of, slot_offset};
use executor_host::home::Home;
use rustix::fs::{FlockOperation, Mode, Stat, flock, fstat, ftruncate};
use rustix::io::{Errno, pread, pwrite};
use rustix::shm;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{Ordering, fence};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The longest wait for another process that takes a slot.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two attempts to lock the registry.
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// The attempts to read a slot that is being written. Writing takes microseconds, once a second.
const READS_MAX: usize = 100;

/// A failure to use the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The kernel refuses.
    #[error("cannot use the registry of metrics /dev/shm{name}")]
    Io {
        /// The name of the object.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// Another user has made the object.
    #[error(
        "the registry of metrics /dev/shm{name} belongs to another user (uid {uid}), or others may change it: have it removed"
    )]
    Foreign {
        /// The name of the object.
        name: String,
        /// Its owner.
        uid: u32,
    },
    /// Its version or sizes are not known.
    #[error(
        "the registry of metrics /dev/shm{name} is damaged or of another version of msb: remove it while no sandbox runs"
    )]
    Unknown {
        /// The name of the object.
        name: String,
    },
    /// All slots are in use.
    #[error(
        "all {capacity} slots of the registry of metrics are in use: increase `metrics.capacity` in config.json, and restart the running sandboxes"
    )]
    Full {
        /// The number of slots.
        capacity: u32,
    },
    /// Another process holds the lock.
    #[error("the registry of metrics /dev/shm{name} is locked by another process for more than {} s", LOCK_TIMEOUT.as_secs())]
    Locked {
        /// The name of the object.
        name: String,
    },
}

/// The registry of a state folder.
#[derive(Debug)]
pub struct Registry {
    name: String,
    object: OwnedFd,
    header: Header,
}

/// The slot of a running supervisor. It is free again once this is dropped.
#[derive(Debug)]
pub struct Slot {
    name: String,
    object: OwnedFd,
    offset: u64,
    sequence: u64,
}

impl Registry {
    /// Opens the registry for reading; `None` if there is none, because no sandbox has run since the host's boot.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, belongs to another user, or is of an unknown layout.
    pub fn open(home: &Home) -> Result<Option<Self>, RegistryError> {
        let name = object_name(home);
        let failed = failed(&name);
        let object = match shm::open(&name, shm::OFlags::RDONLY, Mode::empty()) {
            Ok(object) => object,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        check_owner(&name, &object)?;
        match read_header(&object).map_err(failed)? {
            Some(header) => Ok(Some(Self { name, object, header })),
            // Just being made.
            None if fstat(&object).map_err(failed)?.st_size == 0 => Ok(None),
            None => Err(RegistryError::Unknown { name }),
        }
    }

    /// Takes a slot in the registry, which is made if there is none, and writes the first sample. A slot whose supervisor
    /// does not run any more counts as free. The capacity is changed when no slot is in use.
    ///
    /// # Errors
    ///
    /// If the registry cannot be used, or has no free slot.
    pub fn take(home: &Home, capacity: u32, first: &Sample) -> Result<Slot, RegistryError> {
        let name = object_name(home);
        let failed = failed(&name);
        let flags = shm::OFlags::RDWR | shm::OFlags::CREATE;
        let object = loop {
            let object = shm::open(&name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
            check_owner(&name, &object)?;
            lock(&name, &object)?;
            // The last supervisor may have removed it meanwhile.
            if is_named(&name, &object) {
                break object;
            }
        };
        // An error closes the object, which ends the lock.
        let offset = find_free(&name, &object, capacity, first)?;
        let mut sequence = [0; 8];
        pread(&object, &mut sequence, offset).map_err(failed)?;
        let mut slot = Slot { name: name.clone(), object, offset, sequence: u64::from_le_bytes(sequence) };
        slot.write(first).map_err(|source| RegistryError::Io { name: name.clone(), source })?;
        flock(&slot.object, FlockOperation::Unlock).map_err(failed)?;
        Ok(slot)
    }

    /// Removes the registry if no supervisor that runs has a slot in it: the last one was killed.
    pub fn remove_unused(home: &Home) {
        let name = object_name(home);
        if let Ok(object) = shm::open(&name, shm::OFlags::RDWR, Mode::empty())
            && check_owner(&name, &object).is_ok()
            && flock(&object, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            remove_if_unused(&name, &object);
        }
    }

    /// Returns the samples of all supervisors that run, in the order of projects and names.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn samples(&self) -> Result<Vec<Sample>, RegistryError> {
        let written = written_slots(&self.object, self.header.capacity).map_err(failed(&self.name))?;
        let mut samples: Vec<Sample> =
            written.into_iter().filter(|(_, slot)| slot.is_whole).map(|(_, slot)| slot.sample).collect();
        samples.retain(|sample| sample.supervisor.is_alive());
        samples.sort_by(|a, b| (&a.project, &a.name).cmp(&(&b.project, &b.name)));
        Ok(samples)
    }
}

impl Slot {
    /// Writes a sample.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn write(&mut self, sample: &Sample) -> io::Result<()> {
        self.write_bytes(sample.encode(0))
    }

    /// Writes the bytes of a slot but for its sequence, which is odd meanwhile.
    fn write_bytes(&mut self, mut bytes: [u8; SLOT_BYTES]) -> io::Result<()> {
        bytes[..8].copy_from_slice(&(self.sequence | 1).to_le_bytes());
        pwrite(&self.object, &bytes[..8], self.offset)?;
        fence(Ordering::SeqCst);
        pwrite(&self.object, &bytes, self.offset)?;
        fence(Ordering::SeqCst);
        self.sequence = (self.sequence | 1).wrapping_add(1);
        pwrite(&self.object, &self.sequence.to_le_bytes(), self.offset)?;
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // It fails only if there is no registry any more.
        let _ = self.write_bytes([0; SLOT_BYTES]);
        // Whoever leaves last takes the object away. An error leaves it for the next one.
        if lock(&self.name, &self.object).is_ok() {
            remove_if_unused(&self.name, &self.object);
        }
    }
}

/// Returns the name of the object in shared memory.
fn object_name(home: &Home) -> String {
    let digest = Sha256::digest(home.root().as_os_str().as_bytes());
    let mut name = String::from("/msb-met-");
    for byte in &digest[..8] {
        let _ = write!(name, "{byte:02x}");
    }
    let _ = write!(name, "-v{VERSION}");
    name
}

fn failed(name: &str) -> impl Fn(Errno) -> RegistryError + Copy + '_ {
    move |error| RegistryError::Io { name: name.to_owned(), source: error.into() }
}

/// `/dev/shm` is open to all users, and names can be guessed.
fn check_owner(name: &str, object: &OwnedFd) -> Result<(), RegistryError> {
    let stat = fstat(object).map_err(failed(name))?;
    if stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o077 == 0 {
        return Ok(());
    }
    Err(RegistryError::Foreign { name: name.to_owned(), uid: stat.st_uid })
}

/// Whether an object still has its name.
fn is_named(name: &str, object: &OwnedFd) -> bool {
    let named = shm::open(name, shm::OFlags::RDONLY, Mode::empty()).and_then(fstat);
    let same = |named: Stat, own: Stat| (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino);
    named.is_ok_and(|named| fstat(object).is_ok_and(|own| same(named, own)))
}

/// Removes a locked registry in which no supervisor that runs has a slot.
fn remove_if_unused(name: &str, object: &OwnedFd) {
    if is_named(name, object) && is_unused(object) {
        let _ = shm::unlink(name);
    }
}

/// Whether no supervisor that runs has a slot in a registry.
fn is_unused(object: &OwnedFd) -> bool {
    let header = read_header(object).ok().flatten();
    let written = header.and_then(|header| written_slots(object, header.capacity).ok());
    written.is_some_and(|written| !written.iter().any(|(_, slot)| slot.sample.supervisor.is_alive()))
}

fn lock(name: &str, object: &OwnedFd) -> Result<(), RegistryError> {
    let started = Instant::now();
    loop {
        match flock(object, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) if started.elapsed() < LOCK_TIMEOUT => sleep(LOCK_PAUSE),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                return Err(RegistryError::Locked { name: name.to_owned() });
            }
            Err(error) => return Err(failed(name)(error)),
        }
    }
}

/// Returns the offset of a slot for a sandbox in the locked registry, which is laid out anew where no slot is in use.
fn find_free(name: &str, object: &OwnedFd, capacity: u32, first: &Sample) -> Result<u64, RegistryError> {
    let failed = failed(name);
    let known = read_header(object).map_err(failed)?;
    let written: BTreeMap<u32, Found> = match known {
        Some(header) => written_slots(object, header.capacity).map_err(failed)?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    let runs = |slot: &Found| slot.sample.supervisor.is_alive();
    let header = match known {
        Some(header) if header.capacity == capacity || written.values().any(runs) => header,
        _ => make(object, capacity).map_err(failed)?,
    };
    let is_own = |slot: &Found| slot.sample.id == first.id && !runs(slot);
    let mut indices = 0..header.capacity;
    // The sandbox's own slot first, so that it has one only; supervisors are looked for only if no slot is free.
    let index = written
        .iter()
        .find_map(|(index, slot)| (*index < header.capacity && is_own(slot)).then_some(*index))
        .or_else(|| indices.clone().find(|index| !written.contains_key(index)))
        .or_else(|| indices.find(|index| written.get(index).is_none_or(|slot| !runs(slot))));
    index.map(slot_offset).ok_or(RegistryError::Full { capacity: header.capacity })
}

/// Lays the slots out, all of them free.
fn make(object: &OwnedFd, capacity: u32) -> Result<Header, Errno> {
    let header = Header { capacity, generation: getrandom::u64().map_err(|_| Errno::IO)? };
    // Whoever reads meanwhile finds no registry.
    ftruncate(object, 0)?;
    ftruncate(object, slot_offset(capacity))?;
    pwrite(object, &header.encode(true), 0)?;
    Ok(header)
}

/// Reads the header; `None` if there is none of this layout.
fn read_header(object: &OwnedFd) -> Result<Option<Header>, Errno> {
    let mut bytes = [0; Header::BYTES];
    let length = pread(object, &mut bytes, 0)?;
    Ok((length == bytes.len()).then(|| Header::decode(&bytes)).flatten())
}

/// Returns the slots that have been written and not freed.
fn written_slots(object: &OwnedFd, capacity: u32) -> Result<Vec<(u32, Found)>, Errno> {
    // All at once, as most are free.
    let mut all = vec![0; usize::try_from(capacity).unwrap_or(0) * SLOT_BYTES];
    let length = pread(object, &mut all, HEADER_BYTES)?;
    let mut found = Vec::new();
    for (index, bytes) in (0..capacity).zip(all[..length].chunks_exact(SLOT_BYTES)) {
        if bytes.iter().any(|byte| *byte != 0)
            && let Some(slot) = read_slot(object, slot_offset(index))?
        {
            found.push((index, slot));
        }
    }
    Ok(found)
}

/// A slot in use.
struct Found {
    sample: Sample,
    /// Whether it was not being written meanwhile. Otherwise only what does not change is right: whose slot it is.
    is_whole: bool,
}

/// Reads a slot that may be written meanwhile; `None` if it is free or damaged.
fn read_slot(object: &OwnedFd, offset: u64) -> Result<Option<Found>, Errno> {
    let mut before = [0; SLOT_BYTES];
    for _ in 0..READS_MAX {
        let mut after = [0; 8];
        if pread(object, &mut before, offset)? < SLOT_BYTES {
            return Ok(None);
        }
        fence(Ordering::SeqCst);
        pread(object, &mut after, offset)?;
        let sequence = sequence_of(&before);
        if sequence.is_multiple_of(2) && sequence == u64::from_le_bytes(after) {
            return Ok(Sample::decode(&before).map(|sample| Found { sample, is_whole: true }));
        }
        std::thread::yield_now();
    }
    // Its writer waits for a processor, or was killed.
    Ok(Sample::decode(&before).map(|sample| Found { sample, is_whole: false }))
}

#[cfg(test)]
mod tests;
