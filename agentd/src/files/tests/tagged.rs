//! Requests in the tagged form, as clients of microsandbox send them.

use protocol::latest::{Envelope, TaggedFileData, TaggedFileRequest, TaggedFileResponse};
use serde::Serialize;

use super::*;

#[derive(Serialize)]
struct Request<'a> {
    op: Tag<'a>,
}

#[derive(Serialize)]
enum Tag<'a> {
    Stat { path: &'a str, follow_symlink: bool },
    List { path: &'a str },
    ReadLink { path: &'a str },
    Mkdir { path: &'a str },
    RemoveDir { path: &'a str, recursive: bool },
    Rename { src: &'a str, dst: &'a str },
    RealPath { path: &'a str },
    Read { path: &'a str },
    Write { path: &'a str },
    OpenDir { path: &'a str },
}

fn decoded(op: Tag<'_>) -> Option<TaggedFileRequest> {
    let mut p = Vec::new();
    ciborium::into_writer(&Request { op }, &mut p).unwrap();
    let envelope = Envelope { v: 1, t: "core.fs.request".to_owned(), p };
    TaggedFileRequest::decode(&envelope.encode(1, Flags::SESSION_START).unwrap())
}

impl World {
    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn begin_tagged(&mut self, op: Tag<'_>) {
        let request = decoded(op).unwrap();
        self.files.begin_tagged(1, request, &self.user, &mut self.link);
    }

    /// Returns the data before the response, and the response.
    fn answer(&mut self) -> (Vec<u8>, TaggedFileResponse) {
        let mut contents = Vec::new();
        loop {
            self.files.resume(&self.link);
            let frame = loop {
                if let Some(frame) = self.decoder.next_frame().unwrap() {
                    break frame;
                }
                self.wait();
                self.files.resume(&self.link);
            };
            assert_eq!(frame.id(), 1);
            let envelope = Envelope::decode(&frame).unwrap();
            if envelope.t == "core.fs.data" {
                let Message::FileData(data) = Message::decode(&frame).unwrap() else { unreachable!() };
                contents.extend(data.data);
            } else {
                assert_eq!((envelope.t.as_str(), frame.flags()), ("core.fs.response", Flags::TERMINAL));
                assert!(!self.files.contains(1));
                return (contents, ciborium::from_reader(&envelope.p[..]).unwrap());
            }
        }
    }

    fn result(&mut self, op: Tag<'_>) -> Option<TaggedFileData> {
        self.begin_tagged(op);
        let (_, response) = self.answer();
        assert_eq!((response.ok, &response.error), (true, &None));
        response.data
    }
}

#[test]
fn operations_have_their_results_in_the_same_form() {
    let mut world = World::new();
    fs::write(world.path("file"), "12345").unwrap();
    symlink("file", world.path("link")).unwrap();
    let (folder, link) = (world.text(""), world.text("link"));
    let Some(TaggedFileData::Stat(stat)) = world.result(Tag::Stat { path: &link, follow_symlink: true })
    else {
        panic!("no metadata")
    };
    assert_eq!((stat.kind.as_str(), stat.size, &stat.path), ("file", 5, &link));
    let target = world.result(Tag::ReadLink { path: &link });
    assert_eq!(target, Some(TaggedFileData::Path("file".to_owned())));
    let resolved = world.result(Tag::RealPath { path: &link });
    let file = fs::canonicalize(world.path("file")).unwrap();
    assert_eq!(resolved, Some(TaggedFileData::Path(file.to_str().unwrap().to_owned())));
    let deep = world.text("a/b");
    assert_eq!(world.result(Tag::Mkdir { path: &deep }), None);
    world.result(Tag::Rename { src: &deep, dst: &world.text("c") });
    world.result(Tag::RemoveDir { path: &world.text("a"), recursive: true });
    let Some(TaggedFileData::List(mut entries)) = world.result(Tag::List { path: &folder }) else {
        panic!("no listing")
    };
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let listed: Vec<_> = entries.iter().map(|entry| (entry.path.as_str(), entry.kind.as_str())).collect();
    let expected =
        [("c", "dir"), ("file", "file"), ("link", "symlink")].map(|(name, kind)| (world.text(name), kind));
    assert_eq!(listed, expected.each_ref().map(|(name, kind)| (name.as_str(), *kind)));
}

#[test]
fn long_files_need_no_acknowledgements() {
    let mut world = World::new();
    // More than the window of a client that acknowledges, and than the link holds without congestion.
    let contents: Vec<u8> = (0..=255).cycle().take(4 * 1024 * 1024).collect();
    let path = world.text("long");
    world.begin_tagged(Tag::Write { path: &path });
    for piece in contents.chunks(1024 * 1024) {
        world.files.take_data(1, piece.to_vec(), &mut world.link);
    }
    world.files.take_data(1, Vec::new(), &mut world.link);
    assert!(world.answer().1.ok);
    assert!(fs::read(&path).unwrap() == contents);
    world.begin_tagged(Tag::Read { path: &path });
    let (read, response) = world.answer();
    assert!(response.ok && read == contents);
}

#[test]
fn failures_are_sentences() {
    let mut world = World::new();
    let missing = world.text("missing");
    world.begin_tagged(Tag::Read { path: &missing });
    let (_, response) = world.answer();
    assert_eq!((response.ok, response.data), (false, None));
    assert_eq!(response.error, Some(format!("cannot read '{missing}' (ENOENT)")));
    fs::write(world.path("file"), "").unwrap();
    let file = world.text("file");
    world.begin_tagged(Tag::ReadLink { path: &file });
    assert_eq!(world.answer().1.error, Some(format!("'{file}' is not a link")));
    // What needs a handle is not supported, and no such request is taken for another one.
    assert_eq!(decoded(Tag::OpenDir { path: "/" }), None);
}

#[test]
fn more_data_than_can_wait_ends_the_operation() {
    let mut world = World::new();
    let path = world.text("flood");
    world.begin_tagged(Tag::Write { path: &path });
    // Nothing is handled meanwhile, so none of it counts as written.
    for _ in 0..20 {
        world.files.take_data(1, vec![0; 1024 * 1024], &mut world.link);
    }
    let (_, response) = world.answer();
    assert_eq!(response.error.as_deref(), Some(super::super::tagged::TOO_MUCH_DATA));
    world.files.end(Duration::from_secs(60));
    assert_eq!(world.names(), Vec::<String>::new());
}
