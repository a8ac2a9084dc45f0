//! Round trips, limits, hostile bytes, and the golden schema.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_bytes::ByteBuf;

use super::frame::{Flags, Frame, FrameDecoder, FrameError, MAX_BODY_BYTES, MAX_FRAME_LEN};
use super::v1::{
    BOOT_CHUNK_BYTES, BOOT_DOCUMENT_VERSION, BootAssembler, BootChunk, BootDocument, BootError, BootFile,
    Disk, DiskAt, Envelope, ErrorKind, ErrorReport, ExecExited, ExecFailed, ExecRequest, ExecStderr,
    ExecStdin, ExecStdout, FailureKind, FileEntry, FileKind, FileOperation, FileRequest, FileResponse,
    FileStat, JobAttach, MAX_BOOT_BYTES, Message, MessageError, Mount, OutputStream, Ping, Shutdown,
    TmpfsMount, Trust, VolumeMount, append_output, cddl_text, schema_text,
};

fn document() -> BootDocument {
    let disk = |serial: &str| Disk { at: DiskAt::Serial(serial.into()), file_system: "ext4".into() };
    BootDocument {
        version: BOOT_DOCUMENT_VERSION,
        hostname: "web".into(),
        env: BTreeMap::from([("A".into(), "1".into())]),
        workdir: None,
        user: Some("1000:1000".into()),
        shell: "/bin/sh".into(),
        scripts: BTreeMap::from([("start".into(), ByteBuf::from(b"#!/bin/sh\n".to_vec()))]),
        sandboxfile: Some("sandbox \"web\" {}\n".into()),
        base: disk("base"),
        writable: Disk { at: DiskAt::Index(1), file_system: "ext4".into() },
        volumes: vec![VolumeMount {
            disk: disk("volume-0"),
            destination: "/data".into(),
            of_host: false,
            read_only: true,
            noexec: false,
            nosuid: true,
            nodev: true,
        }],
        directories: Vec::new(),
        mounts: vec![Mount {
            tag: "msb-mounts".into(),
            entry: "0".into(),
            destination: "/app".into(),
            volume: false,
            read_only: false,
            noexec: true,
            nosuid: true,
            nodev: false,
        }],
        tmpfs: vec![TmpfsMount {
            destination: "/run/cache".into(),
            size_bytes: Some(64 << 20),
            mode: 0o1777,
            uid: None,
            gid: Some(7),
            read_only: false,
            noexec: true,
            nosuid: false,
            nodev: true,
        }],
        files: vec![BootFile {
            destination: "/etc/app.conf".into(),
            contents: (0..=u8::MAX).collect(),
            mode: 0o600,
            uid: 1000,
            gid: 0,
        }],
        network: None,
        trust: Some(Trust { ca_pem: "-----BEGIN CERTIFICATE-----\n".into() }),
        clock_unix_ns: 1_700_000_000_000_000_000,
        rlimits: Vec::new(),
        hosts: BTreeMap::from([("db".into(), "10.0.0.5".into())]),
        read_only: true,
    }
}

fn assemble(frames: &[Frame]) -> Result<Option<BootDocument>, BootError> {
    let mut assembler = BootAssembler::new();
    let mut whole = None;
    for frame in frames {
        match Message::decode(frame).unwrap() {
            Message::Boot(chunk) => whole = assembler.push(&chunk)?,
            other => panic!("not a chunk: {other:?}"),
        }
    }
    Ok(whole)
}

#[test]
fn appended_output_has_the_bytes_of_the_message() {
    let data: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    for length in [0, 1, 23, 24, 30, 200, 240, 255, 256, 65_000, 65_535, 65_536, 70_000] {
        let data = &data[..length];
        let mut short = b"before".to_vec();
        append_output(OutputStream::Stdout, data, 7, &mut short).unwrap();
        append_output(OutputStream::Stderr, data, u32::MAX, &mut short).unwrap();
        let long = [
            Message::from(ExecStdout { data: data.to_vec() }).encode(7).unwrap(),
            Message::from(ExecStderr { data: data.to_vec() }).encode(u32::MAX).unwrap(),
        ];
        assert!(short == [b"before", long[0].as_bytes(), long[1].as_bytes()].concat(), "{length}");
    }
    let mut none = Vec::new();
    append_output(OutputStream::Stdout, &vec![0; MAX_FRAME_LEN as usize], 7, &mut none).unwrap_err();
    assert!(none.is_empty());
}

#[test]
fn the_golden_schema_is_current() {
    let golden = include_str!("v1/schema.txt");
    let current = schema_text();
    assert!(golden == current, "write this into schemas/protocol/src/v1/schema.txt:\n{current}");
}

#[test]
fn the_cddl_is_current() {
    const PATH: &str = "../../docs/protocol.cddl";
    let current = cddl_text();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(PATH, &current).unwrap();
    }
    let golden = std::fs::read_to_string(PATH).unwrap();
    assert!(golden == current, "{PATH} is out of date: UPDATE_GOLDEN=1 cargo test -p protocol cddl");
}

/// The schema only gains lines. The boot document is exempt: it has a version of its own, and its reader is the agent of
/// the same msb.
#[test]
fn the_schema_contains_all_frozen_lines() {
    let sections = |text: &str| -> BTreeMap<String, Vec<String>> {
        let section = |section: &str| {
            let mut lines = section.lines().map(str::to_owned);
            let title = lines.next().unwrap_or_default();
            let words = lines.flat_map(|line| match line.contains(':') {
                true => vec![line.trim().to_owned()],
                false => line.split(',').map(|word| word.trim().to_owned()).collect(),
            });
            (title, words.collect())
        };
        text.split("\n\n").map(section).collect()
    };
    let current = sections(&schema_text());
    let frozen = sections(include_str!("v1/frozen.txt"));
    assert!(frozen.len() > 25, "{} sections", frozen.len());
    for (title, lines) in frozen {
        let lines_now = current.get(&title).unwrap_or_else(|| panic!("{title:?} is missing"));
        for line in lines {
            assert!(
                lines_now.contains(&line),
                "{title}: {line:?} is missing: removing it needs a new generation"
            );
        }
    }
}

#[test]
fn a_frame_has_the_documented_bytes() {
    let frame = Frame::new(0x0102_0304, Flags::TERMINAL | Flags::SHUTDOWN, b"xy").unwrap();
    assert_eq!(frame.as_bytes(), [0, 0, 0, 7, 1, 2, 3, 4, 5, b'x', b'y']);
    assert_eq!((frame.id(), frame.flags(), frame.body()), (0x0102_0304, Flags(5), &b"xy"[..]));
}

#[test]
fn an_envelope_is_the_documented_map() {
    let frame = Message::from(ExecExited::with_code(3)).encode(9).unwrap();
    assert!(frame.flags().contains(Flags::TERMINAL));
    let value: ciborium::Value = ciborium::from_reader(frame.body()).unwrap();
    let map = value.as_map().unwrap();
    let keys: Vec<_> = map.iter().map(|(key, _)| key.as_text().unwrap()).collect();
    assert_eq!(keys, ["v", "t", "p"]);
    assert_eq!(map[1].1.as_text(), Some("core.exec.exited"));
    assert_eq!(map[2].1.as_bytes().unwrap(), &[0xa1, 0x64, b'c', b'o', b'd', b'e', 3]);
}

#[test]
fn lengths_out_of_bounds_are_lasting_errors() {
    let mut decoder = FrameDecoder::new();
    decoder.feed(&[0, 0, 0, 4]);
    assert_eq!(decoder.next_frame(), Err(FrameError::TooShort { len: 4 }));
    decoder.feed(&[0; 64]);
    assert_eq!(decoder.next_frame(), Err(FrameError::TooShort { len: 4 }));

    let mut decoder = FrameDecoder::new();
    decoder.feed(&(MAX_FRAME_LEN + 1).to_be_bytes());
    assert_eq!(decoder.next_frame(), Err(FrameError::TooLong { len: u64::from(MAX_FRAME_LEN) + 1 }));
}

#[test]
fn the_largest_frame_passes_and_one_byte_more_does_not() {
    let body = vec![7; MAX_BODY_BYTES];
    let frame = Frame::new(1, Flags::NONE, &body).unwrap();
    let mut decoder = FrameDecoder::new();
    decoder.feed(frame.as_bytes());
    assert_eq!(decoder.next_frame().unwrap().as_ref(), Some(&frame));
    assert_eq!(decoder.pending_bytes(), 0);
    assert!(matches!(
        Frame::new(1, Flags::NONE, &vec![7; MAX_BODY_BYTES + 1]),
        Err(FrameError::TooLong { .. })
    ));
}

#[test]
fn a_length_alone_allocates_nothing() {
    let mut decoder = FrameDecoder::new();
    decoder.feed(&MAX_FRAME_LEN.to_be_bytes());
    assert_eq!(decoder.next_frame(), Ok(None));
    assert_eq!(decoder.pending_bytes(), 4);
}

#[test]
fn unknown_types_are_kept() {
    let frame =
        Envelope { v: 9, t: "core.later.thing".into(), p: vec![0xa0] }.encode(5, Flags::NONE).unwrap();
    let message = Message::decode(&frame).unwrap();
    assert_eq!(message, Message::Unknown { message_type: "core.later.thing".into(), payload: vec![0xa0] });
}

#[test]
fn unknown_fields_are_ignored_and_unknown_kinds_are_other() {
    let mut payload = Vec::new();
    let map = [("kind", "from_the_future"), ("message", "m"), ("new", "field")];
    ciborium::into_writer(&BTreeMap::from(map), &mut payload).unwrap();
    let envelope = Envelope { v: 1, t: "core.exec.failed".into(), p: payload };
    let Message::ExecFailed(failed) = Message::from_envelope(envelope).unwrap() else { panic!() };
    assert_eq!(failed.kind, FailureKind::Other);
}

#[test]
fn an_empty_payload_has_three_forms() {
    for p in [vec![], vec![0xf6], vec![0xa0]] {
        let envelope = Envelope { v: 1, t: "core.shutdown".into(), p };
        let message = Message::from_envelope(envelope).unwrap();
        assert_eq!(message, Message::Shutdown(Shutdown { timeout_ms: None }));
    }
}

#[test]
fn a_request_may_omit_fields_with_defaults() {
    let mut p = Vec::new();
    ciborium::into_writer(&BTreeMap::from([("cmd", "true")]), &mut p).unwrap();
    let envelope = Envelope { v: 1, t: "core.exec.request".into(), p };
    let Message::ExecRequest(request) = Message::from_envelope(envelope).unwrap() else { panic!() };
    assert_eq!((request.rows, request.cols, request.tty, request.args.len()), (24, 80, false, 0));
}

#[test]
fn deep_nesting_and_trailing_bytes_are_refused() {
    let mut deep = vec![0x81; 100_000];
    deep.push(0);
    let frame = Frame::new(1, Flags::NONE, &deep).unwrap();
    assert!(matches!(Message::decode(&frame), Err(MessageError::Envelope { .. })));
    let envelope = Envelope { v: 1, t: "core.ping".into(), p: deep };
    assert!(matches!(Message::from_envelope(envelope), Err(MessageError::Payload { .. })));
    let envelope = Envelope { v: 1, t: "core.ping".into(), p: vec![0xa0, 0] };
    assert!(matches!(Message::from_envelope(envelope), Err(MessageError::TrailingBytes { count: 1, .. })));
}

#[test]
fn a_small_boot_document_is_one_chunk() {
    let frames = document().to_frames().unwrap();
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].id(), 0);
    assert_eq!(assemble(&frames).unwrap(), Some(document()));
}

#[test]
fn a_large_boot_document_is_several_chunks() {
    let mut large = document();
    large.env.insert("BIG".into(), "x".repeat(5 * BOOT_CHUNK_BYTES));
    let frames = large.to_frames().unwrap();
    assert_eq!(frames.len(), 6);
    assert_eq!(assemble(&frames[..5]).unwrap(), None);
    assert_eq!(assemble(&frames).unwrap(), Some(large));
    assert!(matches!(assemble(&frames[1..]), Err(BootError::OutOfOrder { expected: 0, found: 1 })));
}

#[test]
fn boot_documents_are_bounded_on_both_sides() {
    let mut huge = document();
    huge.scripts.insert("huge".into(), ByteBuf::from(vec![0; MAX_BOOT_BYTES]));
    assert!(matches!(huge.to_frames(), Err(BootError::TooLarge)));

    let mut assembler = BootAssembler::new();
    let mut outcome = Ok(None);
    for seq in 0..65 {
        outcome = assembler.push(&BootChunk { seq, last: false, data: vec![0; BOOT_CHUNK_BYTES] });
    }
    assert!(matches!(outcome, Err(BootError::TooLarge)));
}

#[test]
fn another_version_of_the_boot_document_is_named() {
    let mut later = document();
    later.version = 2;
    let frames = later.to_frames().unwrap();
    assert!(matches!(assemble(&frames), Err(BootError::Version { found: 2 })));
}

fn file_request(op: &str) -> FileRequest {
    let path = ciborium::Value::Bytes(b"/tmp/x".to_vec());
    let map = BTreeMap::from([("op", ciborium::Value::Text(op.into())), ("path", path)]);
    let mut p = Vec::new();
    ciborium::into_writer(&map, &mut p).unwrap();
    let envelope = Envelope { v: 1, t: "core.fs.request".into(), p };
    let Message::FileRequest(request) = Message::from_envelope(envelope).unwrap() else { panic!() };
    request
}

#[test]
fn a_file_request_may_omit_fields_with_defaults() {
    assert_eq!(file_request("remove"), FileRequest::new(FileOperation::Remove, "/tmp/x"));
    assert_eq!(file_request("make_link"), FileRequest::new(FileOperation::MakeLink, "/tmp/x"));
}

#[test]
fn an_unknown_operation_is_other() {
    assert_eq!(file_request("chill").op, FileOperation::Other);
}

fn messages() -> impl Strategy<Value = Message> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..5000);
    prop_oneof![
        bytes().prop_map(|data| ExecStdin { data }.into()),
        bytes().prop_map(|data| ExecStdout { data }.into()),
        any::<(i32, Option<i32>)>().prop_map(|(code, signal)| ExecExited { code, signal }.into()),
        any::<(u64, u16, u16)>().prop_map(|(job, rows, cols)| JobAttach { job, rows, cols }.into()),
        (bytes(), any::<Option<u32>>(), any::<Option<i64>>(), any::<Option<Vec<u8>>>()).prop_map(
            |(path, mode, modified_ns, data)| {
                FileRequest { mode, modified_ns, data, ..FileRequest::new(FileOperation::Write, path) }.into()
            }
        ),
        (bytes(), any::<(u32, u64, i64)>()).prop_map(|(name, (mode, size, modified_ns))| {
            let target = Some(name.clone());
            let stat = FileStat { kind: FileKind::Link, mode, uid: 1, gid: mode, size, modified_ns, target };
            let entries = vec![FileEntry { name, stat }];
            FileResponse { entries, ..FileResponse::done() }.into()
        }),
        Just(Ping {}.into()),
        (any::<Option<i32>>(), ".*").prop_map(|(errno, message)| {
            let kind = FailureKind::BadCwd;
            ExecFailed { kind, errno, errno_name: None, message, stage: Some("chdir".into()) }.into()
        }),
        (".*", any::<Option<String>>()).prop_map(|(message, message_type)| {
            ErrorReport { kind: ErrorKind::Malformed, message, message_type }.into()
        }),
        (".*", any::<Vec<String>>(), any::<Option<String>>(), any::<bool>(), any::<(u16, u16)>()).prop_map(
            |(cmd, args, cwd, tty, (rows, cols))| {
                let (env, rlimits) = (args.clone(), Vec::new());
                ExecRequest {
                    cmd,
                    args,
                    env,
                    cwd,
                    user: None,
                    tty,
                    rows,
                    cols,
                    rlimits,
                    stdin_acks: tty,
                    output_acks: !tty,
                    report_signal: tty,
                }
                .into()
            }
        ),
    ]
}

/// The frames of a stream, and the error that ends it.
fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = FrameDecoder::new();
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.feed(chunk);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Any bytes, or an envelope around any payload.
fn hostile_body() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    let types =
        ["core.ready", "core.exec.request", "core.exec.exited", "core.fs.response", "core.of.tomorrow"];
    let envelope = (any::<u8>(), prop::sample::select(types.to_vec()), bytes())
        .prop_map(|(v, t, p)| Envelope { v, t: t.into(), p }.encode(0, Flags::NONE).unwrap().body().to_vec());
    prop_oneof![bytes(), envelope, messages().prop_map(|message| message.encode(0).unwrap().body().to_vec())]
}

/// The error of a frame's length; mostly 0, so that later checks are reached.
fn length_error() -> impl Strategy<Value = i64> {
    prop_oneof![12 => Just(0i64), 1 => -10..10i64, 1 => Just(i64::from(MAX_FRAME_LEN))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_survive_any_chunking(sent in proptest::collection::vec((any::<u32>(), messages()), 0..8), step in 1usize..700) {
        let wire: Vec<u8> = sent.iter().flat_map(|(id, message)| message.encode(*id).unwrap().into_bytes()).collect();
        let mut decoder = FrameDecoder::new();
        let mut received = Vec::new();
        for chunk in wire.chunks(step) {
            decoder.feed(chunk);
            while let Some(frame) = decoder.next_frame().unwrap() {
                received.push((frame.id(), Message::decode(&frame).unwrap()));
            }
        }
        prop_assert_eq!(received, sent);
        prop_assert_eq!(decoder.pending_bytes(), 0);
    }

    #[test]
    fn hostile_frames_are_decoded_alike_however_they_are_chunked(
        frames in proptest::collection::vec((hostile_body(), any::<u32>(), any::<u8>(), length_error()), 1..8),
        step in 1usize..300,
    ) {
        let mut wire = Vec::new();
        for (body, id, flags, error) in &frames {
            let length = i64::try_from(body.len()).unwrap() + 5 + error;
            wire.extend_from_slice(&u32::try_from(length.max(0)).unwrap().to_be_bytes());
            wire.extend_from_slice(&id.to_be_bytes());
            wire.push(*flags);
            wire.extend_from_slice(body);
        }
        let whole = decode([wire.as_slice()]);
        prop_assert_eq!(&decode(wire.chunks(step)), &whole);
        // Up to the first wrong length, each body comes out as it went in.
        let right = frames.iter().take_while(|(.., error)| *error == 0);
        let sent: Vec<_> = right.map(|(body, id, flags, _)| Frame::new(*id, Flags(*flags), body).unwrap()).collect();
        prop_assert_eq!(whole.0.get(..sent.len()), Some(sent.as_slice()));
        for frame in &whole.0 {
            if let Ok(message) = Message::decode(frame) {
                let again = message.encode_with(frame.id(), frame.flags()).unwrap();
                prop_assert_eq!(Message::decode(&again).ok(), Some(message));
            }
        }
    }

    #[test]
    fn no_body_panics_the_message_layer(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        drop(Message::decode(&Frame::new(1, Flags::NONE, &body).unwrap()));
    }

    #[test]
    fn no_payload_panics_the_message_layer(
        t in prop::sample::select(vec!["core.boot", "core.ready", "core.shutdown", "core.error", "core.exec.request", "core.exec.stdin", "core.exec.failed", "core.fs.request", "core.fs.response", "core.fs.data"]),
        p in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        drop(Message::from_envelope(Envelope { v: 1, t: t.into(), p }));
    }

    #[test]
    fn a_damaged_message_does_not_panic(message in messages(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut wire = message.encode(3).unwrap().into_bytes();
        let index = at.index(wire.len());
        wire[index] ^= 1 << bit;
        let mut decoder = FrameDecoder::new();
        decoder.feed(&wire);
        if let Ok(Some(frame)) = decoder.next_frame() {
            drop(Message::decode(&frame));
        }
    }
}
