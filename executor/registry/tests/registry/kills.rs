//! Killed processes, full disks, and concurrent pulls of the same image.

use crate::child;
use crate::image::TestImage;
use crate::server::{Body, Server, serve};
use crate::support::{PLATFORM, Store, pull, run, settings};
use executor_registry::{LayerState, Registry};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// A registry with slow layers.
fn slow(image: &TestImage, at_once: usize, backoff: Duration) -> Server {
    let image = image.clone();
    Server::new(move |seen| {
        let mut reply = serve(&image, seen);
        if image.layers.iter().any(|layer| seen.part() == format!("blobs/{layer}"))
            && let Body::Whole(bytes) = reply.body
        {
            reply.body = Body::Slow(bytes, at_once, backoff);
        }
        reply
    })
}

#[test]
fn a_pull_that_is_killed_at_any_time_resumes() {
    let image = TestImage::new(1, &[900_000, 500_000, 30_000]);
    let size: usize = image.blobs.values().map(Vec::len).sum();
    let server = slow(&image, 20_000, Duration::from_millis(10));
    let store = Store::new();
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let (mut kills, mut during) = (0, 0);
    loop {
        let mut child = child::command(&server.name, &store).stdout(Stdio::null()).spawn().unwrap();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        std::thread::sleep(Duration::from_millis(state % 120));
        // Killed at the end, or finished by itself: then it must be complete.
        if kills >= 40 {
            std::thread::sleep(Duration::from_secs(5));
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        during += usize::from(store.unfinished() > 0);
        store.check_nothing_half_made();
        assert!(kills < 60, "it never ends");
    }
    assert!(during >= 3, "{during} of {kills} kills were in the middle of a layer");
    store.check(&image);
    pull(settings(), &store.blobs, &format!("{}/app:1", server.name)).unwrap();
    // Bytes that had arrived were not requested again; bytes in flight were.
    assert!((server.sent() as usize) < size * 2 + kills * 120_000, "{} of {size}", server.sent());
}

#[test]
fn a_file_size_limit_is_reported_and_the_pull_resumes() {
    let image = TestImage::new(1, &[3_000_000]);
    let server = Server::of(&image);
    let store = Store::new();
    let child = child::command(&server.name, &store);
    // The shell's unit is 512 or 1024 bytes.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$@\"", "sh"]);
    limited.arg(child.get_program()).args(child.get_args()).stdin(Stdio::null()).stderr(Stdio::null());
    limited.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = limited.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("failed: cannot store layer 1 of 1 ("), "{text}");
    assert!(text.contains("File too large") && text.contains("free disk space, for example with"), "{text}");
    store.check_nothing_half_made();
    assert_eq!(server.count(|seen| seen.is_layer(&image, 0)), 1);
    pull(settings(), &store.blobs, &format!("{}/app:1", server.name)).unwrap();
    store.check(&image);
    let ranges: Vec<_> =
        server.seen().iter().filter_map(|seen| seen.header("range").map(str::to_owned)).collect();
    assert!(ranges.len() == 1 && ranges[0] != "bytes=0-", "{ranges:?}");
}

/// Needs a file system of its own; skipped where the host does not allow one.
#[test]
fn a_full_disk_is_reported_and_the_pull_resumes() {
    let may =
        Command::new("unshare").args(["-rm", "true"]).output().is_ok_and(|output| output.status.success());
    if !may {
        eprintln!("this host lets make no mount namespace: what a full disk does is not tried");
        return;
    }
    let image = TestImage::new(1, &[3_000_000]);
    let server = Server::of(&image);
    let folder = tempfile::tempdir().unwrap();
    let child = child::command_into(&server.name, folder.path());
    let script = "mount -t tmpfs -o size=8m tmpfs \"$0\" && head -c 7m /dev/zero >\"$0/other\" || exit 90
        \"$@\" && exit 91
        rm \"$0/other\"
        exec \"$@\"";
    let mut both = Command::new("unshare");
    both.args(["-rm", "sh", "-c", script]).arg(folder.path());
    both.arg(child.get_program()).args(child.get_args()).stdin(Stdio::null()).stderr(Stdio::null());
    both.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = both.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text} {}", output.status);
    let (first, second) = text.split_once("failed: ").unwrap();
    assert!(!first.contains("pulled"), "{text}");
    assert!(
        second.starts_with("cannot store layer 1 of 1 (") && second.contains("No space left on device"),
        "{text}"
    );
    assert!(second.contains("free disk space, for example with `msb image prune`"), "{text}");
    assert!(second.contains("\npulled\n"), "{text}");
    let ranges: Vec<_> =
        server.seen().iter().filter_map(|seen| seen.header("range").map(str::to_owned)).collect();
    assert!(ranges.len() == 1 && ranges[0] != "bytes=0-", "{ranges:?}");
}

#[test]
fn two_processes_request_each_layer_once() {
    let image = TestImage::new(1, &[600_000, 400_000, 50_000, 20_000, 10_000, 5]);
    let server = slow(&image, 40_000, Duration::from_millis(20));
    let store = Store::new();
    let start = || child::command(&server.name, &store).stdout(Stdio::piped()).spawn().unwrap();
    let outputs = [start(), start(), start()].map(|child| child.wait_with_output().unwrap());
    for output in &outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    store.check(&image);
    for index in 0..image.layers.len() {
        assert_eq!(server.count(|seen| seen.is_layer(&image, index)), 1, "layer {index}");
    }
    let output_text: String = outputs.iter().map(|output| String::from_utf8_lossy(&output.stdout)).collect();
    assert!(output_text.contains("Waiting") && output_text.contains("Present"), "{output_text}");
}

#[test]
fn a_shared_layer_is_downloaded_once_per_process() {
    // The second image shares the first one's layers, one of them twice.
    let image = TestImage::new(1, &[300_000, 200_000]);
    let server = slow(&image, 20_000, Duration::from_millis(5));
    let store = Store::new();
    let registry = Registry::new(settings(), store.blobs.clone()).unwrap();
    let reference = format!("{}/app:1", server.name).parse().unwrap();
    let states = Mutex::new(Vec::new());
    run(async {
        let found = registry.resolve(&reference, PLATFORM).await.unwrap();
        let mut doubled = found.image.clone();
        doubled.layers.extend(found.image.layers.clone());
        let tell = |progress: executor_registry::LayerProgress<'_>| {
            states.lock().unwrap().push((progress.of, progress.state));
        };
        let (one, two) = tokio::join!(
            registry.pull(&reference, &found.image, &tell),
            registry.pull(&reference, &doubled, &tell)
        );
        one.unwrap();
        two.unwrap();
    });
    store.check(&image);
    for index in 0..2 {
        assert_eq!(server.count(|seen| seen.is_layer(&image, index)), 1);
    }
    let states = states.into_inner().unwrap();
    assert!(states.iter().all(|(of, _)| *of == 2));
    assert_eq!(states.iter().filter(|(_, state)| *state == LayerState::Pulled).count(), 2);
}

#[test]
fn a_dropped_pull_releases_its_locks() {
    let image = TestImage::new(1, &[900_000]);
    let server = slow(&image, 20_000, Duration::from_millis(20));
    let store = Store::new();
    let registry = Registry::new(settings(), store.blobs.clone()).unwrap();
    let reference = format!("{}/app:1", server.name).parse().unwrap();
    run(async {
        let found = registry.resolve(&reference, PLATFORM).await.unwrap();
        let pulling = registry.pull(&reference, &found.image, &|_| {});
        assert!(tokio::time::timeout(Duration::from_millis(200), pulling).await.is_err());
    });
    assert_eq!(store.unfinished(), 1);
    pull(settings(), &store.blobs, &format!("{}/app:1", server.name)).unwrap();
    store.check(&image);
    assert_eq!(server.count(|seen| seen.is_layer(&image, 0)), 2);
}
