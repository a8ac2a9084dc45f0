//! What guests of every kind leave on the host.

use super::*;
use crate::agent::fake_guest::{Override, run};
use protocol::frame::Flags;
use protocol::latest::{
    FileData, FileEntry, FileKind, FileOperation, FileRequest, FileResponse, FileStat, Message,
};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn stat(kind: FileKind, target: Option<&[u8]>) -> FileStat {
    let target = target.map(<[u8]>::to_vec);
    FileStat { kind, mode: 0o4640, uid: 7, gid: 7, size: 3, modified_ns: 1_000_000_007_000_000_000, target }
}

fn entry(name: &[u8], kind: FileKind, target: Option<&[u8]>) -> FileEntry {
    FileEntry { name: name.to_vec(), stat: stat(kind, target) }
}

/// A guest that has these directories, and says "abc" of every file.
fn guest_with(listings: BTreeMap<&'static str, Vec<FileEntry>>) -> Override {
    let done = |response: FileResponse| (Message::from(response), Flags::TERMINAL);
    Box::new(move |request: &FileRequest| {
        let path = std::str::from_utf8(&request.path).unwrap();
        Some(match request.op {
            FileOperation::Stat => {
                let kind = if listings.contains_key(path) { FileKind::Directory } else { FileKind::File };
                vec![done(FileResponse { stat: Some(stat(kind, None)), ..FileResponse::done() })]
            }
            FileOperation::List => {
                let entries = listings.get(path).cloned().unwrap_or_default();
                let part = FileResponse { entries, ..FileResponse::done() };
                vec![(part.into(), Flags::NONE), done(FileResponse::done())]
            }
            FileOperation::Read => {
                let data = Message::from(FileData { data: b"abc".to_vec() });
                let stat = Some(stat(FileKind::File, None));
                vec![(data, Flags::NONE), done(FileResponse { stat, ..FileResponse::done() })]
            }
            other => panic!("{other:?} was not to be asked for"),
        })
    })
}

/// Copies `/src` of such a guest into a fresh folder, beside which lies another one that is not to be touched.
fn copied(
    listings: BTreeMap<&'static str, Vec<FileEntry>>,
    check: impl Fn(&Path, Result<Skipped, CopyError>, &Progress),
) {
    run(async |mut client, guest| {
        let scratch = tempfile::tempdir().unwrap();
        let (target, outside) = (scratch.path().join("target"), scratch.path().join("outside"));
        fs::create_dir(&target).unwrap();
        fs::create_dir(&outside).unwrap();
        guest.borrow_mut().instead = Some(guest_with(listings));
        let progress = Progress::default();
        let ended = out_of_guest(&mut client, b"/src", &target, &progress).await;
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something came out of the target");
        check(&target.join("src"), ended, &progress);
    });
}

#[test]
fn a_tree_arrives_with_its_modes_times_and_links() {
    let listings = BTreeMap::from([
        (
            "/src",
            vec![
                entry(b"file", FileKind::File, None),
                entry(b"sub", FileKind::Directory, None),
                entry(b"pipe", FileKind::Other, None),
            ],
        ),
        ("/src/sub", vec![entry(b"link", FileKind::Link, Some(b"../../../etc/passwd"))]),
    ]);
    copied(listings, |made, ended, progress| {
        let skipped = ended.unwrap();
        assert_eq!((skipped.count, skipped.paths), (1, vec!["/src/pipe".to_owned()]));
        assert_eq!(fs::read(made.join("file")).unwrap(), b"abc");
        let metadata = fs::metadata(made.join("file")).unwrap();
        // What runs with its owner's rights in there does not do so here.
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
        let modified = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(modified.as_secs(), 1_000_000_007);
        let link = fs::read_link(made.join("sub/link")).unwrap();
        assert_eq!(link, Path::new("../../../etc/passwd"), "as it is, and not followed");
        let mode = fs::metadata(made.join("sub")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640, "a directory's own, once it is filled");
        assert_eq!((progress.files(), progress.bytes()), (2, 3));
        let names = fs::read_dir(made).unwrap().count();
        assert_eq!(names, 2, "nothing temporary is left");
    });
}

#[test]
fn a_link_that_turns_into_a_directory_leads_nowhere() {
    let listings = BTreeMap::from([
        (
            "/src",
            vec![
                entry(b"trap", FileKind::Link, Some(b"../../outside")),
                entry(b"trap", FileKind::Directory, None),
            ],
        ),
        ("/src/trap", vec![entry(b"evil", FileKind::File, None)]),
    ]);
    copied(listings, |made, ended, _| {
        let error = ended.unwrap_err();
        assert!(matches!(&error, CopyError::ThroughLink { path } if path == &made.join("trap")), "{error}");
    });
}

#[test]
fn a_link_that_turns_into_a_file_is_replaced() {
    let listings = BTreeMap::from([(
        "/src",
        vec![
            entry(b"trap", FileKind::Link, Some(b"../../outside/evil")),
            entry(b"trap", FileKind::File, None),
        ],
    )]);
    copied(listings, |made, ended, _| {
        ended.unwrap();
        assert!(!made.join("trap").is_symlink());
        assert_eq!(fs::read(made.join("trap")).unwrap(), b"abc");
    });
}

#[test]
fn names_that_lead_elsewhere_are_refused_with_the_path() {
    for name in ["../outside/evil", "/tmp/evil", "..", "sub/evil"] {
        let listings = BTreeMap::from([("/src", vec![entry(name.as_bytes(), FileKind::File, None)])]);
        copied(listings, |made, ended, _| {
            let error = ended.unwrap_err();
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(error.to_string().contains("/src") && cause.contains(name), "{error}: {cause}");
            assert_eq!(fs::read_dir(made).unwrap().count(), 0);
        });
    }
}

#[test]
fn directories_without_end_come_to_one() {
    run(async |mut client, guest| {
        let scratch = tempfile::tempdir().unwrap();
        let endless = |request: &FileRequest| {
            let entries = vec![entry(b"d", FileKind::Directory, None)];
            let whole = |response: FileResponse| (Message::from(response), Flags::TERMINAL);
            let stat = Some(stat(FileKind::Directory, None));
            Some(match request.op {
                FileOperation::Stat => vec![whole(FileResponse { stat, ..FileResponse::done() })],
                _ => vec![
                    (FileResponse { entries, ..FileResponse::done() }.into(), Flags::NONE),
                    whole(FileResponse::done()),
                ],
            })
        };
        guest.borrow_mut().instead = Some(Box::new(endless));
        let ended = out_of_guest(&mut client, b"/src", scratch.path(), &Progress::default()).await;
        assert!(matches!(ended, Err(CopyError::TooDeep { .. })), "{ended:?}");
    });
}

#[test]
fn files_of_the_host_arrive_unchanged() {
    use crate::agent::fake_guest::Node;
    run(async |mut client, guest| {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join("sub/file"), "hello").unwrap();
        std::os::unix::fs::symlink("/nowhere", tree.join("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, tree.join("pipe"), rustix::fs::Mode::RWXU).unwrap();
        guest.borrow_mut().nodes.insert("".to_owned(), Node::Directory);
        let skipped = into_guest(&mut client, &tree, b"/copy", &Progress::default()).await.unwrap();
        assert_eq!((skipped.count, skipped.paths.len()), (1, 1));
        let nodes = guest.borrow().nodes.clone();
        assert_eq!(nodes["/copy"], Node::Directory);
        assert_eq!(nodes["/copy/sub/file"], Node::File(b"hello".to_vec()));
        assert_eq!(nodes["/copy/link"], Node::Link(b"/nowhere".to_vec()));
    });
}

#[test]
fn a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere() {
    use crate::agent::fake_guest::Node;
    run(async |mut client, guest| {
        let scratch = tempfile::tempdir().unwrap();
        let (tree, outside) = (scratch.path().join("tree"), scratch.path().join("outside"));
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(tree.join("sub/key"), "mine").unwrap();
        fs::write(outside.join("key"), "secret").unwrap();
        guest.borrow_mut().nodes.insert("".to_owned(), Node::Directory);
        let (sub, away) = (tree.join("sub"), scratch.path().join("away"));
        // Another writer to the directory swaps the entry after it was read.
        let swap = move |request: &FileRequest| {
            if request.op == FileOperation::MakeDirectory && request.path.ends_with(b"/sub") {
                fs::rename(&sub, &away).unwrap();
                std::os::unix::fs::symlink("../outside", &sub).unwrap();
            }
            None
        };
        guest.borrow_mut().instead = Some(Box::new(swap));
        into_guest(&mut client, &tree, b"/copy", &Progress::default()).await.unwrap();
        assert_eq!(guest.borrow().nodes["/copy/sub/key"], Node::File(b"mine".to_vec()));
    });
}

#[test]
fn the_kernels_directories_stay_there_and_what_cannot_be_read_is_reported_at_the_end() {
    use protocol::latest::{FileFailure, FileFailureKind};
    run(async |mut client, guest| {
        let scratch = tempfile::tempdir().unwrap();
        let listings = BTreeMap::from([
            (
                "/",
                vec![
                    entry(b"proc", FileKind::Directory, None),
                    entry(b"bad", FileKind::File, None),
                    entry(b"good", FileKind::File, None),
                    entry(b"sub", FileKind::Directory, None),
                    entry(b"sys", FileKind::Directory, None),
                ],
            ),
            ("/sub", vec![entry(b"dev", FileKind::Directory, None)]),
            ("/sub/dev", vec![entry(b"file", FileKind::File, None)]),
        ]);
        let mut others = guest_with(listings);
        guest.borrow_mut().instead = Some(Box::new(move |request: &FileRequest| {
            if request.op != FileOperation::Read || request.path != b"/bad" {
                return others(request);
            }
            let failure = FileFailure {
                kind: FileFailureKind::Other,
                errno: Some(22),
                errno_name: Some("EINVAL".to_owned()),
                message: "EINVAL".to_owned(),
            };
            Some(vec![(
                FileResponse { failure: Some(failure), ..FileResponse::done() }.into(),
                Flags::TERMINAL,
            )])
        }));
        let skipped = out_of_guest(&mut client, b"/", scratch.path(), &Progress::default()).await.unwrap();
        assert_eq!(skipped.kernel, ["/proc", "/sys"]);
        assert_eq!((skipped.failed, skipped.unreadable), (1, vec!["/bad: EINVAL".to_owned()]));
        assert_eq!(fs::read(scratch.path().join("good")).unwrap(), b"abc");
        assert!(scratch.path().join("sub/dev/file").exists(), "of another name only");
        assert!(!scratch.path().join("proc").exists() && !scratch.path().join("bad").exists());
    });
}
