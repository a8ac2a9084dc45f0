//! Changes by the host of mounted files, as the guest sees them: its kernel caches what it knows of a file for long.

use std::fs;
use std::path::Path;
use tests::Project;
use tests::wait::retry;

/// Prints what the guest knows of the files, from its caches if it has them.
const SHOW: &str = "for file in edited replaced removed new dir/inner; do
    echo $file $(cat $file 2>/dev/null || echo missing) $(stat -c %s $file 2>/dev/null); done";

const BEFORE: &str = "edited one 4\nreplaced one 4\nremoved one 4\nnew missing\ndir/inner one 4";
const AFTER: &str = "edited second 7\nreplaced second 7\nremoved missing\nnew second 7\ndir/inner second 7";

/// More files than the host's kernel keeps events of: the default of `fs.inotify.max_queued_events` is 16384.
const FLOOD: usize = 10_000;

/// Prints an event of inotify per line: the directory, the name, and what happened.
const WATCH: &str = r#"
import ctypes, os, struct
MODIFY, ATTRIB, CLOSE_WRITE = 2, 4, 8
libc = ctypes.CDLL(None)
fd = libc.inotify_init()
watched = {libc.inotify_add_watch(fd, path.encode(), MODIFY | ATTRIB | CLOSE_WRITE): path for path in ("/rw", "/ro")}
print("watching", flush=True)
while True:
    events = os.read(fd, 4096)
    while events:
        watch, mask, _, length = struct.unpack_from("iIII", events)
        name = events[16:16 + length].rstrip(b"\0").decode() or "."
        events = events[16 + length:]
        for bit, what in ((MODIFY, "modified"), (CLOSE_WRITE, "closed"), (ATTRIB, "changed")):
            if mask & bit:
                print(watched[watch], name, what, flush=True)
"#;

#[test]
fn programs_that_watch_files_are_notified() {
    let project = Project::new("project \"watch\"\n");
    let image = project.image_of("webstack", "app");
    project.write(
        "Sandboxfile",
        &format!(
            r#"
            project "watch"
            sandbox "box" {{
                image "{}"
                start "python3" "/code/watch.py"
                mount "./code" to="/code" readonly=#true
                mount "./rw" to="/rw"
                mount "./ro" to="/ro" readonly=#true
            }}
            "#,
            image.display()
        ),
    );
    for directory in ["code", "rw", "ro"] {
        fs::create_dir(project.directory().join(directory)).expect("a new directory");
    }
    project.write("code/watch.py", WATCH);
    for name in ["edited", "replaced", "removed"] {
        project.write(&format!("rw/{name}"), "one\n");
        project.write(&format!("ro/{name}"), "one\n");
    }
    project.up();
    project.wait_for_output(&["logs", "box"], "watching\n");
    // A file that can be written to shows what a write shows; others have their attributes changed.
    for (name, directory, what) in
        [("rw", "/rw", "modified"), ("rw", "/rw", "closed"), ("ro", "/ro", "changed")]
    {
        change(&project.directory().join(name));
        for file in ["edited", "replaced", "new"] {
            project.wait_for_output(&["logs", "box"], &format!("{directory} {file} {what}\n"));
        }
        // Nothing is left of a removed file that could raise an event, so its directory does.
        project.wait_for_output(&["logs", "box"], &format!("{directory} . changed\n"));
        project.write(&format!("{name}/removed"), "again\n");
    }
    project.down();
}

#[test]
fn changes_of_the_host_are_seen_at_once() {
    let project = Project::new(
        r#"
        project "changes"
        sandbox "box" {
            image "@image"
            start "sh" "-c" "exec 3</ro/dir/inner; exec sleep 1000000"
            mount "./rw" to="/rw"
            mount "./ro" to="/ro" readonly=#true
            mount "./single" to="/single"
        }
        "#,
    );
    let folders = ["rw", "ro"].map(|name| project.directory().join(name));
    for folder in &folders {
        fs::create_dir_all(folder.join("dir")).expect("a new directory");
        for name in ["edited", "replaced", "removed", "dir/inner"] {
            fs::write(folder.join(name), "one\n").expect("a new file");
        }
    }
    project.write("single", "one\n");
    project.up();
    let show = |directory: &str| project.exec("box", &["sh", "-c", &format!("cd {directory}; {SHOW}")]);
    for directory in ["/rw", "/ro"] {
        // Twice, so that all of it is in the guest's caches.
        assert_eq!(show(directory), BEFORE);
        assert_eq!(show(directory), BEFORE);
    }
    assert_eq!(project.exec("box", &["cat", "/single"]), "one");

    folders.iter().for_each(|folder| change(folder));
    project.write("single", "second\n");
    for directory in ["/rw", "/ro"] {
        // The guest may be asked before the change has arrived.
        retry(|| match show(directory) {
            shown if shown == AFTER => Ok(()),
            shown => Err(format!("{directory}:\n{shown}")),
        });
    }
    retry(|| match project.exec("box", &["cat", "/single"]).as_str() {
        "second" => Ok(()),
        other => Err(other.to_owned()),
    });
    // The guest's own changes are its own, and it does not wait for reports of them.
    let own =
        "cd /rw && echo third > edited && mv edited moved && mkdir made && cat moved && rmdir made && ls";
    assert_eq!(project.exec("box", &["sh", "-c", own]), "third\ndir\nmoved\nnew\nreplaced");

    // The host loses events of so many changes. The file that changes last is in use, so dropped caches keep it.
    let inner = || project.exec("box", &["cat", "/ro/dir/inner"]);
    assert_eq!(inner(), "second");
    for n in 0..FLOOD {
        fs::write(folders[1].join(n.to_string()), "").expect("a new file");
    }
    fs::write(folders[1].join("dir/inner"), "third\n").expect("a writable file");
    retry(|| match inner().as_str() {
        "third" => Ok(()),
        other => Err(other.to_owned()),
    });
    project.down();
}

/// Changes each file in another way.
fn change(folder: &Path) {
    let write = |name: &str| fs::write(folder.join(name), "second\n").expect("a writable file");
    write("edited");
    if folder.join("dir").exists() {
        write("dir/inner");
    }
    write("new");
    fs::remove_file(folder.join("removed")).expect("a file");
    // As editors save files.
    write("temporary");
    fs::rename(folder.join("temporary"), folder.join("replaced")).expect("two names in a directory");
}
