//! Mounts under load: random operations compared with a model, attempts to get out, and sudden ends.
//!
//! `E2E_FSX_OPERATIONS`, `E2E_ESCAPE_TRIES` and `E2E_KILL_ROUNDS` make the tests longer, `E2E_SEED` repeats a run.

use rustix::fs::inotify;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::random::{seed, setting};
use tests::wait::retry;
use tests::{Project, installation};

/// The program that exercises files, in a guest.
const PROGRAM: &str = "/bin/exerciser";

/// The most operations or tries of one command: each has a time limit.
const PIECE: u64 = 10_000;

/// The mounts of which each is exercised.
const PLACES: [&str; 3] = ["/strict", "/off", "/data"];

#[test]
fn random_operations_match_a_model() {
    let project = Project::new("project \"exercise\"\n");
    project.exerciser_image();
    project.write(
        "Sandboxfile",
        r#"
        project "exercise"
        volume "data"
        sandbox "box" {
            image "./image"
            mount "./strict" to="/strict"
            mount "./off" to="/off" stat-virt="off"
            mount "data" to="/data"
        }
        "#,
    );
    for directory in ["strict", "off"] {
        fs::create_dir(project.directory().join(directory)).expect("a new directory");
    }
    let (seed, operations) = (seed(), setting("E2E_FSX_OPERATIONS", 1000));
    project.up();
    for place in PLACES {
        let run = |seed: u64, operations: u64| {
            let numbers = [seed.to_string(), operations.to_string()];
            let command = [PROGRAM, "fsx", &format!("{place}/file"), &numbers[0], &numbers[1]];
            digests(&project.exec("box", &command))
        };
        let mut last = None;
        for piece in 0..operations.div_ceil(PIECE) {
            let (from, to) = run(seed + piece, PIECE.min(operations - piece * PIECE));
            assert!(
                last.is_none_or(|last| last == from),
                "{place}: the file has changed after piece {piece}"
            );
            last = Some(to);
        }
        project.exec("box", &[PROGRAM, "append", &format!("{place}/appended"), "3", "300"]);
    }
    host_and_guest(&project, seed);
    project.ok(&["down", "-v", "--yes"]);
}

/// Returns the digests of the file before and after a run.
fn digests(output: &str) -> (String, String) {
    let after = |word: &str| {
        let (_, rest) = output.split_once(word).unwrap_or_else(|| panic!("no {word}:\n{output}"));
        rest.split_whitespace().next().expect("a digest").to_owned()
    };
    (after("from "), after("to "))
}

/// The host and the guest change one file in turns.
fn host_and_guest(project: &Project, seed: u64) {
    for place in ["strict", "off"] {
        let file = project.directory().join(place).join("turns");
        fs::write(&file, "").expect("a new file");
        let guest_file = format!("/{place}/turns");
        for turn in 0..4 {
            let seed = (seed + turn).to_string();
            let output = Command::new(installation::exerciser())
                .args(["fsx".as_ref(), file.as_os_str(), seed.as_ref(), "100".as_ref()])
                .output()
                .expect("it runs");
            assert!(output.status.success(), "{output:?}");
            let (_, on_host) = digests(&String::from_utf8_lossy(&output.stdout));
            // What the host does right after the guest shows after a moment.
            retry(|| {
                let seen = project.run(&["exec", "box", "--", PROGRAM, "fsx", &guest_file, "0", "0"]);
                // The file may change between the looks that the program takes at it.
                if seen.code != 0 {
                    return Err(format!("{seen:?}"));
                }
                let (seen, _) = digests(&String::from_utf8_lossy(&seen.stdout));
                if seen == on_host { Ok(()) } else { Err(format!("{seen} instead of {on_host}")) }
            });
            let changed = project.exec("box", &[PROGRAM, "fsx", &guest_file, &seed, "100"]);
            let (from, to) = digests(&changed);
            assert_eq!(from, on_host, "{place}");
            let output = Command::new(installation::exerciser())
                .args(["fsx".as_ref(), file.as_os_str(), "0".as_ref(), "0".as_ref()])
                .output()
                .expect("it runs");
            assert_eq!(digests(&String::from_utf8_lossy(&output.stdout)).0, to, "{place}: on the host");
        }
    }
}

/// What no guest may read.
const CANARY: &str = "the canary of the host";

/// A directory outside of a mount with one file, which is watched.
struct Canary {
    directory: PathBuf,
    watcher: OwnedFd,
    before: [i64; 6],
}

impl Canary {
    fn new(directory: PathBuf) -> Self {
        fs::create_dir(&directory).expect("a new directory");
        // A try that writes "inside" at the start must not hide the rest from those that read.
        fs::write(directory.join("name"), format!("inside {CANARY}")).expect("a new file");
        let before = Self::state(&directory);
        let watcher = inotify::init(inotify::CreateFlags::NONBLOCK).expect("inotify");
        inotify::add_watch(&watcher, &directory, inotify::WatchFlags::ALL_EVENTS).expect("a watch");
        Self { directory, watcher, before }
    }

    fn state(directory: &Path) -> [i64; 6] {
        let stat = fs::metadata(directory.join("name")).expect("a file");
        let folder = fs::metadata(directory).expect("a directory");
        let mode = i64::from(stat.permissions().mode());
        [stat.ctime(), stat.ctime_nsec(), mode, folder.ctime(), folder.ctime_nsec(), folder.size() as i64]
    }

    /// Whether anything has used it.
    fn is_touched(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.watcher, &mut buffer);
        events.next().is_ok() || Self::state(&self.directory) != self.before
    }
}

/// Makes what is swapped, and the way out.
fn make_swapped(directory: &Path) {
    fs::create_dir_all(directory.join("swapped")).expect("a new directory");
    fs::write(directory.join("swapped/name"), "inside").expect("a new file");
    symlink("../outside", directory.join("link")).expect("a new link");
}

#[test]
fn a_guest_gets_to_nothing_outside_of_its_mounts() {
    let project = Project::new("project \"escape\"\n");
    project.exerciser_image();
    project.write(
        "Sandboxfile",
        r#"
        project "escape"
        sandbox "box" {
            image "./image"
            mount "./strict/share" to="/strict"
            mount "./relaxed/share" to="/relaxed" stat-virt="relaxed"
            mount "./off/share" to="/off" stat-virt="off"
            mount "./control" to="/control" stat-virt="off"
        }
        "#,
    );
    let (seed, tries) = (seed(), setting("E2E_ESCAPE_TRIES", 1_500));
    let mut canaries = Vec::new();
    for policy in ["strict", "relaxed", "off", "control"] {
        let directory = project.directory().join(policy);
        make_swapped(&directory.join("share"));
        canaries.push(Canary::new(directory.join("outside")));
    }
    let control = canaries.pop().expect("the last one");
    project.up();
    let attack = |directory: &str, host: Option<&Path>| {
        // A program of the host swaps at the same time.
        let swapper = host.map(|directory| {
            let mut command = Command::new(installation::exerciser());
            command.arg("swap").arg(directory).spawn().expect("it runs")
        });
        let mut sums = [0; 3];
        for piece in 0..tries.div_ceil(PIECE) {
            let numbers = [PIECE.min(tries - piece * PIECE), seed + piece].map(|number| number.to_string());
            let command = [PROGRAM, "escape", directory, &numbers[0], &numbers[1], CANARY];
            let counts = project.exec("box", &command);
            let numbers = counts.split(' ').filter_map(|word| word.parse::<u64>().ok());
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }
        if let Some(mut swapper) = swapper {
            swapper.kill().expect("a running process");
            swapper.wait().expect("a child");
        }
        let [hits, reached, refused] = sums;
        println!("{directory}: {hits} hits, {reached} reached, {refused} refused");
        assert!(reached > 0 && refused > 0, "{reached} were reached, {refused} refused: nothing was swapped");
        hits
    };
    for (policy, canary) in ["strict", "relaxed", "off"].iter().zip(&canaries) {
        let share = project.directory().join(policy).join("share");
        let hits = attack(&format!("/{policy}"), Some(&share));
        assert_eq!((hits, canary.is_touched()), (0, false), "{policy}");
    }
    // Where the directory around is mounted, the same tries find the canary.
    let hits = attack("/control/share", None);
    assert!(hits > 0 && control.is_touched(), "the canary would not be noticed");
    project.down();
}

#[test]
fn what_was_acknowledged_survives_sudden_ends() {
    let project = Project::new("project \"sudden\"\n");
    project.exerciser_image();
    project.write(
        "Sandboxfile",
        r#"
        project "sudden"
        volume "data"
        sandbox "box" {
            image "./image"
            restart "on-failure"
            mount "./rw" to="/rw"
            mount "data" to="/data"
        }
        "#,
    );
    let mount = project.directory().join("rw");
    fs::create_dir(&mount).expect("a new directory");
    let (mut seed, mut total) = (seed(), 0);
    let rounds = setting("E2E_KILL_ROUNDS", 4);
    for round in 0..rounds {
        project.up();
        retry(|| match project.run(&["exec", "box", "--", "true"]) {
            run if run.code == 0 => Ok(()),
            run => Err(format!("{run:?}")),
        });
        let writers = ["/rw", "/data"].map(|directory| {
            let mut writer = project.msb(&["exec", "box", "--", PROGRAM, "records", directory]).live();
            writer.until("acknowledged ");
            writer
        });
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(seed >> 32 & 511));
        // Either is enough to end all of them.
        let (server, processes) = (project.file_server("box"), project.processes("box"));
        if round % 2 == 0 {
            server.kill();
        } else {
            processes.supervisor.kill();
            server.wait_for_end();
        }
        processes.vmm.wait_for_end();
        let volume = volume_contents(&project.home().join("volumes/sudden-data"));
        for (writer, directory) in writers.into_iter().zip([&mount, &volume]) {
            total += check_records(directory, &writer.rest());
        }
    }
    println!("{rounds} rounds, {total} records were acknowledged");
    project.up();
    project.ok(&["down", "-v", "--yes"]);
}

/// Returns the directory with the contents of a volume.
fn volume_contents(volume: &Path) -> PathBuf {
    let inner = volume.join("data");
    if inner.join("log").exists() { inner } else { volume.to_owned() }
}

/// Asserts that a directory has all records that were acknowledged, and returns their number.
fn check_records(directory: &Path, said: &[String]) -> usize {
    let numbers = said.iter().filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
    let acknowledged: Vec<_> = numbers.collect();
    let log = fs::read_to_string(directory.join("log")).expect("a file");
    let lines: Vec<&str> = log.lines().collect();
    for number in &acknowledged {
        let line = format!("{number} {}.", "x".repeat((number * 37 % 300) as usize));
        assert!(lines.contains(&line.as_str()), "{number} is lost:\n{}", said.join("\n"));
    }
    let last: u64 =
        fs::read_to_string(directory.join("last")).expect("a file").parse().expect("a whole number");
    assert!(acknowledged.iter().all(|number| *number <= last), "{last} is older than what was acknowledged");
    acknowledged.len()
}
