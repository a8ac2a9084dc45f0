//! Several processes that write to one file.

use crate::random::Random;
use crate::system::{Mapping, start_child, wait};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The length of a record in bytes, so that records share pages and cross their borders.
const RECORD: usize = 100;

/// Each process appends records, and changes every so-many-th record of a second file through a mapping or with writes;
/// afterwards all of them are there, whole.
pub fn run(path: &Path, processes: usize, records: usize) -> io::Result<()> {
    let slots = path.with_extension("slots");
    File::create(path)?;
    File::create(&slots)?.set_len((processes * records * RECORD) as u64)?;
    let mut children = Vec::new();
    for process in 0..processes {
        children.push(start_child(|| match work(path, &slots, process, processes, records) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("process {process}: {error}");
                1
            }
        })?);
    }
    for child in children {
        let end = wait(child)?;
        if end != "exit 0" {
            return Err(io::Error::other(format!("a process ended with {end}")));
        }
    }
    let appended = std::fs::read(path)?;
    let mut seen = vec![0; processes];
    for (index, found) in appended.chunks(RECORD).enumerate() {
        // Records of one process are in their order.
        let process = found.iter().position(|byte| *byte == b' ').unwrap_or(0);
        let number = seen.get_mut(process).ok_or_else(|| io::Error::other(format!("record {index}")))?;
        if found != record(process, *number) {
            return Err(io::Error::other(format!("record {index} is damaged")));
        }
        *number += 1;
    }
    if seen.iter().any(|count| *count != records) {
        return Err(io::Error::other(format!("of {records} records there are {seen:?}")));
    }
    let changed = std::fs::read(&slots)?;
    for (slot, found) in changed.chunks(RECORD).enumerate() {
        if found != record(slot % processes, slot / processes) {
            return Err(io::Error::other(format!("slot {slot} is damaged")));
        }
    }
    println!("{} records, {} slots", processes * records, changed.len() / RECORD);
    Ok(())
}

fn work(path: &Path, slots: &Path, process: usize, processes: usize, records: usize) -> io::Result<()> {
    let mut log = File::options().append(true).open(path)?;
    let slots = File::options().read(true).write(true).open(slots)?;
    let mapping = Mapping::new(&slots, processes * records * RECORD, true, true)?;
    let mut random = Random::new(process as u64);
    for number in 0..records {
        let record = record(process, number);
        log.write_all(&record)?;
        let offset = (number * processes + process) * RECORD;
        if random.below(2) == 0 {
            mapping.write(offset, &record);
        } else {
            slots.write_all_at(&record, offset as u64)?;
        }
    }
    mapping.sync()
}

/// The record of a process with a number: as many dots as the process has processes before it, and a text.
fn record(process: usize, number: usize) -> Vec<u8> {
    let text = format!("{} {number} ", ".".repeat(process));
    let mut bytes = text.into_bytes();
    let mut random = Random::new((number * 64 + process) as u64);
    while bytes.len() < RECORD {
        bytes.push(b'a' + random.below(26) as u8);
    }
    bytes
}
