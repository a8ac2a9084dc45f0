//! Random operations on one file, compared with a model in memory.
//!
//! The file may exist: its contents are where the model begins. So runs can alternate with other programs that change
//! the file, of which the digests tell what they saw.

use crate::errors;
use crate::random::Random;
use crate::system::Mapping;
use rustix::fs::{Advice, FallocateFlags, OFlags, SeekFrom, fadvise, fallocate, seek};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The largest size of the file in bytes.
const LARGEST: usize = 300_000;

/// The longest part that an operation reads or writes, in bytes.
const LONGEST: usize = 70_000;

/// The number of operations that a failure shows.
const SHOWN: usize = 20;

/// The file, and what should be in it.
struct Exercise<'a> {
    path: &'a Path,
    file: File,
    model: Vec<u8>,
    random: Random,
    /// The last operations.
    log: VecDeque<String>,
}

/// Runs so many operations. Prints the digests of the contents before and after them.
pub fn run(path: &Path, seed: u64, operations: u64) -> io::Result<()> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut model = Vec::new();
    File::open(path)?.read_to_end(&mut model)?;
    println!("seed {seed}: from {:016x}", digest(&model));
    let mut exercise = Exercise { path, file, model, random: Random::new(seed), log: VecDeque::new() };
    for number in 0..operations {
        if let Err(error) = exercise.step() {
            let log: Vec<_> = exercise.log.into();
            return Err(io::Error::other(format!(
                "operation {number} with seed {seed}: {}\n  {}",
                errors::name(&error),
                log.join("\n  ")
            )));
        }
    }
    exercise.compare_all()?;
    println!("{operations} operations: to {:016x}", digest(&exercise.model));
    Ok(())
}

/// Returns a digest of bytes: FNV-1a.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Exercise<'_> {
    fn step(&mut self) -> io::Result<()> {
        match self.random.below(100) {
            0..=21 => self.read(),
            22..=43 => self.write(),
            44..=49 => self.append(),
            50..=59 => self.truncate(),
            60..=68 => self.read_mapped(),
            69..=77 => self.write_mapped(),
            78..=82 => self.punch(),
            83..=85 => self.zero(),
            86..=88 => self.allocate(),
            89..=91 => self.copy_range(),
            92..=93 => self.find_hole(),
            94 => self.sync(),
            95..=96 => self.reopen(),
            97 => self.read_past_the_cache(),
            98 => self.replace(),
            _ => self.compare_all(),
        }
    }

    fn note(&mut self, text: String) {
        if self.log.len() == SHOWN {
            self.log.pop_front();
        }
        self.log.push_back(text);
    }

    /// Chooses a part of the file; with `within`, one that has no byte after its end.
    fn part(&mut self, within: bool) -> (usize, usize) {
        let limit = if within { self.model.len() } else { LARGEST };
        let start = self.random.below(limit.max(1));
        // Often at the borders of pages.
        let start = if self.random.below(4) == 0 { start & !0xfff } else { start };
        let longest = LONGEST.min(limit.saturating_sub(start));
        (start, if longest == 0 { 0 } else { 1 + self.random.below(longest) })
    }

    fn check(&self, start: usize, found: &[u8]) -> io::Result<()> {
        let end = (start + found.len()).min(self.model.len());
        let expected = self.model.get(start..end).unwrap_or_default();
        if found == expected {
            return Ok(());
        }
        let different = found.iter().zip(expected).position(|(found, expected)| found != expected);
        Err(io::Error::other(format!(
            "{} bytes at {start} instead of {}; the first difference is at {:?}",
            found.len(),
            expected.len(),
            different.map(|index| start + index)
        )))
    }

    fn read_at(&self, file: &File, start: usize, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            match file.read_at(&mut bytes[done..], (start + done) as u64)? {
                0 => break,
                count => done += count,
            }
        }
        bytes.truncate(done);
        // Where bytes are missing, the model must have none either.
        if done < length && start + done < self.model.len() {
            return Err(io::Error::other(format!("{done} of {length} bytes at {start}")));
        }
        Ok(bytes)
    }

    fn read(&mut self) -> io::Result<()> {
        let (start, length) = self.part(false);
        self.note(format!("read {length} at {start}"));
        let bytes = self.read_at(&self.file, start, length)?;
        self.check(start, &bytes)
    }

    fn compare_all(&mut self) -> io::Result<()> {
        self.note("compare all".to_owned());
        if self.file.metadata()?.len() != self.model.len() as u64 {
            return Err(io::Error::other(format!("the size is not {}", self.model.len())));
        }
        let bytes = self.read_at(&self.file, 0, self.model.len() + 1)?;
        self.check(0, &bytes)
    }

    /// Sets a part of the model.
    fn put(&mut self, start: usize, bytes: &[u8]) {
        let end = start + bytes.len();
        if self.model.len() < end {
            self.model.resize(end, 0);
        }
        self.model[start..end].copy_from_slice(bytes);
    }

    fn write(&mut self) -> io::Result<()> {
        let (start, length) = self.part(false);
        self.note(format!("write {length} at {start}, size {}", self.model.len()));
        let bytes = self.random.bytes(length);
        self.file.write_all_at(&bytes, start as u64)?;
        self.put(start, &bytes);
        Ok(())
    }

    fn append(&mut self) -> io::Result<()> {
        let room = LARGEST.saturating_sub(self.model.len());
        let length = self.random.below(5_000).min(room);
        self.note(format!("append {length} to {}", self.model.len()));
        let bytes = self.random.bytes(length);
        File::options().append(true).open(self.path)?.write_all(&bytes)?;
        self.put(self.model.len(), &bytes);
        Ok(())
    }

    fn truncate(&mut self) -> io::Result<()> {
        let size = self.random.below(LARGEST);
        self.note(format!("truncate {} to {size}", self.model.len()));
        self.file.set_len(size as u64)?;
        self.model.resize(size, 0);
        Ok(())
    }

    fn read_mapped(&mut self) -> io::Result<()> {
        let (start, length) = self.part(true);
        if length == 0 {
            return Ok(());
        }
        self.note(format!("mapped read of {length} at {start}"));
        let mapping = Mapping::new(&self.file, self.model.len(), false, true)?;
        let mut bytes = vec![0; length];
        mapping.read(start, &mut bytes);
        self.check(start, &bytes)
    }

    fn write_mapped(&mut self) -> io::Result<()> {
        let (start, length) = self.part(true);
        if length == 0 {
            return Ok(());
        }
        self.note(format!("mapped write of {length} at {start}, size {}", self.model.len()));
        let bytes = self.random.bytes(length);
        let mapping = Mapping::new(&self.file, self.model.len(), true, true)?;
        mapping.write(start, &bytes);
        if self.random.below(3) == 0 {
            mapping.sync()?;
        }
        self.put(start, &bytes);
        Ok(())
    }

    /// Runs fallocate(2); `false` if the file system cannot do that.
    fn allocated(&self, mode: FallocateFlags, start: usize, length: usize) -> io::Result<bool> {
        match fallocate(&self.file, mode, start as u64, length as u64) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets a part of the model to zeros, without changing its size.
    fn clear(&mut self, start: usize, length: usize) {
        let end = (start + length).min(self.model.len());
        if let Some(part) = self.model.get_mut(start..end) {
            part.fill(0);
        }
    }

    fn punch(&mut self) -> io::Result<()> {
        let (start, length) = self.part(false);
        if length == 0 {
            return Ok(());
        }
        self.note(format!("hole of {length} at {start}"));
        if self.allocated(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, length)? {
            self.clear(start, length);
        }
        Ok(())
    }

    fn zero(&mut self) -> io::Result<()> {
        let (start, length) = self.part(false);
        let keeps_size = self.random.below(2) == 0;
        if length == 0 {
            return Ok(());
        }
        self.note(format!("zeros of {length} at {start}, keeping the size: {keeps_size}"));
        let keep = if keeps_size { FallocateFlags::KEEP_SIZE } else { FallocateFlags::empty() };
        if self.allocated(FallocateFlags::ZERO_RANGE | keep, start, length)? {
            self.clear(start, length);
            if !keeps_size {
                self.model.resize(self.model.len().max(start + length), 0);
            }
        }
        Ok(())
    }

    fn allocate(&mut self) -> io::Result<()> {
        let (start, length) = self.part(false);
        if length == 0 {
            return Ok(());
        }
        self.note(format!("allocation of {length} at {start}"));
        if self.allocated(FallocateFlags::empty(), start, length)? {
            self.model.resize(self.model.len().max(start + length), 0);
        }
        Ok(())
    }

    fn copy_range(&mut self) -> io::Result<()> {
        let (start, length) = self.part(true);
        let target = self.random.below(LARGEST - LONGEST);
        // The two parts must not overlap.
        if length == 0 || (target < start + length && start < target + length) {
            return Ok(());
        }
        self.note(format!("copy of {length} at {start} to {target}"));
        let (mut from, mut to) = (start as u64, target as u64);
        let mut left = length;
        while left > 0 {
            match rustix::fs::copy_file_range(&self.file, Some(&mut from), &self.file, Some(&mut to), left)? {
                0 => return Err(io::Error::other(format!("nothing copied of {left}"))),
                count => left -= count,
            }
        }
        let bytes = self.model[start..start + length].to_vec();
        self.put(target, &bytes);
        Ok(())
    }

    /// A hole has zeros only, wherever the file system keeps one.
    fn find_hole(&mut self) -> io::Result<()> {
        let (start, length) = self.part(true);
        if length == 0 {
            return Ok(());
        }
        self.note(format!("data and holes after {start}"));
        let data = match seek(&self.file, SeekFrom::Data(start as u64)) {
            Ok(data) => usize::try_from(data).map_err(io::Error::other)?,
            Err(rustix::io::Errno::NXIO) => self.model.len(),
            Err(error) => return Err(error.into()),
        };
        let hole = self.model.get(start..data.min(self.model.len())).unwrap_or_default();
        if hole.iter().any(|byte| *byte != 0) {
            return Err(io::Error::other(format!("data between {start} and {data}")));
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.note("sync".to_owned());
        if self.random.below(2) == 0 { self.file.sync_all() } else { self.file.sync_data() }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.note("open again".to_owned());
        self.file = File::options().read(true).write(true).open(self.path)?;
        Ok(())
    }

    /// Reads from the file system and not from the cache of pages.
    fn read_past_the_cache(&mut self) -> io::Result<()> {
        let (start, length) = self.part(true);
        self.note(format!("read {length} at {start} past the cache"));
        if self.random.below(2) == 0 {
            self.file.sync_all()?;
            fadvise(&self.file, 0, None, Advice::DontNeed)?;
            let bytes = self.read_at(&self.file, start, length)?;
            return self.check(start, &bytes);
        }
        let direct = OFlags::DIRECT.bits().cast_signed();
        let file = match File::options().read(true).custom_flags(direct).open(self.path) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            file => file?,
        };
        // Aligned as disks want it.
        let start = start & !0xfff;
        let mut buffer = vec![0; 0x3000];
        let skipped = buffer.as_ptr().align_offset(0x1000);
        let count = file.read_at(&mut buffer[skipped..skipped + 0x2000], start as u64)?;
        if count < 0x2000 && start + count < self.model.len() {
            return Err(io::Error::other(format!("{count} bytes at {start}")));
        }
        self.check(start, &buffer[skipped..skipped + count])
    }

    /// Replaces the file by a copy, as editors do.
    fn replace(&mut self) -> io::Result<()> {
        self.note("replace".to_owned());
        let new = self.path.with_extension("new");
        std::fs::copy(self.path, &new)?;
        std::fs::rename(&new, self.path)?;
        // What is open is the old file, without a name.
        let bytes = self.read_at(&self.file, 0, self.model.len() + 1)?;
        self.check(0, &bytes)?;
        self.reopen()
    }
}
