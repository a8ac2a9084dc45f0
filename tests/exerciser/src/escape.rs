//! Attempts to reach files that are outside of a directory, while entries of it are swapped.
//!
//! The directory has `swapped`, a directory with the file `name`, and `link`, a link to a directory with the same name
//! outside of it. Every try goes through one of them.

use crate::random::Random;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The number of threads that try.
const THREADS: u64 = 3;

/// The time between two swaps of a program of the host.
const PAUSE: std::time::Duration = std::time::Duration::from_micros(500);

/// Tries so many times, and prints how often a file with the canary was read, and how often something was reached or
/// refused.
pub fn run(directory: &Path, tries: u64, seed: u64, canary: &str) -> io::Result<()> {
    let done = AtomicBool::new(false);
    let counts = Counts::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                swap(directory);
            }
        });
        let tried: Vec<_> = (0..THREADS)
            .map(|thread| {
                let counts = &counts;
                scope.spawn(move || {
                    let mut random = Random::new(seed.wrapping_add(thread));
                    for _ in 0..tries.div_ceil(THREADS) {
                        attempt(directory, &mut random, canary.as_bytes(), counts);
                    }
                })
            })
            .collect();
        let ended = tried.into_iter().all(|thread| thread.join().is_ok());
        done.store(true, Ordering::Relaxed);
        if ended { Ok(()) } else { Err(io::Error::other("a thread panicked")) }
    })?;
    let Counts { hits, reached, refused } = counts;
    println!(
        "{} hits, {} reached, {} refused",
        hits.into_inner(),
        reached.into_inner(),
        refused.into_inner()
    );
    Ok(())
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    reached: AtomicU64,
    refused: AtomicU64,
}

/// Swaps the directory and the link until the process is killed.
pub fn swap_for_ever(directory: &Path) -> io::Result<()> {
    loop {
        swap(directory);
        // The guest is told of each change.
        std::thread::sleep(PAUSE);
    }
}

fn swap(directory: &Path) {
    // Another one swaps at the same time, so a name may be missing for a moment.
    let _ = renameat_with(CWD, directory.join("swapped"), CWD, directory.join("link"), RenameFlags::EXCHANGE);
}

fn attempt(directory: &Path, random: &mut Random, canary: &[u8], counts: &Counts) {
    let through = directory.join(["swapped", "link"][random.below(2)]);
    let name = through.join("name");
    let result = match random.below(16) {
        0..=7 => read(&name, canary, counts),
        8 => fs::metadata(&name).map(drop),
        9 => fs::read_dir(&through).map(|entries| entries.count()).map(drop),
        10 => File::options().create(true).append(true).open(through.join("new")).map(drop),
        11 => fs::remove_file(through.join("new")),
        12 => fs::hard_link(&name, directory.join("stolen"))
            .and_then(|()| read(&directory.join("stolen"), canary, counts)),
        13 => fs::rename(through.join("new"), directory.join("moved"))
            .and_then(|()| read(&directory.join("moved"), canary, counts)),
        14 => fs::set_permissions(&name, Permissions::from_mode(0o600 + random.below(64) as u32)),
        // Writes what is there already: within the directory it changes nothing, outside it shows.
        _ => File::options().write(true).open(&name).and_then(|mut file| file.write_all(b"inside")),
    };
    for leftover in ["stolen", "moved"] {
        let _ = fs::remove_file(directory.join(leftover));
    }
    let count = if result.is_ok() { &counts.reached } else { &counts.refused };
    count.fetch_add(1, Ordering::Relaxed);
}

fn read(path: &Path, canary: &[u8], counts: &Counts) -> io::Result<()> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    if bytes.windows(canary.len()).any(|window| window == canary) {
        counts.hits.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
