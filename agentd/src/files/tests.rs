//! File operations on this machine's own files, requested over a socket instead of the port.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use protocol::frame::{Flags, FrameDecoder};
use protocol::latest::{FileAck, FileData, FileEntry, FileKind, FileOperation};
use rustix::event::epoll::{CreateFlags, Event};
use tempfile::TempDir;

use super::*;

mod tagged;

struct World {
    epoll: Rc<OwnedFd>,
    files: Files,
    link: Link,
    host: UnixStream,
    decoder: FrameDecoder,
    folder: TempDir,
    user: String,
}

impl World {
    fn new() -> Self {
        let (host, guest) = UnixStream::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        host.set_nonblocking(true).unwrap();
        let epoll = Rc::new(epoll::create(CreateFlags::CLOEXEC).unwrap());
        let link = Link::new(&epoll, guest.into(), 0).unwrap();
        let files = Files::new(&epoll, 2).unwrap();
        let folder = TempDir::new().unwrap();
        // The user of the tests may give files to itself.
        let own = fs::metadata(folder.path()).unwrap();
        let user = format!("{}:{}", own.uid(), own.gid());
        Self { epoll, files, link, host, decoder: FrameDecoder::new(), folder, user }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn request(&self, op: FileOperation, name: &str) -> FileRequest {
        FileRequest::new(op, self.path(name).as_os_str().as_bytes())
    }

    fn begin(&mut self, id: u32, request: FileRequest) {
        self.files.begin(id, request, &self.user, &mut self.link);
    }

    /// The next message, with its flags.
    fn next(&mut self) -> (u32, Flags, Message) {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return (frame.id(), frame.flags(), Message::decode(&frame).unwrap());
            }
            self.wait();
        }
    }

    /// Receives what the agent has sent, or waits for the threads.
    fn wait(&mut self) {
        self.link.flush();
        let mut buffer = vec![0; 64 * 1024];
        match self.host.read(&mut buffer) {
            Ok(count) => self.decoder.feed(&buffer[..count]),
            Err(_) => {
                let mut events: Vec<Event> = Vec::with_capacity(4);
                epoll::wait(&*self.epoll, rustix::buffer::spare_capacity(&mut events), None).unwrap();
                self.files.on_readable(&mut self.link);
            }
        }
    }

    fn response(&mut self) -> FileResponse {
        let (id, flags, message) = self.next();
        let Message::FileResponse(response) = message else { panic!("{message:?}") };
        assert_eq!((id, flags), (1, Flags::TERMINAL));
        assert!(!self.files.contains(1));
        response
    }

    fn execute(&mut self, request: FileRequest) -> FileResponse {
        self.begin(1, request);
        self.response()
    }

    fn fails(&mut self, request: FileRequest) -> FileFailureKind {
        self.execute(request).failure.expect("it is to fail").kind
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn short(request: FileRequest, data: &[u8]) -> FileRequest {
    FileRequest { data: Some(data.to_vec()), ..request }
}

#[test]
fn a_short_file_is_written_with_mode_time_and_parents() {
    let mut world = World::new();
    let request = FileRequest {
        mode: Some(0o750),
        modified_ns: Some(-1_500_000_000),
        parents: true,
        ..short(world.request(FileOperation::Write, "a/b/file"), b"hello")
    };
    assert_eq!(world.execute(request.clone()), FileResponse::done());
    let metadata = fs::metadata(world.path("a/b/file")).unwrap();
    assert_eq!(fs::read(world.path("a/b/file")).unwrap(), b"hello");
    assert_eq!(
        (metadata.permissions().mode() & 0o7777, metadata.mtime(), metadata.mtime_nsec()),
        (0o750, -2, 500_000_000)
    );
    assert_eq!(fs::metadata(world.path("a/b")).unwrap().permissions().mode() & 0o7777, 0o755);
    // The same again, over the existing one.
    assert_eq!(world.execute(request), FileResponse::done());
    assert_eq!(fs::read_dir(world.path("a/b")).unwrap().count(), 1);
    let orphan = short(world.request(FileOperation::Write, "none/file"), b"x");
    assert_eq!(world.fails(orphan), FileFailureKind::NotFound);
}

#[test]
fn a_reader_sees_the_old_file_until_the_new_one_is_complete() {
    let mut world = World::new();
    fs::write(world.path("file"), "old").unwrap();
    let request = world.request(FileOperation::Write, "file");
    world.begin(1, request);
    for frames in 1..=2 * FILE_WINDOW_FRAMES {
        world.files.take_data(1, vec![b'n'; FILE_DATA_BYTES], &mut world.link);
        // Acknowledged, so it has been written to a temporary file.
        assert_eq!(world.next().2, FileAck { frames }.into());
        assert_eq!(fs::read(world.path("file")).unwrap(), b"old");
    }
    world.files.take_data(1, Vec::new(), &mut world.link);
    assert_eq!(world.response(), FileResponse::done());
    assert_eq!(
        fs::metadata(world.path("file")).unwrap().len(),
        2 * FILE_WINDOW_FRAMES * FILE_DATA_BYTES as u64
    );
    assert_eq!(world.names(), ["file"]);
}

#[test]
fn a_disconnected_client_leaves_no_partial_file() {
    let mut world = World::new();
    let request = world.request(FileOperation::Write, "file");
    world.begin(1, request);
    world.files.take_data(1, b"half".to_vec(), &mut world.link);
    assert!(matches!(world.next().2, Message::FileAck(_)));
    assert_eq!(world.names().len(), 1);
    world.files.cancel(0..100);
    assert!(!world.files.contains(1));
    world.files.end(Duration::from_secs(20));
    assert!(world.files.operations.is_empty());
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn data_beyond_the_window_is_refused() {
    let mut world = World::new();
    let request = world.request(FileOperation::Write, "file");
    world.begin(1, request.clone());
    world.files.take_data(1, vec![0; FILE_DATA_BYTES + 1], &mut world.link);
    assert_eq!(world.response().failure.unwrap().kind, FileFailureKind::BadRequest);
    // The loop handles no acknowledgement meanwhile.
    world.begin(1, request);
    for _ in 0..=FILE_WINDOW_FRAMES {
        world.files.take_data(1, vec![0], &mut world.link);
    }
    assert_eq!(world.response().failure.unwrap().kind, FileFailureKind::BadRequest);
    world.files.end(Duration::from_secs(20));
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn a_link_is_replaced_and_not_followed() {
    let mut world = World::new();
    fs::write(world.path("other"), "other").unwrap();
    symlink("other", world.path("file")).unwrap();
    let request = short(world.request(FileOperation::Write, "file"), b"new");
    assert_eq!(world.execute(request), FileResponse::done());
    assert_eq!(fs::read(world.path("other")).unwrap(), b"other");
    assert!(fs::symlink_metadata(world.path("file")).unwrap().is_file());

    let request = short(world.request(FileOperation::MakeLink, "file"), b"nowhere/\xff");
    assert_eq!(world.execute(request), FileResponse::done());
    assert_eq!(fs::read_link(world.path("file")).unwrap().as_os_str().as_bytes(), b"nowhere/\xff");
    let request = world.request(FileOperation::Stat, "file");
    let stat = world.execute(request).stat.unwrap();
    assert_eq!((stat.kind, stat.target.as_deref()), (FileKind::Link, Some(&b"nowhere/\xff"[..])));
}

#[test]
fn an_existing_directory_is_unchanged() {
    let mut world = World::new();
    let request = FileRequest { mode: Some(0o1777), ..world.request(FileOperation::MakeDirectory, "d") };
    assert_eq!(world.execute(request), FileResponse::done());
    let request = FileRequest { mode: Some(0o700), ..world.request(FileOperation::MakeDirectory, "d") };
    assert_eq!(world.execute(request), FileResponse::done());
    assert_eq!(fs::metadata(world.path("d")).unwrap().permissions().mode() & 0o7777, 0o1777);
    fs::write(world.path("f"), "").unwrap();
    let request = world.request(FileOperation::MakeDirectory, "f");
    assert_eq!(world.fails(request), FileFailureKind::AlreadyExists);
    let request = short(world.request(FileOperation::Write, "d"), b"");
    assert_eq!(world.fails(request), FileFailureKind::IsDirectory);
    assert_eq!(world.names(), ["d", "f"]);
}

#[test]
fn a_tree_is_removed_without_following_links() {
    let mut world = World::new();
    fs::create_dir_all(world.path("tree/a/b")).unwrap();
    fs::create_dir(world.path("kept")).unwrap();
    fs::write(world.path("kept/file"), "").unwrap();
    fs::write(world.path("tree/a/file"), "").unwrap();
    symlink("../../kept", world.path("tree/a/link")).unwrap();
    let request = world.request(FileOperation::Remove, "tree");
    assert_eq!(world.fails(request.clone()), FileFailureKind::DirectoryNotEmpty);
    let request = FileRequest { recursive: true, ..request };
    assert_eq!(world.execute(request.clone()), FileResponse::done());
    assert!(world.path("kept/file").exists());
    assert_eq!(world.names(), ["kept"]);
    // A missing path counts as removed, also below a file.
    assert_eq!(world.execute(request), FileResponse::done());
    let request = world.request(FileOperation::Remove, "kept/file/none");
    assert_eq!(world.execute(request), FileResponse::done());
}

#[test]
fn a_tree_too_deep_for_the_stack_is_refused() {
    let mut world = World::new();
    let mut deep = world.path("deep");
    for _ in 0..300 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    let request = FileRequest { recursive: true, ..world.request(FileOperation::Remove, "deep") };
    assert!(world.execute(request).failure.unwrap().message.contains("so deep a tree"));
}

#[test]
fn files_are_read_at_the_clients_pace() {
    let mut world = World::new();
    let contents: Vec<u8> =
        (0..3 * FILE_WINDOW_FRAMES * FILE_DATA_BYTES as u64 + 5).map(|n| (n % 251) as u8).collect();
    fs::write(world.path("file"), &contents).unwrap();
    let request = world.request(FileOperation::Read, "file");
    world.begin(1, request);
    let (mut read, mut frames) = (Vec::new(), 0);
    loop {
        match world.next().2 {
            Message::FileData(FileData { data }) => {
                read.extend_from_slice(&data);
                frames += 1;
            }
            Message::FileResponse(response) => {
                break assert_eq!(response.stat.unwrap().size, contents.len() as u64);
            }
            other => panic!("{other:?}"),
        }
        if frames % FILE_WINDOW_FRAMES == 0 {
            // Nothing more is in flight; an excessive acknowledgement changes nothing.
            assert!(world.files.messages.try_recv().is_err());
            world.files.take_ack(1, frames);
        }
    }
    assert!(read == contents);
    let request = world.request(FileOperation::Read, ".");
    assert_eq!(world.fails(request), FileFailureKind::IsDirectory);
    rustix::fs::mkfifoat(rustix::fs::CWD, world.path("pipe"), 0o600.into()).unwrap();
    let request = world.request(FileOperation::Read, "pipe");
    assert_eq!(world.fails(request), FileFailureKind::WrongKind);
}

#[test]
fn long_listings_are_split() {
    let mut world = World::new();
    for number in 0..600 {
        fs::write(world.path(&number.to_string()), "").unwrap();
    }
    let request = world.request(FileOperation::List, "");
    world.begin(1, request);
    let mut names: Vec<Vec<u8>> = Vec::new();
    loop {
        let (_, flags, message) = world.next();
        let Message::FileResponse(response) = message else { panic!("{message:?}") };
        names.extend(response.entries.into_iter().map(|FileEntry { name, .. }| name));
        if flags.contains(Flags::TERMINAL) {
            break;
        }
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 600);
}

#[test]
fn invalid_requests_are_refused() {
    let mut world = World::new();
    for path in [&b"relative"[..], b"", b"/a\0b", &[b'/'; 5000]] {
        assert_eq!(world.fails(FileRequest::new(FileOperation::Stat, path)), FileFailureKind::BadRequest);
    }
    for path in ["/", "//.", "/.."] {
        let request = FileRequest { recursive: true, ..FileRequest::new(FileOperation::Remove, path) };
        assert_eq!(world.fails(request), FileFailureKind::BadRequest, "{path}");
    }
    let nobody = Some("nobody-has-this-name".to_owned());
    let request = FileRequest { user: nobody, ..short(world.request(FileOperation::Write, "file"), b"") };
    assert_eq!(world.fails(request), FileFailureKind::NoSuchUser);
    let request = world.request(FileOperation::Other, "file");
    assert_eq!(world.fails(request), FileFailureKind::BadRequest);
    assert!(Path::new("/").exists());
}

#[test]
fn operations_at_once_are_limited() {
    let mut world = World::new();
    let limit = u32::try_from(MAX_OPERATIONS).unwrap();
    for id in 1..=limit {
        let request = world.request(FileOperation::Write, &id.to_string());
        world.begin(id, request);
    }
    let request = world.request(FileOperation::Stat, "x");
    world.begin(limit + 1, request.clone());
    let (id, _, message) = world.next();
    let Message::FileResponse(response) = message else { panic!("{message:?}") };
    assert_eq!((id, response.failure.unwrap().kind), (limit + 1, FileFailureKind::Busy));
    world.files.end(Duration::from_secs(20));
    assert_eq!(world.fails(request), FileFailureKind::NotFound);
}

#[test]
fn only_the_disk_of_the_sandbox_can_be_frozen() {
    let mut world = World::new();
    let bad = FileFailureKind::BadRequest;
    // Before the boot there is none.
    world.begin(1, FileRequest::new(FileOperation::Freeze, b"/"));
    assert_eq!(world.response().failure.map(|failure| failure.kind), Some(bad));
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let disk = rustix::fs::open("/proc", flags, rustix::fs::Mode::empty()).unwrap();
    world.files.set_disk(Arc::new(disk));
    let request = world.request(FileOperation::Freeze, "file");
    world.begin(1, request);
    assert_eq!(world.response().failure.map(|failure| failure.kind), Some(bad));
    // Nothing of this machine is frozen: /proc cannot be.
    world.begin(1, FileRequest::new(FileOperation::Freeze, b"/"));
    let failure = world.response().failure.unwrap();
    assert!(matches!(failure.errno, Some(libc::EOPNOTSUPP | libc::EPERM)), "{failure:?}");
}

#[test]
fn trees_are_copied_with_modes_and_links() {
    let mut world = World::new();
    fs::create_dir_all(world.path("tree/below")).unwrap();
    fs::write(world.path("tree/below/file"), vec![7; 3_000_000]).unwrap();
    fs::set_permissions(world.path("tree/below/file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(world.path("tree/below"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("below/file", world.path("tree/link")).unwrap();
    let to = |world: &World, name: &str| Some(world.path(name).as_os_str().as_bytes().to_vec());
    let copy = |world: &mut World, from: &str, target: &str, recursive| {
        let to = to(world, target);
        let request = FileRequest { to, recursive, ..world.request(FileOperation::Copy, from) };
        world.begin(1, request);
        world.response().failure.map(|failure| failure.kind)
    };
    assert_eq!(copy(&mut world, "tree", "copy", false), Some(FileFailureKind::IsDirectory));
    assert_eq!(copy(&mut world, "tree", "tree/below/copy", true), Some(FileFailureKind::BadRequest));
    assert_eq!(copy(&mut world, "missing", "copy", true), Some(FileFailureKind::NotFound));
    assert_eq!(copy(&mut world, "tree", "copy", true), None);
    assert!(fs::read(world.path("copy/below/file")).unwrap() == vec![7; 3_000_000]);
    let mode = |world: &World, name: &str| fs::metadata(world.path(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode(&world, "copy/below"), mode(&world, "copy/below/file")), (0o700, 0o640));
    assert_eq!(fs::read_link(world.path("copy/link")).unwrap(), Path::new("below/file"));
    // Entries are added, and files replaced.
    fs::write(world.path("tree/below/file"), "short").unwrap();
    fs::write(world.path("copy/own"), "kept").unwrap();
    assert_eq!(copy(&mut world, "tree", "copy", true), None);
    assert_eq!(fs::read(world.path("copy/below/file")).unwrap(), b"short");
    assert!(world.path("copy/own").exists());
    assert_eq!(copy(&mut world, "copy/own", "tree/own", false), None);
    assert_eq!(fs::read(world.path("tree/own")).unwrap(), b"kept");
}

#[test]
fn files_are_renamed_and_paths_resolved() {
    let mut world = World::new();
    fs::write(world.path("file"), "text").unwrap();
    fs::write(world.path("other"), "replaced").unwrap();
    symlink("file", world.path("link")).unwrap();
    let path = |world: &World, name: &str| world.path(name).as_os_str().as_bytes().to_vec();

    let request = world.request(FileOperation::RealPath, "link");
    world.begin(1, request);
    let real = fs::canonicalize(world.path("file")).unwrap();
    assert_eq!(world.response().path.as_deref(), Some(real.as_os_str().as_bytes()));
    let request = FileRequest { follow: true, ..world.request(FileOperation::Stat, "link") };
    world.begin(1, request);
    assert_eq!(world.response().stat.map(|stat| (stat.kind, stat.size)), Some((FileKind::File, 4)));

    let to = Some(path(&world, "new/other"));
    let request = FileRequest { to: to.clone(), ..world.request(FileOperation::Rename, "file") };
    world.begin(1, request);
    assert_eq!(world.response().failure.map(|failure| failure.kind), Some(FileFailureKind::NotFound));
    let request = FileRequest { to, parents: true, ..world.request(FileOperation::Rename, "file") };
    world.begin(1, request);
    assert_eq!(world.response().failure, None);
    assert!(!world.path("file").exists());
    let to = Some(path(&world, "other"));
    let request = FileRequest { to, ..world.request(FileOperation::Rename, "new/other") };
    world.begin(1, request);
    assert_eq!(world.response().failure, None);
    assert_eq!(fs::read(world.path("other")).unwrap(), b"text");
    // A request without the new path, or with one that is none.
    for to in [None, Some(b"relative".to_vec())] {
        let request = FileRequest { to, ..world.request(FileOperation::Rename, "other") };
        world.begin(1, request);
        let kind = world.response().failure.map(|failure| failure.kind);
        assert_eq!(kind, Some(FileFailureKind::BadRequest));
    }
}
