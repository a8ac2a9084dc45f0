//! Folders of this host, and what a guest has of them after each change.

use super::*;
use crate::agent::fake_guest::{Node, Shared, failure, run};
use protocol::frame::Flags;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use tempfile::TempDir;

struct World {
    folder: TempDir,
    client: AgentClient,
    guest: Shared,
    syncer: Syncer,
}

fn with(patterns: &[&str], target: &str, test: impl AsyncFnOnce(World)) {
    let folder = TempDir::new().unwrap();
    let ignored = Arc::new(Patterns::new(patterns.iter().copied()).unwrap());
    let rule = SyncRule { source: folder.path().join("src"), target: target.to_owned(), ignored };
    run(async |client, guest| {
        test(World { folder, client, guest, syncer: Syncer::new(rule) }).await;
    });
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        let source = self.folder.path().join("src");
        if name.is_empty() { source } else { source.join(name) }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn all(&mut self) -> SyncReport {
        self.syncer.run(&mut self.client, Changed::Anything).await.unwrap()
    }

    async fn changed(&mut self, names: &[&str]) -> SyncReport {
        let paths = names.iter().map(|name| self.path(name)).collect();
        self.syncer.run(&mut self.client, Changed::Paths(&paths)).await.unwrap()
    }

    /// What the guest has, as text; directories end with `/`.
    fn there(&self) -> Vec<String> {
        let guest = self.guest.borrow();
        let text = |(path, node): (&String, &Node)| match node {
            Node::File(data) => format!("{path} = {}", String::from_utf8_lossy(data)),
            Node::Directory => format!("{path}/"),
            Node::Link(target) => format!("{path} -> {}", String::from_utf8_lossy(target)),
        };
        guest.nodes.iter().map(text).collect()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.guest.borrow_mut().asked)
    }
}

#[test]
fn everything_is_copied_once_and_then_only_what_changes() {
    with(&["target", "*.tmp"], "/app", async |mut world| {
        world.write("main.py", "one");
        world.write("lib/deep/util.py", "util");
        world.write("target/huge", "x");
        world.write("lib/x.tmp", "x");
        world.write(".git/HEAD", "x");
        symlink("lib/deep", world.path("link")).unwrap();
        let report = world.all().await;
        assert_eq!((report.copied, report.removed, report.failed, report.bytes), (3, 0, 0, 7));
        let there = [
            "/app/",
            "/app/lib/",
            "/app/lib/deep/",
            "/app/lib/deep/util.py = util",
            "/app/link -> lib/deep",
            "/app/main.py = one",
        ];
        assert_eq!(world.there(), there);
        world.asked();

        assert!(world.all().await.is_empty());
        assert!(world.changed(&["main.py", "target/huge"]).await.is_empty());
        assert_eq!(world.asked(), [""; 0]);

        world.write("main.py", "two");
        world.write("lib/deep/util.py", "changed without an event");
        let report = world.changed(&["main.py"]).await;
        assert_eq!((report.copied, report.example.as_deref()), (1, Some(Path::new("main.py"))));
        assert_eq!(world.asked(), ["Write /app/main.py"]);
        // A mode counts as well, and so does a file with the same length and an old time.
        fs::set_permissions(world.path("main.py"), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(world.changed(&["main.py"]).await.copied, 1);
    });
}

#[test]
fn deletions_are_carried_over_and_the_guests_own_files_are_not_touched() {
    with(&[], "/app", async |mut world| {
        for name in ["a/one", "a/b/two", "a/b/three", "c/four", "kept"] {
            world.write(name, "x");
        }
        world.all().await;
        for own in ["/app/own", "/app/c/own"] {
            world.guest.borrow_mut().nodes.insert(own.to_owned(), Node::Directory);
        }
        fs::remove_dir_all(world.path("a/b")).unwrap();
        fs::remove_dir_all(world.path("c")).unwrap();
        fs::remove_file(world.path("a/one")).unwrap();
        world.asked();
        let report = world.changed(&["a/b", "a/b/two", "a/one", "c"]).await;
        assert_eq!((report.removed, report.failed), (5, 0));
        let own = ["/app/c/", "/app/c/own/", "/app/own/"];
        assert_eq!(world.there(), ["/app/", "/app/a/", own[0], own[1], "/app/kept = x", own[2]]);
        // Nothing is there to be removed once more.
        assert!(world.changed(&["a/b", "c", "never-was"]).await.is_empty());

        // The source itself goes away: its files go, the target and what else is in it stay.
        fs::remove_dir_all(world.path("")).unwrap();
        world.all().await;
        assert_eq!(world.there(), ["/app/", own[0], own[1], own[2]]);
        world.write("kept", "again");
        world.all().await;
        assert_eq!(world.there(), ["/app/", own[0], own[1], "/app/kept = again", own[2]]);
    });
}

#[test]
fn one_kind_takes_the_place_of_another() {
    with(&[], "/app/", async |mut world| {
        world.write("thing/file", "x");
        world.write("other", "x");
        world.all().await;
        fs::remove_dir_all(world.path("thing")).unwrap();
        world.write("thing", "a file");
        fs::remove_file(world.path("other")).unwrap();
        world.write("other/file", "y");
        let report = world.changed(&["thing", "other"]).await;
        assert_eq!(report.failed, 0, "{report:?}");
        assert_eq!(world.there(), ["/app/", "/app/other/", "/app/other/file = y", "/app/thing = a file"]);
        fs::remove_file(world.path("thing")).unwrap();
        symlink("other", world.path("thing")).unwrap();
        world.changed(&["thing"]).await;
        assert_eq!(world.there()[3], "/app/thing -> other");
    });
}

#[test]
fn a_single_file_has_its_place() {
    with(&[], "/etc/app.conf", async |mut world| {
        fs::write(world.path(""), "one").unwrap();
        world.all().await;
        assert_eq!(world.there(), ["/etc/app.conf = one"]);
        fs::write(world.path(""), "another").unwrap();
        let source = BTreeSet::from([world.syncer.rule().source.clone()]);
        world.syncer.run(&mut world.client, Changed::Paths(&source)).await.unwrap();
        assert_eq!(world.there(), ["/etc/app.conf = another"]);
        let elsewhere = BTreeSet::from([world.folder.path().join("srcs"), PathBuf::from("/x")]);
        assert!(!world.syncer.concerns(Changed::Paths(&elsewhere)));
    });
    with(&[], "/etc/", async |mut world| {
        fs::write(world.path(""), "one").unwrap();
        world.all().await;
        assert_eq!(world.there(), ["/etc/src = one"]);
    });
}

#[test]
fn a_guest_that_may_have_lost_everything_gets_everything_again() {
    with(&[], "/app", async |mut world| {
        world.write("one", "x");
        world.write("two", "x");
        world.all().await;
        fs::remove_file(world.path("two")).unwrap();
        world.syncer.doubt();
        world.asked();
        let report = world.all().await;
        assert_eq!((report.copied, report.removed), (1, 1));
        assert_eq!(world.asked(), ["Remove /app/two", "MakeDirectory /app", "Write /app/one"]);
    });
}

#[test]
fn failures_are_reported_and_retried() {
    with(&[], "/app", async |mut world| {
        world.write("bad", "x");
        world.write("good", "x");
        let refuse = |request: &FileRequest| {
            let kind = FileFailureKind::PermissionDenied;
            request.path.ends_with(b"bad").then(|| vec![(failure(kind), Flags::TERMINAL)])
        };
        world.guest.borrow_mut().instead = Some(Box::new(refuse));
        let report = world.all().await;
        assert_eq!((report.copied, report.failed), (1, 1));
        assert_eq!(report.failures[0].path, Path::new("bad"));
        assert_eq!(report.failures[0].why, "PermissionDenied");
        world.guest.borrow_mut().instead = None;
        assert_eq!(world.all().await.copied, 1);
        assert_eq!(world.there(), ["/app/", "/app/bad = x", "/app/good = x"]);
    });
}

#[test]
fn special_files_are_skipped() {
    with(&[], "/app", async |mut world| {
        world.write("file", "x");
        rustix::fs::mkfifoat(rustix::fs::CWD, world.path("pipe"), 0o600.into()).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(world.path("socket")).unwrap();
        let report = world.all().await;
        assert_eq!((report.copied, report.failed), (1, 0));
        assert_eq!(world.there(), ["/app/", "/app/file = x"]);
    });
}

#[test]
fn a_file_or_its_parent_that_became_a_link_is_not_followed_out_of_the_folder() {
    with(&[], "/app", async |world| {
        fs::write(world.folder.path().join("secret"), "secret").unwrap();
        world.write("file", "x");
        symlink("../secret", world.path("link")).unwrap();
        assert!(open_file(&world.path(""), Path::new("link")).unwrap().is_none());
        assert!(open_file(&world.path(""), Path::new("file")).unwrap().is_some());
        assert!(open_file(&world.path(""), Path::new("none")).unwrap().is_none());
    });
}

#[test]
fn a_folder_that_became_a_link_leads_nowhere() {
    with(&[], "/app", async |mut world| {
        let outside = world.folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("key"), "secret").unwrap();
        world.write("sub/key", "mine");
        world.all().await;
        fs::remove_dir_all(world.path("sub")).unwrap();
        symlink("../outside", world.path("sub")).unwrap();
        // As if it had been swapped between the look and the copy.
        assert!(open_file(&world.path(""), Path::new("sub/key")).unwrap().is_none());
        // Changes are reported by path: one below the link is not read through it.
        let scanned =
            scan(&world.path(""), Path::new("sub/key"), world.syncer.rule().ignored.as_ref()).unwrap();
        assert!(scanned.found.is_empty(), "{scanned:?}");
        world.changed(&["sub/key", "sub"]).await;
        assert!(!world.there().iter().any(|line| line.contains("secret")), "{:?}", world.there());
        assert!(world.there().contains(&"/app/sub -> ../outside".to_owned()), "{:?}", world.there());
    });
}
