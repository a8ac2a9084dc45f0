//! Readers of a sandbox's logs, and the cursors that are handed out and come back.

use crate::bytes::Bytes;
use executor_log::{
    Cursor, EVENTS_LOG, EXEC_LOG, Entry, KERNEL_LOG, LogLine, NETWORK_LOG, RUNTIME_LOG, ReadOptions, Source,
    Start, read_logs,
};
use std::path::Path;
use std::sync::OnceLock;

/// A folder for the logs, in memory.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let new = || {
        let builder = tempfile::Builder::new().prefix("msb-fuzz-").tempdir_in("/dev/shm");
        builder.or_else(|_| tempfile::tempdir()).expect("a scratch folder")
    };
    FOLDER.get_or_init(new).path()
}

/// Writes a log of two files.
fn write(name: &str, bytes: &[u8], cut: usize) {
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    for (number, bytes) in [(1, first), (2, second)] {
        std::fs::write(folder().join(format!("{name}.{number:06}")), bytes).expect("a log is written");
    }
}

/// All lines from a place on, and the cursor after each of them.
fn read(sources: &[Source], start: Start) -> Vec<(LogLine, Cursor)> {
    let options = ReadOptions { sources: sources.to_vec(), start, ..ReadOptions::default() };
    let mut lines = Vec::new();
    let mut read = read_logs(folder(), &options, &|_| true).expect("the log can be opened");
    while let Some(line) = read.next() {
        lines.push((line.expect("the log can be read"), read.cursor()));
    }
    lines
}

/// Reading is bounded by what is there, and goes on at every cursor with exactly what comes after it.
fn check(sources: &[Source], length: usize, chosen: u8) {
    let whole = read(sources, Start::Beginning);
    let given: usize = whole.iter().filter(|(line, _)| !line.note).map(|(line, _)| line.data.len()).sum();
    assert!(given <= length, "{given} bytes are given of {length}");
    assert!(whole.len() <= length + 2, "{} lines of {length} bytes", whole.len());
    let Some(last) = whole.len().checked_sub(1) else { return };
    let index = usize::from(chosen) * last / 255;
    let text = whole[index].1.to_string();
    let cursor: Cursor = text.parse().expect("a cursor of ours");
    assert_eq!(cursor, whole[index].1);
    let rest = read(sources, Start::Cursor(cursor));
    let same = |(one, other): (&(LogLine, Cursor), &(LogLine, Cursor))| {
        // Lines without a time have that of an earlier line, which is not read again.
        (LogLine { time: other.0.time, ..one.0.clone() }, &one.1) == (other.0.clone(), &other.1)
    };
    let whole = &whole[index + 1..];
    assert!(
        rest.len() == whole.len() && rest.iter().zip(whole).all(same),
        "after line {index}, {text}:\n{rest:?}\n{whole:?}",
    );
}

/// Lines that are any bytes: entries, torn entries, something else.
pub fn exec_log(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let (chosen, cut) = (input.byte(), usize::from(input.byte()));
    let log = input.0;
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        if let Ok(entry) = Entry::from_line(line) {
            let again = Entry::from_line(&entry.to_line()).expect("an entry of ours");
            assert_eq!((again.data, again.source, again.session), (entry.data, entry.source, entry.session));
        }
    }
    write(EXEC_LOG, log, cut * log.len() / 255);
    let sources = [Source::Stdout, Source::Stderr, Source::Output, Source::System];
    check(&sources, log.len(), chosen);
    for number in 1..=2 {
        let _ = std::fs::remove_file(folder().join(format!("{EXEC_LOG}.{number:06}")));
    }
}

/// The logs of text and of JSON objects.
pub fn text_log(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let (kind, chosen, cut) = (input.byte(), input.byte(), usize::from(input.byte()));
    let (name, source) = match kind % 4 {
        0 => (RUNTIME_LOG, Source::Runtime),
        1 => (KERNEL_LOG, Source::Kernel),
        2 => (NETWORK_LOG, Source::Network),
        _ => (EVENTS_LOG, Source::Events),
    };
    write(name, input.0, cut * input.0.len() / 255);
    check(&[source], input.0.len(), chosen);
    for number in 1..=2 {
        let _ = std::fs::remove_file(folder().join(format!("{name}.{number:06}")));
    }
}

/// A text is a cursor that prints as it reads, or none; and no cursor makes a reader fail in another way than by an error.
pub fn cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // With a valid checksum, which the fuzzer would not find.
    for text in [text.to_owned(), format!("{text}~{:08x}", checksum(text.as_bytes()))] {
        let Ok(cursor) = text.parse::<Cursor>() else { continue };
        let again: Cursor = cursor.to_string().parse().expect("a cursor of ours");
        assert_eq!(again, cursor);
        let line = |number: u32| {
            format!(
                "{{\"t\":\"2023-11-14T22:13:20.123Z\",\"s\":\"stdout\",\"d\":\"line {number}\\nrest\",\"id\":1}}\n"
            )
        };
        let log: String = (0..8).map(line).collect();
        write(EXEC_LOG, log.as_bytes(), log.len() / 2);
        let options = ReadOptions { start: Start::Cursor(cursor), ..ReadOptions::default() };
        if let Ok(read) = read_logs(folder(), &options, &|_| true) {
            let lines = read.take_while(Result::is_ok).count();
            assert!(lines <= 32, "{lines} lines of 16");
        }
    }
}

/// What a cursor ends with: FNV-1a, folded to 32 bits.
fn checksum(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash >> 32) as u32 ^ hash as u32
}
