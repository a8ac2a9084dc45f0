//! Files in a guest that behaves, and answers of guests that do not.

use super::fake_guest::{Node, connect, failure, run};
use super::*;
use protocol::frame::Flags;
use protocol::latest::{ErrorKind, ErrorReport, FileFailureKind, FileKind};

fn at(path: &str) -> FileRequest {
    FileRequest { parents: true, ..FileRequest::new(FileOperation::Write, path) }
}

fn stat_of(size: u64) -> FileStat {
    FileStat { kind: FileKind::File, mode: 0o644, uid: 0, gid: 0, size, modified_ns: 0, target: None }
}

fn entry(name: &[u8]) -> FileEntry {
    FileEntry { name: name.to_vec(), stat: stat_of(1) }
}

fn part(names: &[&[u8]]) -> (Message, Flags) {
    let entries = names.iter().map(|name| entry(name)).collect();
    (FileResponse { entries, ..FileResponse::done() }.into(), Flags::NONE)
}

fn done() -> (Message, Flags) {
    (FileResponse::done().into(), Flags::TERMINAL)
}

#[test]
fn files_of_any_length_arrive_whole() {
    run(async |mut client, guest| {
        let window = FILE_DATA_BYTES * FILE_WINDOW_FRAMES as usize;
        for length in
            [0, 1, FILE_DATA_BYTES - 1, FILE_DATA_BYTES, FILE_DATA_BYTES + 1, window, 3 * window + 7]
        {
            let contents: Vec<u8> = (0..length).map(|index| (index % 253) as u8).collect();
            let bytes = client.write_file(at("/file"), &mut contents.as_slice()).await.unwrap();
            assert_eq!(bytes, length as u64);
            assert!(guest.borrow().nodes["/file"] == Node::File(contents), "{length} bytes");
        }
        client.remove(b"/file", false).await.unwrap();
        assert!(guest.borrow().nodes.is_empty());
    });
}

#[test]
fn a_failure_in_the_middle_of_a_long_file_is_reported_and_the_client_goes_on() {
    run(async |mut client, guest| {
        let refuse = |request: &FileRequest| {
            (request.path == b"/full").then(|| vec![(failure(FileFailureKind::NoSpace), Flags::TERMINAL)])
        };
        guest.borrow_mut().instead = Some(Box::new(refuse));
        let long = vec![0; 20 * FILE_DATA_BYTES];
        let error = client.write_file(at("/full"), &mut long.as_slice()).await.unwrap_err();
        assert!(matches!(error, AgentError::Refused { failure } if failure.kind == FileFailureKind::NoSpace));
        client.write_file(at("/file"), &mut &b"x"[..]).await.unwrap();
        assert_eq!(guest.borrow().nodes["/file"], Node::File(b"x".to_vec()));
    });
}

#[test]
fn an_older_guest_is_distinguished_from_one_that_refuses() {
    run(async |_, guest| {
        let mut old = connect(&guest, &[]);
        let error = old.make_directory(at("/d")).await.unwrap_err();
        assert!(matches!(error, AgentError::UnsupportedOperation { .. }));
        assert!(error.to_string().contains("0.0.9"), "{error}");
        assert!(guest.borrow().asked.is_empty());
    });
}

#[test]
fn a_file_is_read_with_every_frame_acknowledged() {
    run(async |mut client, guest| {
        let contents = vec![7; 3 * FILE_DATA_BYTES];
        let frames = contents.chunks(FILE_DATA_BYTES);
        let mut answers: Vec<(Message, Flags)> =
            frames.map(|data| (FileData { data: data.to_vec() }.into(), Flags::NONE)).collect();
        let response = FileResponse { stat: Some(stat_of(5)), ..FileResponse::done() };
        answers.push((response.into(), Flags::TERMINAL));
        guest.borrow_mut().instead = Some(Box::new(move |_| Some(answers.clone())));
        let mut read = Vec::new();
        let stat = client.read_file(b"/file", &mut read).await.unwrap();
        assert_eq!((stat.size, read), (5, contents));
    });
}

#[test]
fn listings_are_joined() {
    run(async |mut client, guest| {
        let answers = vec![part(&[b"a", b"b"]), part(&[b"c\xff"]), done()];
        guest.borrow_mut().instead = Some(Box::new(move |_| Some(answers.clone())));
        let names: Vec<_> = client.list(b"/").await.unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, [&b"a"[..], b"b", b"c\xff"]);
    });
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [&b".."[..], b".", b"", b"../../etc/passwd", b"/etc/passwd", b"a\0b"] {
        run(async |mut client, guest| {
            let answers = vec![part(&[b"good", name]), done()];
            guest.borrow_mut().instead = Some(Box::new(move |_| Some(answers.clone())));
            let error = client.list(b"/").await.unwrap_err();
            assert!(matches!(error, AgentError::Unexpected { .. }), "{name:?}: {error}");
        });
    }
}

#[test]
fn nonsense_is_an_error_and_not_a_wait() {
    let report = ErrorReport { kind: ErrorKind::Other, message: "no".into(), message_type: None };
    let nonsense: [Message; 3] =
        [FileData { data: vec![1] }.into(), report.into(), Message::from(FileAck { frames: u64::MAX })];
    for message in nonsense {
        run(async |mut client, guest| {
            let answer = (message.clone(), Flags::NONE);
            guest.borrow_mut().instead = Some(Box::new(move |_| Some(vec![answer.clone()])));
            let error = client.make_directory(at("/d")).await.unwrap_err();
            assert!(matches!(error, AgentError::Unexpected { .. }), "{message:?}: {error}");
        });
    }
    run(async |mut client, guest| {
        // Forged acknowledgements do not let more be sent than the window, nor do they end the wait for the answer.
        let answer = (FileAck { frames: u64::MAX }.into(), Flags::NONE);
        let closing = (FileResponse::done().into(), Flags::TERMINAL);
        guest.borrow_mut().instead = Some(Box::new(move |_| Some(vec![answer.clone(), closing.clone()])));
        let long = vec![0; FILE_DATA_BYTES];
        assert_eq!(client.write_file(at("/f"), &mut long.as_slice()).await.unwrap(), FILE_DATA_BYTES as u64);
    });
}

#[test]
fn contents_that_cannot_be_read_are_nobody_elses_fault() {
    struct Broken;
    impl AsyncRead for Broken {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Err(std::io::ErrorKind::PermissionDenied.into()))
        }
    }
    run(async |mut client, guest| {
        let error = client.write_file(at("/f"), &mut Broken).await.unwrap_err();
        assert!(matches!(error, AgentError::Contents { .. }));
        assert!(guest.borrow().asked.is_empty());
    });
}

#[test]
fn a_guest_that_answers_nothing_is_given_up_and_one_that_is_busy_is_not() {
    run(async |mut client, guest| {
        // Not even whether it is there.
        guest.borrow_mut().instead = Some(Box::new(|_| Some(Vec::new())));
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let error = client.stat(b"/x").await.unwrap_err();
        assert!(matches!(error, AgentError::Unresponsive(_)), "{error:?}");
        assert_eq!(began.elapsed().as_secs(), 10);
    });
    run(async |mut client, guest| {
        guest.borrow_mut().answers_pings = true;
        guest.borrow_mut().instead = Some(Box::new(|_| Some(Vec::new())));
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let error = client.stat(b"/x").await.unwrap_err();
        assert!(matches!(error, AgentError::Unresponsive(_)), "{error:?}");
        assert!(began.elapsed().as_secs() >= 60, "{:?}", began.elapsed());
    });
}

#[test]
fn a_listing_is_bounded_by_its_bytes() {
    run(async |mut client, guest| {
        // A few names a frame, and links that lead to megabytes.
        let target = vec![b'x'; 3 << 20];
        let link = move |number: usize| FileEntry {
            name: format!("link-{number}").into_bytes(),
            stat: FileStat {
                kind: FileKind::Link,
                mode: 0o777,
                uid: 0,
                gid: 0,
                size: 0,
                modified_ns: 0,
                target: Some(target.clone()),
            },
        };
        guest.borrow_mut().instead = Some(Box::new(move |_| {
            let part = |number| FileResponse { entries: vec![link(number)], ..FileResponse::done() };
            let mut answers: Vec<(Message, Flags)> =
                (0..40).map(|number| (part(number).into(), Flags::NONE)).collect();
            answers.push((FileResponse::done().into(), Flags::TERMINAL));
            Some(answers)
        }));
        let error = client.list(b"/d").await.unwrap_err();
        assert!(error.to_string().contains("a listing of more than 64 MiB"), "{error}");
    });
}

#[test]
fn writes_are_held_until_the_disk_is_thawed() {
    run(async |_, guest| {
        let mut old = connect(&guest, &[FEATURE_FILES]);
        let error = old.freeze_disk().await.unwrap_err();
        assert!(matches!(error, AgentError::UnsupportedOperation { .. }), "{error}");

        let mut client = connect(&guest, &[FEATURE_FILES, FEATURE_FREEZE]);
        let frozen = client.freeze_disk().await.unwrap();
        assert!(guest.borrow().frozen.is_some());
        client.thaw_disk(frozen).await.unwrap();
        assert_eq!(guest.borrow().frozen, None);

        // The writes were not held all the time.
        let frozen = client.freeze_disk().await.unwrap();
        guest.borrow_mut().thaw_fails = true;
        let error = client.thaw_disk(frozen).await.unwrap_err();
        assert!(matches!(error, AgentError::Refused { .. }), "{error}");

        let refuse = |_: &FileRequest| Some(vec![(failure(FileFailureKind::Other), Flags::TERMINAL)]);
        guest.borrow_mut().instead = Some(Box::new(refuse));
        let error = client.freeze_disk().await.unwrap_err();
        assert!(matches!(error, AgentError::Refused { .. }), "{error}");
    });
}
