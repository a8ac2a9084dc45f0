//! A VMM that was broken into: it sends requests that no kernel would send, with all the numbers and names that it likes,
//! while the host swaps directories and links. Whatever it does, it reaches nothing outside of the shares.
//!
//! `ESCAPE_TRIES` is the number of requests per policy.

use crate::guest::{Guest, Placement};
use crate::hostile::Hostile;
use executor_share::vhost_user;
use executor_share::{Limits, Share, ShareFs, SharePolicy};
use rules::mount_text::StatVirt;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};
use std::fs::{self, File};
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The requests per policy where nothing else is asked for: some seconds.
const TRIES: u64 = 20_000;

/// The most attempts of the control.
const CONTROLS_MAX: u32 = 10;

/// The number of requests that the server has at a time.
const AT_A_TIME: u64 = 8;

/// The room for a reply in bytes.
const REPLY_BYTES: usize = 8192;

/// What is in the file outside of the shares.
const CANARY: &str = "this is the canary, which no reply may contain";

/// The size of that file in bytes, which is mostly a hole: no other number in a reply gets so large.
const CANARY_BYTES: u64 = 7_654_321_987_654;

/// A directory outside of the shares with one file, which is watched.
struct Canary {
    directory: PathBuf,
    watcher: OwnedFd,
    before: Vec<i64>,
}

impl Canary {
    fn new(directory: PathBuf) -> Self {
        fs::create_dir(&directory).unwrap();
        let mut file = File::create(directory.join("name")).unwrap();
        file.write_all(CANARY.repeat(500).as_bytes()).unwrap();
        file.set_len(CANARY_BYTES).unwrap();
        drop(file);
        let before = Self::state(&directory);
        let watcher = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watcher, &directory, WatchFlags::ALL_EVENTS).unwrap();
        Self { directory, watcher, before }
    }

    /// Returns what shows a change; nothing of what is gone.
    fn state(directory: &Path) -> Vec<i64> {
        let mut state = Vec::new();
        for stat in [directory, &directory.join("name")].map(fs::metadata).into_iter().flatten() {
            state.extend([stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec()]);
            state.extend([i64::from(stat.mode()), i64::try_from(stat.nlink()).unwrap()]);
        }
        state
    }

    /// Returns the accesses that were noticed, in words.
    fn touched(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.watcher, &mut buffer);
        let mut touched = Vec::new();
        while let Ok(event) = reader.next() {
            if !event.events().contains(ReadFlags::IGNORED) {
                touched.push(format!("{:?} {:?}", event.file_name(), event.events()));
            }
        }
        if Self::state(&self.directory) != self.before {
            touched.push("changed".to_owned());
        }
        touched
    }
}

/// Ends a loop of another thread, also when a test fails.
struct EndOfLoop<'a>(&'a AtomicBool);

impl Drop for EndOfLoop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The directories of a test.
struct Host {
    scratch: tempfile::TempDir,
    inside: PathBuf,
    canary: Canary,
}

impl Host {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let inside = scratch.path().join("share");
        fs::create_dir_all(inside.join("swapped/deep")).unwrap();
        fs::create_dir(scratch.path().join("fixed")).unwrap();
        for file in [inside.join("swapped/name"), inside.join("file"), scratch.path().join("fixed/name")] {
            fs::write(file, "inside").unwrap();
        }
        let canary = Canary::new(scratch.path().join("outside"));
        symlink("../outside", inside.join("link")).unwrap();
        symlink(canary.directory.join("name"), inside.join("absolute")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        symlink("/proc/self/fd", scratch.path().join("fixed/magic")).unwrap();
        Self { scratch, inside, canary }
    }

    /// Swaps a directory and a link, as long as a program of the host might.
    fn swap(&self, done: &AtomicBool) {
        let (first, second) = (self.inside.join("swapped"), self.inside.join("link"));
        while !done.load(Ordering::Relaxed) {
            // The guest may have removed one of them.
            if renameat_with(CWD, &first, CWD, &second, RenameFlags::EXCHANGE).is_err() {
                // Nothing is written, because the guest may have made a link out of either.
                let _ = fs::create_dir(&first);
                let _ = symlink("../outside", &second);
            }
        }
    }

    /// Runs requests on two shares, the second one read-only. Returns the number of replies that show the canary, that of
    /// successes, and that of errors.
    fn attack(&self, source: &Path, stat_virt: StatVirt, tries: u64) -> (u64, u64, u64) {
        let share = |path: &Path, read_only| Share {
            name: path.display().to_string(),
            source: rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap(),
            policy: SharePolicy {
                stat_virt,
                read_only,
                size_bytes: Some(16 << 20),
                ..SharePolicy::default()
            },
        };
        let shares = vec![share(source, false), share(&self.scratch.path().join("fixed"), true)];
        let fs = ShareFs::new(shares, Limits { descriptors: 400, inodes: 2000 }).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || vhost_user::serve(Arc::new(fs), ours));
        let mut guest = Guest::boot(theirs);
        let mut hostile = Hostile::new(tries, &self.canary.directory);
        let (mut hits, mut successes, mut errors) = (0, 0, 0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| self.swap(&done));
            let _end = EndOfLoop(&done);
            for _ in 0..tries.div_ceil(AT_A_TIME) {
                guest.reuse_buffers();
                let mut pending = Vec::new();
                for _ in 0..AT_A_TIME {
                    let request = hostile.request();
                    let head = guest.request(&[&request.bytes], REPLY_BYTES, Placement::Table);
                    pending.push((head, request));
                }
                for _ in 0..AT_A_TIME {
                    let (head, bytes) = guest.wait();
                    let reply = guest.reply(head, bytes, Placement::Table);
                    let (_, request) = pending.iter().find(|(known, _)| *known == head).unwrap();
                    hits += u64::from(shows_canary(&reply));
                    let succeeded = hostile.learn(request, &reply);
                    *(if succeeded { &mut successes } else { &mut errors }) += 1;
                }
            }
        });
        drop(guest);
        server.join().unwrap().unwrap();
        (hits, successes, errors)
    }

    /// Asserts that no file of the share has what would give others rights.
    fn check_share(&self) {
        let me = rustix::process::geteuid().as_raw();
        let mut folders = vec![self.inside.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for path in entries.map(|entry| entry.unwrap().path()) {
                let stat = fs::symlink_metadata(&path).unwrap();
                assert_eq!(stat.uid(), me, "{}", path.display());
                assert_eq!(stat.mode() & 0o6000, 0, "{} {:o}", path.display(), stat.mode());
                let kind = stat.mode() & 0o170_000;
                assert!(![0o020_000, 0o060_000].contains(&kind), "{} is a device", path.display());
                if stat.is_dir() {
                    folders.push(path);
                }
            }
        }
        let fixed = self.scratch.path().join("fixed");
        assert_eq!(fs::read_to_string(fixed.join("name")).unwrap(), "inside");
        assert_eq!(fs::read_dir(fixed).unwrap().count(), 2, "the read-only share has changed");
    }
}

/// Whether a reply has bytes of the canary, or its size.
fn shows_canary(reply: &[u8]) -> bool {
    let part = &CANARY.as_bytes()[8..24];
    reply.windows(part.len()).any(|window| window == part)
        || reply.chunks_exact(8).any(|word| word == CANARY_BYTES.to_ne_bytes())
}

#[test]
fn no_request_reaches_anything_outside_of_the_shares() {
    let tries = std::env::var("ESCAPE_TRIES").ok().map_or(TRIES, |text| text.parse().unwrap());
    for stat_virt in StatVirt::ALL {
        let host = Host::new();
        let (hits, successes, errors) = host.attack(&host.inside, *stat_virt, tries);
        println!(
            "{stat_virt}: {} tries, {hits} hits, {successes} succeeded, {errors} failed",
            successes + errors
        );
        assert_eq!((hits, host.canary.touched()), (0, Vec::new()), "{stat_virt}");
        // Otherwise the requests would only show how malformed ones are refused.
        assert!(successes > tries / 20 && errors > tries / 20, "{successes} succeeded, {errors} failed");
        host.check_share();
    }
}

#[test]
fn the_canary_is_noticed_where_it_is_in_reach() {
    // The guest may remove it before it has seen it.
    let is_noticed = |_| {
        let host = Host::new();
        assert_eq!(host.canary.touched(), Vec::<String>::new());
        // A share of the directory around both.
        let (hits, _, _) = host.attack(host.scratch.path(), StatVirt::Off, TRIES);
        assert!(!host.canary.touched().is_empty(), "it was not touched");
        hits > 0
    };
    assert!((0..CONTROLS_MAX).any(is_noticed), "no reply showed it");
}
