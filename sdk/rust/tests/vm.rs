//! Sandboxes with a VM, if `MSB` and `MSB_IMAGE` are set; and the examples.
#![allow(clippy::unwrap_used)]

mod common;

use msb_sdk::{Client, Error, Sandbox};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A home that is removed with its sandboxes.
struct World {
    home: tempfile::TempDir,
    client: Client,
    image: String,
}

impl World {
    fn new() -> Option<Self> {
        let image = common::image()?;
        let home = tempfile::Builder::new().prefix("msb-t-").tempdir().unwrap();
        let client = Client::builder().home(home.path()).build();
        Some(Self { home, client, image })
    }

    async fn sandbox(&self) -> Sandbox {
        self.client.sandbox("a", self.image.as_str()).ephemeral().create().await.unwrap()
    }

    /// Runs an example with the image, and returns what it prints.
    fn example(&self, name: &str) -> String {
        let done = std::process::Command::new(example(name))
            .arg(&self.image)
            .env("MSB_HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let program = std::env::var("MSB").unwrap();
        let _ = std::process::Command::new(program)
            .args(["rm", "--force", "a", "hello", "tour", "web"])
            .env("MSB_HOME", self.home.path())
            .output();
    }
}

/// Returns the program of an example, which `cargo test` builds.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples").join(name)
}

async fn is_gone(client: &Client, name: &str) -> bool {
    matches!(client.get(name).await, Err(Error::SandboxNotFound(_)))
}

#[tokio::test]
async fn a_thousand_commands_run_at_the_same_time() {
    let Some(world) = World::new() else { return };
    let sandbox = world.sandbox().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        tasks.spawn(sandbox.exec("true", [""; 0]).into_future());
    }
    while let Some(done) = tasks.join_next().await {
        assert!(done.unwrap().unwrap().success());
    }
    sandbox.close().await.unwrap();
    assert!(is_gone(&world.client, "a").await);
}

#[tokio::test]
async fn the_end_of_a_scope_stops_what_is_owned() {
    let Some(world) = World::new() else { return };
    let sandbox = world.client.sandbox("a", world.image.as_str()).create().await.unwrap();
    let other = world.client.get("a").await.unwrap();
    other.close().await.unwrap();
    assert_eq!(world.client.get("a").await.unwrap().status(), "running");
    drop(sandbox);
    let mut other = world.client.get("a").await.unwrap();
    other.wait_for_status("stopped", Duration::from_secs(20)).await.unwrap();
    other.start().await.unwrap();
    assert!(other.touch().await.unwrap() > 0);
    assert!(other.ping().await.unwrap() < Duration::from_secs(5));
    other.remove_by_force().await.unwrap();
    assert!(is_gone(&world.client, "a").await);
}

#[tokio::test]
async fn commands_that_are_cancelled_do_not_run_on() {
    let Some(world) = World::new() else { return };
    let sandbox = world.sandbox().await;
    for _ in 0..20 {
        let run = sandbox.shell("exec sleep 7171").into_future();
        assert!(tokio::time::timeout(Duration::from_millis(30), run).await.is_err());
    }
    let count = "grep -l 717[1] /proc/[0-9]*/cmdline 2>/dev/null | wc -l";
    let began = Instant::now();
    while sandbox.shell(count).await.unwrap().stdout_text().trim() != "0" {
        assert!(began.elapsed() < Duration::from_secs(10), "commands run on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    sandbox.close().await.unwrap();
}

#[tokio::test]
async fn files_are_whole_whatever_their_size() {
    let Some(world) = World::new() else { return };
    let sandbox = world.sandbox().await;
    let fs = sandbox.fs();
    for bytes in [0, 1, 128 * 1024 - 1, 128 * 1024, 128 * 1024 + 1, 3_000_000] {
        let contents: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        fs.write("/tmp/f", &contents).await.unwrap();
        assert_eq!(fs.read("/tmp/f").await.unwrap(), contents);
        assert_eq!(fs.read_stream("/tmp/f").await.unwrap().collect().await.unwrap(), contents);
    }
    assert_eq!(fs.read_with_limit("/tmp/f", 1000).await.unwrap_err().code(), "too-large");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let fs = fs.clone();
        tasks.spawn(async move { fs.write(format!("/tmp/n{number}"), number.to_string()).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(fs.read_text("/tmp/n199").await.unwrap(), "199");
    sandbox.close().await.unwrap();
}

#[test]
fn the_readme_shows_the_examples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let read = |name: &str| std::fs::read_to_string(root.join("examples").join(name)).unwrap();
    let mut blocks = readme.split("```rust").skip(1).map(|block| {
        let (_, block) = block.split_once('\n').unwrap();
        block.split_once("```").unwrap().0.to_owned()
    });
    assert_eq!(blocks.next().unwrap(), read("hello.rs"));
    let tour = read("tour.rs");
    for block in blocks {
        let indented =
            block.lines().map(|line| if line.is_empty() { String::new() } else { format!("    {line}") });
        let indented = indented.collect::<Vec<_>>().join("\n");
        assert!(tour.contains(&indented), "examples/tour.rs lacks\n{indented}");
    }
}

#[test]
fn the_examples_run() {
    let Some(world) = World::new() else { return };
    assert_eq!(world.example("hello"), "hello from a sandbox\n");
    let tour = world.example("tour");
    assert!(tour.contains("3 \"1\\n/tmp\\n\" false") && tour.contains("web create"), "{tour}");
    let output = world.example("agent_loop");
    assert!(output.contains("program 2: ended after 5s") && output.contains("the answer is 42"), "{output}");
}
